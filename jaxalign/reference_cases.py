"""What `selfcheck` computes: analytic and published reference values of the measures, on the default device."""

import math
from collections.abc import Iterator

import jax
import numpy as np
import scipy.stats

from jaxalign import theory
from jaxalign.alignment import (
    all_pairs,
    cca,
    conditional_copula_entropy,
    information_imbalance,
    linear_cka,
    mutual_knn,
    procrustes,
    rbf_cka,
    rsa,
)
from jaxalign.alignment.copula import log_bin_edges
from jaxalign.alignment.exact import exact_distances

_PAIRS = 64
_STANDARD_ERRORS = 4.5

Case = tuple[str, float, float, float, str]
"""The fields of a `jaxalign.selfcheck.Check`."""


def reference_cases() -> Iterator[Case]:
    """Computes the cases one after the other; the draws are NumPy's with fixed seeds, the same everywhere."""
    yield from _published()
    yield from _identical()
    yield from _normals()
    yield from _independent()
    yield from _precision()
    yield from _exactness()


def _published() -> Iterator[Case]:
    rng = np.random.RandomState(1337)
    x = rng.randn(100, 10)
    y = rng.randn(100, 10) + x
    source = "Kornblith et al. 2019"
    yield ("linear CKA", float(linear_cka(x, y)), 0.55761, 2e-5, source)
    yield ("linear CKA, debiased", float(linear_cka(x, y, debiased=True)), 0.51346, 2e-5, source)
    yield ("RBF CKA, bandwidth 0.5", float(rbf_cka(x, y, bandwidth=0.5)), 0.65483, 2e-5, source)
    uncentred = float(cca(x, y, squared=True, centered=False))
    yield ("mean squared CCA, uncentred", uncentred, 0.54312, 2e-5, source)


def _identical() -> Iterator[Case]:
    x = np.random.default_rng(0).normal(size=(1000, 16))
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))[0]
    yield ("information imbalance of itself", float(information_imbalance(x, x)), 2 / 1000, 1e-9, "2/N")
    entropy = float(conditional_copula_entropy(x, x))
    yield ("CCE of itself", entropy, -math.log(999), 1e-6, "-log(N - 1)")
    yield ("Procrustes angle to a rotation", float(procrustes(x, 3 * x @ rotation)), 0.0, 1e-5, "exact")


def _normals() -> Iterator[Case]:
    rng = np.random.default_rng(2)
    n = 1000
    for rho in (0.7, 0.95):
        u = rng.normal(size=(_PAIRS, n, 1))
        v = rho * u + math.sqrt(1 - rho**2) * rng.normal(size=(_PAIRS, n, 1))
        pairs = [all_pairs(pair, ("cce", "information_imbalance")) for pair in zip(u, v, strict=True)]
        # 0.003 and 0.012: what N = 1000 probes leave of the limit of infinitely many.
        for name, function, rest in (
            ("cce", theory.conditional_copula_entropy, 0.012),
            ("information_imbalance", theory.information_imbalance, 0.003),
        ):
            values = np.array([[pair[name][0, 1], pair[name][1, 0]] for pair in pairs])
            title = f"{name} of normals of correlation {rho}, N = {n}"
            yield _statistical(title, values.mean(1), float(function(rho)), rest, "theory, N to infinity")
    x = rng.normal(size=(_PAIRS, n, 1))
    values = np.array([float(information_imbalance(square, one)) for square, one in zip(x**2, x, strict=True)])
    expected = 0.5 + math.asin(1 / math.sqrt(5)) / math.pi
    yield _statistical("information imbalance from x^2 to normal x", values, expected, 0.003, "1/2 + asin(1/sqrt 5)/pi")


def _independent() -> Iterator[Case]:
    rng = np.random.default_rng(3)
    n, p, q = 500, 4, 10
    a, b = rng.normal(size=(_PAIRS, n, p)), rng.normal(size=(_PAIRS, n, q))
    pairs = list(zip(a, b, strict=True))

    def over_pairs(function: object) -> np.ndarray:
        return np.array([float(function(x, y)) for x, y in pairs])  # pyright: ignore[reportCallIssue]

    values = over_pairs(lambda x, y: p * cca(x, y, squared=True))
    yield _statistical("sum of squared CCA, independent", values, p * q / (n - 1), 0.0, "pq/(N - 1)")
    values = over_pairs(linear_cka)
    expected = math.sqrt(p * q / ((n + p) * (n + q)))
    yield _statistical("linear CKA, independent", values, expected, 1e-4, "sqrt(pq/((N + p)(N + q)))")
    yield _statistical("mutual 10-NN, independent", over_pairs(mutual_knn), 10 / (n - 1), 0.0, "k/(N - 1)")
    yield _statistical("CCE, independent", over_pairs(conditional_copula_entropy), 0.0, 0.002, "exact")
    duplicated = [(np.tile(x[: n // 4], (4, 1)), y) for x, y in pairs]
    values = np.array([float(information_imbalance(x, y)) for x, y in duplicated])
    yield _statistical("information imbalance, duplicated probes", values, 1.0, 0.0, "exact")


def _precision() -> Iterator[Case]:
    """Ranks in float64 of representations far from the origin, where products of low precision lose the distances."""
    rng = np.random.default_rng(4)
    common = rng.normal(size=(400, 64))
    a, b = common + rng.normal(size=(2, 400, 64)) + 1e3
    a, b = a.astype(np.float32), b.astype(np.float32)
    expected = 2 / 400 * _ranks(a, b).mean()
    measured = float(information_imbalance(a, b))
    yield ("information imbalance at mean 1000, spread 1", measured, expected, 1e-3, "float64")


def _exactness() -> Iterator[Case]:
    """What trained networks have, where float32 holds the answer and float32 arithmetic loses it."""
    yield from _clusters()
    yield from _one_column()
    yield from _softmax()
    yield from _ties()
    yield from _long_sums()
    yield from _scaled_column()
    yield from _float64()


def _clusters() -> Iterator[Case]:
    """Neighbours much nearer than the clusters are to each other."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 10))[rng.integers(0, 10, 500)]
    w, e = rng.normal(size=(2, 500, 10))
    a, b = ((centres + 1e-4 * x).astype(np.float32) for x in (w, w + 0.5 * e))
    found = all_pairs([a, b], ("cce", "information_imbalance"))
    entropy, imbalance = (float(found[name][0, 1]) for name in ("cce", "information_imbalance"))
    yield ("CCE, clusters of spread 1e-4", entropy, _entropy(a, b), 1e-4, "float64")
    expected = 2 / 500 * float(_ranks(a, b).mean())
    yield ("information imbalance, clusters of spread 1e-4", imbalance, expected, 1e-6, "float64")


def _one_column() -> Iterator[Case]:
    """The distances of one dimension, of which float32 products keep few digits."""
    x = np.random.default_rng(5).normal(size=(1000, 1))
    found = all_pairs([x, x], ("cce", "information_imbalance"))
    entropy, imbalance = (float(found[name][0, 1]) for name in ("cce", "information_imbalance"))
    yield ("information imbalance of one column of itself", imbalance, 2 / 1000, 1e-9, "2/N")
    yield ("CCE of one column of itself", entropy, -math.log(999), 1e-6, "-log(N - 1)")


def _softmax() -> Iterator[Case]:
    """Outputs of a classifier that is sure: probes of a class differ by 1e-13."""
    rng = np.random.default_rng(6)
    n = 300
    margins = 30 * np.eye(10)[rng.integers(0, 10, n)]
    w, e = rng.normal(size=(2, n, 10))
    a, b = (_probabilities(margins + x) for x in (w, w + 0.5 * e))
    expected = np.sum(_shares(a) * _shares(b)) / (10 * n)
    yield ("mutual 10-NN, softmax of margin 30", float(mutual_knn(a, b)), expected, 1e-6, "float64")
    pairs = np.triu_indices(n, 1)
    expected = float(np.corrcoef([scipy.stats.rankdata(_squared_distances(x)[pairs]) for x in (a, b)])[0, 1])
    yield ("RSA, softmax of margin 30", float(rsa(a, b)), expected, 1e-5, "float64")


def _ties() -> Iterator[Case]:
    labels = np.random.default_rng(7).integers(0, 10, (2, 300))
    a, b = np.eye(10, dtype=np.float32)[labels]
    expected = np.sum(_shares(a) * _shares(b)) / (10 * 300)
    yield ("mutual 10-NN, independent one-hot codes", float(mutual_knn(a, b)), expected, 1e-6, "float64")


def _long_sums() -> Iterator[Case]:
    x = np.random.default_rng(8).normal(size=(20000, 8)).astype(np.float32)
    measured = float(all_pairs([x, x], ("linear_cka",))["linear_cka"][0, 1])
    yield ("linear CKA of itself, N = 20000", measured, 1.0, 1e-6, "exact")


def _scaled_column() -> Iterator[Case]:
    """Columns of very different scale, which canonical correlations do not depend on."""
    rng = np.random.default_rng(9)
    a = rng.normal(size=(2000, 20))
    b = a @ rng.normal(size=(20, 20)) * 0.3 + rng.normal(size=a.shape)
    a[:, 0] *= 1000
    b[:, 0] *= 1000
    a, b = a.astype(np.float32), b.astype(np.float32)
    bases = [np.linalg.qr((x - x.mean(0)) / x.std(0))[0] for x in (a.astype(np.float64), b.astype(np.float64))]
    expected = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).mean()
    yield ("mean CCA, one column 1000 times larger", float(cca(a, b)), float(expected), 1e-5, "float64")


def _float64() -> Iterator[Case]:
    """Distances in float64 within a program of float32, by what float32 leaves of them."""
    x = (1e3 + np.random.default_rng(10).normal(size=(50, 9))).astype(np.float32)
    expected = _squared_distances(x)

    @jax.jit
    def rest(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        distances = exact_distances(x, x)
        with jax.enable_x64(True):
            high = distances.astype(np.float32)
            return high, (distances - high.astype(np.float64)).astype(np.float32)

    high, low = (np.asarray(part, np.float64) for part in rest(x))
    gap = float(np.max(np.abs(high + low - expected) / (expected + np.eye(50))))
    yield ("float64 in a program of float32, relative error", gap, 0.0, 1e-13, "float64")


def _squared_distances(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def _to_others(x: np.ndarray) -> np.ndarray:
    """Squared distances, of a probe to itself infinite."""
    distances = _squared_distances(x)
    np.fill_diagonal(distances, np.inf)
    return distances


def _ranks(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """In B of the nearest neighbours in A, where nothing is tied."""
    nearest, in_b = _to_others(a).argmin(1), _to_others(b)
    return 1 + (in_b < in_b[np.arange(len(b)), nearest][:, None]).sum(1)


def _entropy(a: np.ndarray, b: np.ndarray) -> float:
    """The conditional copula entropy in bins of growing width, with the jackknife, where nothing is tied."""
    n = len(a)
    edges = log_bin_edges(n)
    ranks, nearest = _ranks(a, b), _to_others(a).argmin(1)
    bins = np.searchsorted(edges, ranks) - 1
    counts = np.bincount(bins, minlength=len(edges) - 1)
    used = counts > 0
    counts, widths = counts[used], (np.diff(edges) / (n - 1))[used]
    q = counts / n
    many = np.maximum(counts, 2)
    jackknife = np.where(counts > 1, many - many * (many - 1) * np.log(many / (many - 1)), 1.0)
    mutual = np.flatnonzero(nearest[nearest] == np.arange(n))
    same = bins[mutual] == bins[nearest[mutual]]
    covariance = np.sum(same / np.bincount(bins)[bins[mutual]] * n - 1) / n
    return float(-q @ np.log(q / widths) + (jackknife @ (1 - q) + covariance / 2) / n)


def _shares(x: np.ndarray) -> np.ndarray:
    """(N, N): the share of each point in the ten nearest neighbours of each probe; ties divide the places left."""
    distances = _to_others(x)
    limit = np.sort(distances, axis=1)[:, 9:10]
    nearer, as_near = distances < limit, distances == limit
    return nearer + as_near * (10 - nearer.sum(1, keepdims=True)) / as_near.sum(1, keepdims=True)


def _probabilities(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def _statistical(name: str, values: np.ndarray, expected: float, rest: float, source: str) -> Case:
    tolerance = rest + _STANDARD_ERRORS * float(values.std(ddof=1)) / math.sqrt(len(values))
    return (name, float(values.mean()), expected, tolerance, source)
