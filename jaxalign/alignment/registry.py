"""The one table of measures: what each is called, how it reads and how it is computed."""

import dataclasses
import math
from collections.abc import Callable

from jax import Array

from jaxalign import checks
from jaxalign.alignment import copula, neighbors
from jaxalign.alignment.ranks import Ranks


@dataclasses.dataclass(frozen=True)
class Metric:
    """A measure of how alike two representations of the same N probes are.

    Exactly one field says how it is computed. `from_ranks` takes the `Ranks` of one ordered pair, fields of shape
    (neighbors, N), which all such measures share; it is pure, so that callers vmap it over pairs.

    Attributes:
      name: in configs and datasets.
      label: on axes, with the unit.
      unit: "nats", or "" if dimensionless.
      larger_is_more_similar: the direction; None for a diagnostic, which measures no similarity.
      symmetric: whether A->B equals B->A.
      identical: the value for identical representations without ties (one neighbour), a function of N.
      independent: the value expected for independent representations, a function of N.
      reference: the publication.
      from_ranks: the measure as a function of the ranks.
    """

    name: str
    label: str
    unit: str
    larger_is_more_similar: bool | None
    symmetric: bool
    identical: Callable[[int], float]
    independent: Callable[[int], float]
    reference: str
    from_ranks: Callable[[Ranks], Array]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="cce",
            label="conditional copula entropy (nats)",
            unit="nats",
            larger_is_more_similar=False,
            symmetric=False,
            identical=lambda n: -math.log(n - 1),
            independent=lambda n: 0.0,
            reference="Umar & Laio 2026, arXiv:2605.26973",
            from_ranks=copula.log_bins,
        ),
        Metric(
            name="information_imbalance",
            label="information imbalance",
            unit="",
            larger_is_more_similar=False,
            symmetric=False,
            identical=lambda n: 2 / n,
            independent=lambda n: 1.0,
            reference="Glielmo et al. 2022, PNAS Nexus 1, pgac039",
            from_ranks=neighbors.mean_rank,
        ),
        Metric(
            name="tie_fraction",
            label="fraction of tied ranks",
            unit="",
            larger_is_more_similar=None,
            symmetric=False,
            identical=lambda n: 0.0,
            independent=lambda n: 0.0,
            reference="",
            from_ranks=neighbors.tied,
        ),
    )
}


def get_metric(name: str) -> Metric:
    """Returns the measure of that name.

    Raises:
      ValueError: if there is none, naming those that exist.
    """
    return METRICS[checks.choice("metric", name, METRICS)]
