"""How alike two representations are: rank-based and geometric measures of pairs, and of all pairs of an ensemble."""

from jaxalign.alignment.copula import conditional_copula_entropy
from jaxalign.alignment.neighbors import information_imbalance, tie_fraction
from jaxalign.alignment.pairs import all_pairs, pair_matrices
from jaxalign.alignment.registry import METRICS, Metric, get_metric

__all__ = [
    "METRICS",
    "Metric",
    "all_pairs",
    "conditional_copula_entropy",
    "get_metric",
    "information_imbalance",
    "pair_matrices",
    "tie_fraction",
]
