"""What `selfcheck` computes: analytic and published reference values of the measures, on the default device."""

import math
from collections.abc import Iterator

import numpy as np

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
)

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
    a, b = (x.astype(np.float32).astype(np.float64) for x in (a, b))

    def distances(x: np.ndarray) -> np.ndarray:
        squared = ((x[:, None] - x[None]) ** 2).sum(-1)
        np.fill_diagonal(squared, np.inf)
        return squared

    nearest = distances(a).argmin(1)
    in_b = distances(b)
    ranks = 1 + (in_b < in_b[np.arange(400), nearest][:, None]).sum(1)
    expected = 2 / 400 * ranks.mean()
    measured = float(information_imbalance(a, b))
    yield ("information imbalance at mean 1000, spread 1", measured, expected, 1e-3, "float64")


def _statistical(name: str, values: np.ndarray, expected: float, rest: float, source: str) -> Case:
    tolerance = rest + _STANDARD_ERRORS * float(values.std(ddof=1)) / math.sqrt(len(values))
    return (name, float(values.mean()), expected, tolerance, source)
