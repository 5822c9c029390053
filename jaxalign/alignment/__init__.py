"""How alike two representations are: rank-based and geometric measures of pairs, and of all pairs of an ensemble."""

from jaxalign.alignment.align import align
from jaxalign.alignment.copula import conditional_copula_entropy
from jaxalign.alignment.degeneracy import DegenerateRepresentationWarning, Report, report
from jaxalign.alignment.dissimilarity import rsa
from jaxalign.alignment.kernels import linear_cka, rbf_cka
from jaxalign.alignment.mutual import cknna, mutual_knn
from jaxalign.alignment.neighbors import information_imbalance, tie_fraction
from jaxalign.alignment.pairs import all_pairs
from jaxalign.alignment.registry import METRICS, Metric, get_metric
from jaxalign.alignment.shape import cca, linear_regression, procrustes, pwcca, svcca
from jaxalign.alignment.uncertainty import mean_of_pairs

__all__ = [
    "METRICS",
    "DegenerateRepresentationWarning",
    "Metric",
    "Report",
    "align",
    "all_pairs",
    "cca",
    "cknna",
    "conditional_copula_entropy",
    "get_metric",
    "information_imbalance",
    "linear_cka",
    "linear_regression",
    "mean_of_pairs",
    "mutual_knn",
    "procrustes",
    "pwcca",
    "rbf_cka",
    "report",
    "rsa",
    "svcca",
    "tie_fraction",
]
