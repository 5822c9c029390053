"""What a sweep has to do: its cells, and the shapes in which they are computed."""

from typing import NamedTuple

from jaxalign.ensemble.batch import is_solved
from jaxalign.networks import Network
from jaxalign.sweep.config import SweepConfig

_SMALLEST_BUCKET = 32


class Cells(NamedTuple):
    """The ensembles of one replicate and sample size, all networks and noise levels; the unit of work."""

    replicate: int
    n_train: int


def cells(config: SweepConfig) -> list[Cells]:
    """All units of work, the largest first, so that the last ones to end are short."""
    sizes = sorted(config.n_train, reverse=True)
    return [Cells(replicate, n_train) for n_train in sizes for replicate in range(config.replicates)]


def padded_rows(config: SweepConfig, network: Network, n_train: int) -> int:
    """How many rows the training set of this cell is padded to.

    Minibatch training costs the same for any number of rows, so all sample sizes share one shape and one compilation.
    A full batch is padded to the next power of two: few shapes, and less than twice the work. The ladder does not
    depend on the other sample sizes of the sweep.
    """
    if config.training.batch_size is not None and not is_solved(network):
        return max(config.n_train)
    bucket = max(_SMALLEST_BUCKET, 1 << (n_train - 1).bit_length())
    return min(bucket, config.task.n_train_available or bucket)
