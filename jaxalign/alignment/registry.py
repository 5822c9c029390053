"""The one table of measures: what each is called, how it reads and how it is computed."""

import dataclasses
import math
from collections.abc import Callable

from jaxalign import checks
from jaxalign.alignment import copula, dissimilarity, kernels, mutual, neighbors, shape
from jaxalign.alignment.forms import Form, FromRanks

ROTATION = "orthogonal maps"
LINEAR = "invertible linear maps"
SCALE = "isotropic scaling"
TRANSLATION = "translation"


@dataclasses.dataclass(frozen=True)
class Metric:
    """A measure of how alike two representations of the same N probes are.

    Attributes:
      name: in configs and datasets.
      label: on axes, with the unit.
      unit: "nats", "rad", or "" if dimensionless.
      larger_is_more_similar: the direction; None for a diagnostic, which measures no similarity.
      symmetric: whether A->B equals B->A.
      invariant_to: transformations of either representation that do not change the value; `LINEAR` includes
        `ROTATION` and `SCALE`. Where the two differ, those of A come first and those of B in `invariant_to_of_b`.
      identical: the value for identical representations without ties, a function of N; of "cce_vasicek" up to the
        error of the estimate.
      independent: the value expected for independent Gaussian representations of isotropic units, a function of
        (N, D_a, D_b), with `neighbors` as published; None where there is no closed form: the permutation null has it
        for any input.
      reference: the publication.
      form: how it is computed.
      neighbors: how many nearest neighbours the publication takes; None for measures that use none.
      invariant_to_of_b: as `invariant_to`, for B, where it differs.
      undefined_if_saturated: whether it is undefined where a representation has as many dimensions as probes, so that
        linear maps of it fit anything.
    """

    name: str
    label: str
    unit: str
    larger_is_more_similar: bool | None
    symmetric: bool
    invariant_to: tuple[str, ...]
    identical: Callable[[int], float]
    independent: Callable[[int, int, int], float] | None
    reference: str
    form: Form
    neighbors: int | None = None
    invariant_to_of_b: tuple[str, ...] | None = None
    undefined_if_saturated: bool = False


_EUCLIDEAN = (ROTATION, SCALE, TRANSLATION)
_AFFINE = (LINEAR, TRANSLATION)
_KORNBLITH = "Kornblith et al. 2019, ICML"


def _biased_cka(n: int, p: int, q: int) -> float:
    return math.sqrt(p * q / ((n + p) * (n + q)))


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="cce",
            label="conditional copula entropy (nats)",
            unit="nats",
            larger_is_more_similar=False,
            symmetric=False,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: -math.log(n - 1),
            independent=lambda n, p, q: 0.0,
            reference="Umar & Laio 2026, arXiv:2605.26973",
            form=FromRanks(copula.log_bins),
            neighbors=1,
        ),
        Metric(
            name="cce_vasicek",
            label="conditional copula entropy, spacings (nats)",
            unit="nats",
            larger_is_more_similar=False,
            symmetric=False,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: -math.log(n - 1),
            independent=lambda n, p, q: 0.0,
            reference="Umar & Laio 2026, arXiv:2605.26973; Ebrahimi et al. 1994, Statistics & Probability Letters 20",
            form=FromRanks(copula.vasicek),
            neighbors=1,
        ),
        Metric(
            name="cce_histogram",
            label="conditional copula entropy, 20 bins (nats)",
            unit="nats",
            larger_is_more_similar=False,
            symmetric=False,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: -math.log(min(copula.HISTOGRAM_BINS, n - 1)),
            independent=lambda n, p, q: 0.0,
            reference="Umar & Laio 2026, arXiv:2605.26973",
            form=FromRanks(copula.histogram),
            neighbors=1,
        ),
        Metric(
            name="information_imbalance",
            label="information imbalance",
            unit="",
            larger_is_more_similar=False,
            symmetric=False,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 2 / n,
            independent=lambda n, p, q: 1.0,
            reference="Glielmo et al. 2022, PNAS Nexus 1, pgac039",
            form=FromRanks(neighbors.mean_rank),
            neighbors=1,
        ),
        Metric(
            name="tie_fraction",
            label="fraction of tied ranks",
            unit="",
            larger_is_more_similar=None,
            symmetric=False,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 0.0,
            independent=lambda n, p, q: 0.0,
            reference="",
            form=FromRanks(neighbors.tied),
            neighbors=1,
        ),
        Metric(
            name="mutual_knn",
            label="mutual nearest neighbours",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=lambda n, p, q: min(10, n - 2) / (n - 1),
            reference="Huh et al. 2024, ICML",
            form=mutual.MUTUAL_KNN,
            neighbors=10,
        ),
        Metric(
            name="cknna",
            label="centered kernel nearest-neighbour alignment",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=None,
            reference="Huh et al. 2024, ICML",
            form=mutual.CKNNA,
            neighbors=10,
        ),
        Metric(
            name="linear_cka",
            label="linear CKA",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=_biased_cka,
            reference=_KORNBLITH,
            form=kernels.LINEAR_CKA,
        ),
        Metric(
            name="linear_cka_debiased",
            label="linear CKA, debiased",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=lambda n, p, q: 0.0,
            reference=f"{_KORNBLITH}; Song et al. 2012, JMLR 13",
            form=kernels.LINEAR_CKA_DEBIASED,
        ),
        Metric(
            name="rbf_cka",
            label="RBF CKA",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=None,
            reference=_KORNBLITH,
            form=kernels.RBF_CKA,
        ),
        Metric(
            name="rbf_cka_debiased",
            label="RBF CKA, debiased",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=lambda n, p, q: 0.0,
            reference=f"{_KORNBLITH}; Song et al. 2012, JMLR 13",
            form=kernels.RBF_CKA_DEBIASED,
        ),
        Metric(
            name="procrustes",
            label="Procrustes angle (rad)",
            unit="rad",
            larger_is_more_similar=False,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 0.0,
            independent=None,
            reference="Williams et al. 2021, NeurIPS",
            form=shape.PROCRUSTES,
        ),
        Metric(
            name="procrustes_distance",
            label="Procrustes distance",
            unit="",
            larger_is_more_similar=False,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 0.0,
            independent=None,
            reference="Ding et al. 2021, NeurIPS",
            form=shape.PROCRUSTES_DISTANCE,
        ),
        Metric(
            name="cca",
            label="mean canonical correlation",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_AFFINE,
            identical=lambda n: 1.0,
            independent=None,
            reference="Raghu et al. 2017, NeurIPS",
            form=shape.CCA,
            undefined_if_saturated=True,
        ),
        Metric(
            name="cca_squared",
            label="mean squared canonical correlation",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_AFFINE,
            identical=lambda n: 1.0,
            independent=lambda n, p, q: max(p, q) / (n - 1),
            reference=_KORNBLITH,
            form=shape.CCA_SQUARED,
            undefined_if_saturated=True,
        ),
        Metric(
            name="svcca",
            label="SVCCA (99% of the variance)",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=None,
            reference="Raghu et al. 2017, NeurIPS",
            form=shape.SVCCA,
            undefined_if_saturated=True,
        ),
        Metric(
            name="pwcca",
            label="PWCCA",
            unit="",
            larger_is_more_similar=True,
            symmetric=False,
            invariant_to=(SCALE, TRANSLATION),
            identical=lambda n: 1.0,
            independent=None,
            reference="Morcos et al. 2018, NeurIPS",
            form=shape.PWCCA,
            invariant_to_of_b=_AFFINE,
            undefined_if_saturated=True,
        ),
        Metric(
            name="linear_regression",
            label="linear regression R²",
            unit="",
            larger_is_more_similar=True,
            symmetric=False,
            invariant_to=_AFFINE,
            identical=lambda n: 1.0,
            independent=lambda n, p, q: p / (n - 1),
            reference=_KORNBLITH,
            form=shape.LINEAR_REGRESSION,
            invariant_to_of_b=_EUCLIDEAN,
            undefined_if_saturated=True,
        ),
        Metric(
            name="rsa",
            label="RSA (Spearman)",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=lambda n, p, q: 0.0,
            reference="Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2",
            form=dissimilarity.RSA_SPEARMAN,
        ),
        Metric(
            name="rsa_pearson",
            label="RSA (Pearson)",
            unit="",
            larger_is_more_similar=True,
            symmetric=True,
            invariant_to=_EUCLIDEAN,
            identical=lambda n: 1.0,
            independent=lambda n, p, q: 0.0,
            reference="Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2",
            form=dissimilarity.RSA_PEARSON,
        ),
    )
}


def get_metric(name: str) -> Metric:
    """Returns the measure of that name.

    Raises:
      ValueError: if there is none, naming those that exist.

    Example:
      >>> from jaxalign.alignment import get_metric
      >>> get_metric("cce").unit, get_metric("cce").larger_is_more_similar, get_metric("cce").symmetric
      ('nats', False, False)
      >>> round(get_metric("linear_cka").independent(1000, 50, 50), 3)  # of 1000 probes and 50 units, by chance
      0.048
    """
    return METRICS[checks.choice("metric", name, METRICS)]
