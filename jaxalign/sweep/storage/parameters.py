"""The trained parameters of a sweep, beside its store: checkpoints of orbax, one folder for each batch of cells."""

import hashlib
import operator
import os
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from jaxalign import checks
from jaxalign.sweep.storage.store import Store

_LONGEST_NAME = 100
_NAME = re.compile(r"replicate-\d+_n-\d+_members-\d+-\d+_levels-[0-9a-f]+")


def check_parameters_location(location: str | os.PathLike | None) -> None:
    """Refuses a store beside which no parameters can be kept, before anything is computed.

    Raises:
      ValueError: if `location` is None or a URL other than of Google Cloud Storage, which orbax does not write.
    """
    text = None if location is None else os.fspath(location).removeprefix("file://")
    if text is None or ("://" in text and not text.startswith("gs://")):
        checks.reject("store (of a sweep that keeps parameters)", "a local path or a gs:// URL", location)


def save_parameters(
    location: str | os.PathLike,
    network_name: str,
    replicate: int,
    n_train: int,
    levels: Sequence[float],
    first_member: int,
    state: Any,
) -> None:
    """Keeps the parameters of some members at some noise levels, of one network, replicate and sample size.

    They appear whole or not at all, and replace those of the same members, levels and sample size.

    Args:
      location: of the store; parameters lie in the folder STORE.parameters, its ending .zarr left out.
      network_name: as in the coordinate `network`.
      replicate: the index of the replicate.
      n_train: the number of training samples.
      levels: the noise levels.
      first_member: the index of the first of the members.
      state: a pytree of arrays (level, member, ...); an `nnx.State` is kept as nested dicts.

    Raises:
      ValueError: if the location is not one for parameters, or `state` has other leading axes.
      OSError: if they cannot be written.
    """
    check_parameters_location(location)
    tree = nnx.to_pure_dict(state) if isinstance(state, nnx.State) else state
    leading = {np.shape(leaf)[:2] for leaf in jax.tree.leaves(tree)}
    if len(leading) != 1 or len(shape := leading.pop()) < 2 or shape[0] != len(levels):
        checks.reject("state", f"arrays of ({len(levels)} levels, members, ...)", jax.tree.map(np.shape, tree))
    members = shape[1]
    kept = {"levels": [repr(float(level)) for level in levels], "first_member": first_member, "members": members}
    digest = hashlib.sha256(" ".join(kept["levels"]).encode()).hexdigest()[:12]
    name = f"{_prefix(replicate, n_train)}_members-{first_member}-{first_member + members}_levels-{digest}"
    folder = _folder(location, network_name) / name
    with _checkpointer() as checkpointer:
        checkpointer.save(folder, tree, force=True, custom_metadata=kept)


def load_parameters(
    store: str | os.PathLike, *, network: str, replicate: int = 0, level: float, n_train: int
) -> dict[str, Any]:
    """The trained parameters of all members of one ensemble.

    Those of one member are put into a module by

        module = network.build(nnx.Rngs(0), task.input_shape, task.n_outputs)
        nnx.update(module, jax.tree.map(lambda leaf: leaf[member], load_parameters(...)))

    Args:
      store: the path of a sweep that was run with its parameters kept.
      network: its name in the coordinate `network` of the result.
      replicate: the index of the replicate.
      level: the noise level.
      n_train: the number of training samples.

    Returns:
      Nested dicts as those of the module's state, of arrays (member, ...).

    Raises:
      ValueError: if the sweep has no such network, replicate, noise level or sample size.
      FileNotFoundError: if there is no store, the sweep kept no parameters, or it has not come to that ensemble.

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> ds = jaxalign.run_sweep(config, store="sweep.zarr", save_parameters=True, progress=False)
      >>> parameters = jaxalign.load_parameters("sweep.zarr", network=str(network), level=5.0, n_train=40)
      >>> import jax
      >>> jax.tree.map(lambda leaf: leaf.shape, parameters)  # members first
      {'layers': {0: {'kernel': (4, 5, 10)}, 1: {'kernel': (4, 1, 5)}}}
    """
    check_parameters_location(store)
    with Store.open_to_read(store) as opened:
        grid, done = opened.grid, opened.members_done(verify=False)
        names = [str(name) for name in opened.coordinates["network"].values]
    checks.choice("network", network, names)
    checks.integer("replicate", replicate, 0, grid.replicates - 1)
    for name, value, known in (("level", level, grid.noise), ("n_train", n_train, grid.n_train)):
        if value not in known:
            checks.reject(name, f"one of {', '.join(map(str, known))}", value)
    members = int(done[replicate, grid.noise.index(level), grid.n_train.index(n_train)])
    ensemble = f"{network} at replicate {replicate}, noise level {level:g}, n_train {n_train}"
    if not (root := _root(store)).exists():
        raise FileNotFoundError(f"there are no parameters at {root}: the sweep was run without keeping them")
    if not members:
        raise FileNotFoundError(f"the sweep {store} has not come to {ensemble} yet")
    parts, at = [], 0
    with _checkpointer() as checkpointer:
        batches = _batches(checkpointer, _folder(store, network), _prefix(replicate, n_train), level)
        while at < members:
            # Where a run was interrupted and computed the same again, the newest is the one the results are of.
            holding = [batch for batch in batches if batch.first <= at < batch.first + batch.members]
            if not holding:
                raise FileNotFoundError(f"the parameters of member {at} of {ensemble} are not in {root}")
            batch = max(holding, key=lambda batch: batch.written)
            end = min(batch.first + batch.members, members)
            taken = (batch.level, slice(at - batch.first, end - batch.first))
            parts.append(jax.tree.map(operator.itemgetter(taken), checkpointer.restore(batch.folder)))
            at = end
    # Checkpoints know keys as text only; the items of an nnx.List are numbered.
    return nnx.restore_int_paths(jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts))


class _Batch(NamedTuple):
    """One checkpoint: where it is, and what of the ensemble that is looked for is in it."""

    folder: Any
    level: int
    first: int
    members: int
    written: float


def _batches(checkpointer: Any, folder: Any, prefix: str, level: float) -> list[_Batch]:
    """The checkpoints that hold members at a noise level."""
    found = []
    for path in folder.iterdir() if folder.exists() else ():
        # orbax writes beside and moves, so what an interruption left bears another name.
        if _NAME.fullmatch(path.name) and path.name.startswith(f"{prefix}_"):
            kept = checkpointer.metadata(path).custom_metadata
            if repr(float(level)) in kept["levels"]:
                at = kept["levels"].index(repr(float(level)))
                found.append(_Batch(path, at, kept["first_member"], kept["members"], path.stat().mtime))
    return found


def _prefix(replicate: int, n_train: int) -> str:
    return f"replicate-{replicate}_n-{n_train}"


def _root(location: str | os.PathLike) -> Any:
    from etils import epath

    text = os.fspath(location).removeprefix("file://").rstrip("/").removesuffix(".zarr")
    return epath.Path(f"{text if '://' in text else os.path.abspath(text)}.parameters")


def _folder(location: str | os.PathLike, network_name: str) -> Any:
    name = urllib.parse.quote(network_name, safe="(),= ")
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}-{hashlib.sha256(network_name.encode()).hexdigest()[:12]}"
    return _root(location) / name


def _checkpointer() -> Any:
    # Loaded here because it takes a second, and most sweeps keep no parameters.
    import orbax.checkpoint

    # One of several processes saves; the others are not waited for.
    index = jax.process_index()
    alone = orbax.checkpoint.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"jaxalign-{index}"
    )
    return orbax.checkpoint.StandardCheckpointer(
        multiprocessing_options=alone if jax.process_count() > 1 else orbax.checkpoint.options.MultiprocessingOptions()
    )
