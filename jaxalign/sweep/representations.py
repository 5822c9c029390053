"""How large the representations of a sweep are, and whether its store keeps them."""

from jaxalign.ensemble import is_solved
from jaxalign.networks import layer_units
from jaxalign.sweep.config import SweepConfig

# They are kept by default if all of them take at most this.
KEPT_BYTES = 10**9


def representation_units(config: SweepConfig) -> list[int]:
    """The number of units of the compared layer, for each network."""
    task = config.task
    return [
        {**layer_units(network, task.input_shape, task.n_outputs), task.output_layer: task.n_outputs}[config.layer]
        for network in config.networks
    ]


def compared_units(config: SweepConfig) -> int:
    """How many units, the first ones of each network, may differ from zero: the others change no measure.

    The balanced minimum, at which a linear network is solved, has at most as many such units as outputs.
    """
    return max(
        min(units, config.task.n_outputs) if is_solved(network) else units
        for network, units in zip(config.networks, representation_units(config), strict=True)
    )


def kept_representations(config: SweepConfig, location: str | None, wanted: bool | None) -> tuple[int, int] | None:
    """The (probes, units) of the representations that a new store keeps, None if it keeps none."""
    if location is None or not config.metrics or wanted is False:
        return None
    size = config.probes, max(representation_units(config))
    return size if wanted or representation_bytes(config, size) <= KEPT_BYTES else None


def representation_bytes(config: SweepConfig, size: tuple[int, int] | None) -> int:
    """What they take in the store."""
    if size is None:
        return 0
    cells = config.replicates * len(config.noise) * len(config.n_train)
    return 4 * cells * config.members * len(config.networks) * size[0] * size[1]
