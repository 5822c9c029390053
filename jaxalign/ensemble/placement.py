"""Where the members of a group run: in parts on the threads of a CPU, or sharded over the devices of a mesh."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree

from jaxalign.ensemble.batch import GroupSpec, arguments, run_members
from jaxalign.ensemble.closed_form import is_solved
from jaxalign.ensemble.draws import GroupData, draw_initial
from jaxalign.ensemble.layout import compiler_options
from jaxalign.ensemble.member import Outcome

MEMBERS = "members"
# No limit on the steps of a training.
ALL_STEPS = 2**31 - 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class _Keys:
    """Random keys as their raw words, which can be cut, moved and placed like any array."""

    data: Any


def divide(spec: GroupSpec, group: int, parts: int, *, exactly: bool = False) -> list[np.ndarray]:
    """Cuts the group axis into parts of equal length; the last member is repeated to fill them.

    Args:
      spec: of the group.
      group: the length of the axis.
      parts: how many; fewer if that leaves no part empty.
      exactly: whether the last part is repeated until there are as many as were asked for.

    Returns:
      The indices of each part.
    """
    at = np.arange(group).reshape(separate_after(spec), -1)
    found = [at[:, part].reshape(-1) for part in _equal_parts(at.shape[1], parts)]
    return found + [found[-1]] * (parts - len(found)) if exactly else found


class Half(NamedTuple):
    """Half of a part: which members of the group it has, and which places they take in the part."""

    members: np.ndarray
    places: np.ndarray


def halve(spec: GroupSpec, at: np.ndarray) -> tuple[Half, Half]:
    """Cuts a part of a group in two of equal length; the second one repeats its last member to fill it."""
    levels = separate_after(spec)
    places = np.arange(len(at)).reshape(levels, -1)
    first, second = _equal_parts(places.shape[1], 2)
    halves = (places[:, first].reshape(-1), places[:, second].reshape(-1))
    return Half(at[halves[0]], halves[0]), Half(at[halves[1]], halves[1])


def separate_after(spec: GroupSpec) -> int:
    """The length of the smallest part of a group.

    Solved members with inputs of their own stay with their other noise levels, which use the same decomposition.
    """
    return spec.noise_levels if is_solved(spec.network) and not spec.shared_inputs else 1


def _equal_parts(length: int, parts: int) -> list[np.ndarray]:
    size = -(-length // parts)
    return [np.minimum(np.arange(start, start + size), length - 1) for start in range(0, length, size)]


def put_together(parts: Sequence[PyTree], indices: Sequence[np.ndarray], group: int) -> PyTree:
    """The inverse of a division: arrays of the parts as host arrays of the whole group."""

    def join(*leaves: Any) -> np.ndarray:
        whole = np.empty((group, *leaves[0].shape[1:]), leaves[0].dtype)
        for leaf, at in zip(leaves, indices, strict=True):
            whole[at] = leaf
        return whole

    return jax.tree.map(join, *parts)


def to_host(tree: PyTree) -> PyTree:
    """The same arrays in the memory of the host."""

    def move(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return _Keys(np.asarray(jax.random.key_data(leaf)))
        return np.asarray(leaf)

    return jax.tree.map(move, tree)


def take(members: PyTree, at: np.ndarray) -> PyTree:
    """Some members of host arrays that lead with the group axis; a run of them is not copied."""
    consecutive = np.array_equal(at, np.arange(at[0], at[0] + len(at)))
    which = slice(int(at[0]), int(at[-1]) + 1) if consecutive else at
    return jax.tree.map(lambda x: x[which], members)


def first_rows(arrays: dict[str, Any], rows: int, *, leading: bool) -> dict[str, Any]:
    """The first training rows alone, of arrays with or without a leading group axis."""
    cut = (slice(None), slice(rows)) if leading else (slice(rows),)
    return {name: x[cut] if name in ("drawn", "targets") else x for name, x in arrays.items()}


def host_arguments(spec: GroupSpec, data: GroupData) -> tuple[dict[str, Any], dict[str, Any]]:
    """What `run_members` takes: what is shared, and the host arrays of the group.

    The data set and the test set stay on the device that they are on.
    """
    initial = () if is_solved(spec.network) else draw_initial(spec.network, spec.task, data.init_keys)
    shared, members = arguments(spec, data, initial)
    if "drawn" in shared:
        shared["drawn"] = np.asarray(shared["drawn"])
    return shared, to_host(members)


class Program:
    """The compiled program of a group, or of one part of it.

    Attributes:
      spec: what it was compiled for.
      compiled: the executable; `memory_analysis()` says what it takes.
    """

    def __init__(self, spec: GroupSpec, shared: PyTree, members: PyTree, mesh: Mesh | None = None) -> None:
        """Compiles for arguments of these shapes; repeated requests are answered from a cache."""
        self.spec = spec
        self._mesh = mesh
        leaves, structure = jax.tree.flatten((shared, members))
        self.compiled = _compile(spec, structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves), mesh)

    def __call__(self, shared: PyTree, members: PyTree, n_train: int, limit: int = ALL_STEPS) -> Outcome:
        """Runs; arguments as `run_members` takes them, on a mesh as `on_mesh` places them."""
        scalars = np.int32(n_train), np.int32(limit)
        if self._mesh is not None:
            scalars = tuple(_global(self._mesh, PartitionSpec(), (), lambda _, x=x: x) for x in scalars)
        return self.compiled(shared, members, *scalars)


def on_mesh(mesh: Mesh, per_device: Sequence[PyTree], *, leading: bool) -> PyTree:
    """Places what each device of a mesh needs, in the order of the mesh.

    Args:
      mesh: of one axis.
      per_device: host arrays for each device, of equal shapes; only those of this process's devices are moved.
      leading: whether the arrays lead with the group axis already; else each device gets an axis of length 1.

    Returns:
      Global arrays sharded over their leading axis.
    """
    spec = PartitionSpec(MEMBERS)

    def place(*leaves: np.ndarray) -> Array:
        size = len(leaves[0]) if leading else 1
        tail = leaves[0].shape[1:] if leading else leaves[0].shape

        def of_device(index: tuple[slice, ...]) -> np.ndarray:
            leaf = leaves[(index[0].start or 0) // size]
            return leaf if leading else leaf[None]

        return _global(mesh, spec, (size * len(leaves), *tail), of_device)

    return jax.tree.map(place, *per_device)


def _global(mesh: Mesh, spec: PartitionSpec, shape: tuple[int, ...], of_device: Any) -> Array:
    return jax.make_array_from_callback(shape, NamedSharding(mesh, spec), of_device)


@functools.lru_cache(maxsize=128)
def _compile(spec: GroupSpec, structure: Any, shapes: tuple, mesh: Mesh | None) -> Any:
    def run(shared: PyTree, members: PyTree, n_train: Array, limit: Array) -> Outcome:
        if mesh is not None:
            shared = jax.tree.map(lambda x: x[0], shared)
        return run_members(spec, _typed(shared), _typed(members), n_train, limit)

    def described(shape: tuple[int, ...], dtype: Any, partition: PartitionSpec) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=None if mesh is None else NamedSharding(mesh, partition))

    over_members, everywhere = PartitionSpec(MEMBERS), PartitionSpec()
    arrays = jax.tree.unflatten(structure, [described(shape, dtype, over_members) for shape, dtype in shapes])
    scalar = described((), jnp.int32, everywhere)
    options = compiler_options(spec.network, spec.task, shared_rows=spec.shared_rows, chunk=spec.chunk)
    if mesh is None:
        return jax.jit(run).lower(*arrays, scalar, scalar).compile(compiler_options=options)
    # What varies over the devices and what does not meet in the carries of loops, which the check would refuse.
    sharded = jax.shard_map(
        run,
        mesh=mesh,
        in_specs=(over_members, over_members, everywhere, everywhere),
        out_specs=over_members,
        check_vma=False,
    )
    return jax.jit(sharded).lower(*arrays, scalar, scalar).compile(compiler_options=options)


def _typed(tree: PyTree) -> PyTree:
    return jax.tree.map(
        lambda x: jax.random.wrap_key_data(x.data) if isinstance(x, _Keys) else x,
        tree,
        is_leaf=lambda x: isinstance(x, _Keys),
    )


def compile_group(spec: GroupSpec, data: GroupData) -> Any:
    """Compiles `run_members` for a whole group on one device.

    Returns:
      A function of (data, n_train) that returns an `Outcome`.
    """
    program = Program(spec, *host_arguments(spec, data))
    return lambda data, n_train: program(*host_arguments(spec, data), n_train)
