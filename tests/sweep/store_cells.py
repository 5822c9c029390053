"""Made-up results for the tests of stores: every value says which cell, members and variable it belongs to."""

import functools

import numpy as np

from jaxalign import MLP, LinearNetwork, LinearTeacher, SweepConfig
from jaxalign.sweep import result

BASE = SweepConfig(
    task=LinearTeacher(dim=5),
    networks=(LinearNetwork(2), MLP(3)),
    noise=(1.0, 5.0),
    n_train=(40, 10),
    members=2,
    replicates=2,
    probes=20,
)
REPRESENTATION = (4, 3)
template = functools.cache(result.template)


def value(name, replicate, level, n_train, *members):
    """A number that differs for everything that is not the same, of a result of these members."""
    return (
        replicate
        + min(level, 20) / 10
        + n_train / 100
        + sum(m * 0.001 * 10**-i for i, m in enumerate(members))
        + len(name)
    )


def values(config, replicate, level, n_train, members, representation=None):
    networks, index = len(config.networks), np.arange(members)
    found = {}
    for name, variable in template(config).data_vars.items():
        if "member" in variable.dims:
            line = value(name, replicate, level, n_train, index)
            array = np.broadcast_to(line, (networks, members))
            array = array > 10.5 if variable.dtype == bool else array
        else:
            square = value(name, replicate, level, n_train, index[:, None], index)
            array = np.broadcast_to(square[None, :, None, :], (networks, members, networks, members))
        found[name] = array.astype(variable.dtype)
    if representation is not None:
        line = value("representation", replicate, level, n_train, index)
        shape = (networks, members, *representation)
        found["representation"] = np.broadcast_to(line[None, :, None, None], shape).astype(np.float32)
    return found


def fill(store, config, cells=None, members=None, representation=None):
    """Writes cells (all of the configuration), as the engine does."""
    members = config.members if members is None else members
    if cells is None:
        cells = [(r, x, n) for r in range(config.replicates) for x in config.noise for n in config.n_train]
    for cell in cells:
        store.write_cell(*cell, values(config, *cell, members, representation), members)


def expected(config, done=None):
    """What reading gives; `done` is of shape (replicate, noise, n_train)."""
    done = None if done is None else np.asarray(done, np.int32)
    dataset = template(config).copy(deep=True)
    dataset = dataset.assign({name: variable.copy(data=variable.values.copy()) for name, variable in dataset.items()})
    for r, i, j in np.ndindex(config.replicates, len(config.noise), len(config.n_train)):
        members = config.members if done is None else int(done[r, i, j])
        cell = values(config, r, config.noise[i], config.n_train[j], members)
        for name, variable in dataset.data_vars.items():
            at = {"replicate": r, "snr": i, "n_train": j}
            place = variable.values[tuple(at.get(dim, slice(None)) for dim in variable.dims)]
            place[tuple(map(slice, cell[name].shape))] = cell[name]
    if done is not None and (done < config.members).any():
        dataset["members_done"] = (("replicate", "snr", "n_train"), done)
    return dataset
