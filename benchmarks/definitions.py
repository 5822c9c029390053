"""The measures of `jaxalign.alignment.METRICS` in float64 NumPy, straight from their definitions.

Distances are sums of squared differences, and whatever has N x N entries is computed a block of rows at a time. One
function for each group of measures that share their work returns a dict from their names to values.
"""

from collections.abc import Callable, Iterator

import numpy as np
import scipy.stats
from jaxtyping import Float

from jaxalign.alignment.copula import HISTOGRAM_BINS, log_bin_edges

Points = Float[np.ndarray, "n d"]
Rows = Callable[[slice], np.ndarray]
"""Some rows of an N x N matrix."""

# Entries of a block of rows.
_BLOCK = 2**22
# Canonical correlations nearer than this are the same up to rounding, and their variates are not unique.
_COINCIDE = 1e-5


def blocks(n: int) -> Iterator[slice]:
    step = max(1, _BLOCK // n)
    return (slice(start, min(start + step, n)) for start in range(0, n, step))


def tie_order(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """In which order tied neighbours j of probe i are taken: MurmurHash3's finalizer of j plus that of i."""

    def mix(x: np.ndarray) -> np.ndarray:
        x = ((x ^ (x >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        return x ^ (x >> 16)

    i, j = (np.asarray(x, np.uint64) for x in (i, j))
    return mix((j + mix((i * 0x9E3779B9 + 1) & 0xFFFFFFFF)) & 0xFFFFFFFF)


def squared_distances(x: Points, rows: slice) -> np.ndarray:
    """From some probes to all."""
    total = np.zeros((len(x[rows]), len(x)))
    for column in x.T:
        total += np.subtract.outer(column[rows], column) ** 2
    return total


def _without_own(block: np.ndarray, rows: slice, value: float = 0.0) -> np.ndarray:
    block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = value
    return block


def _scaled(x: Points) -> Points:
    """Divided by the largest value, so that squares of small numbers do not underflow."""
    return x / (np.abs(x).max() or 1.0)


def rank_measures(a: Points, b: Points) -> dict[str, float]:
    """Those of the rank in B of the nearest neighbour in A."""
    n = len(a)
    nearest, less, equal = np.zeros((3, n), int)
    for rows in blocks(n):
        probes = np.arange(rows.start, rows.stop)
        in_a, in_b = (_without_own(squared_distances(x, rows), rows, np.inf) for x in (a, b))
        tied = in_a == in_a.min(1, keepdims=True)
        found = tied.argmax(1)
        for row in np.flatnonzero(tied.sum(1) > 1):
            choices = np.flatnonzero(tied[row])
            found[row] = choices[tie_order(probes[row], choices).argmin()]
        limit = in_b[np.arange(len(probes)), found][:, None]
        nearest[rows], less[rows], equal[rows] = found, (in_b < limit).sum(1), (in_b == limit).sum(1)
    return {
        "cce": _log_bin_entropy(less, equal, nearest),
        "cce_vasicek": _spacing_entropy(less, equal),
        "cce_histogram": _binned_entropy(_masses(less, equal, _histogram_edges(n)).mean(0), _histogram_edges(n)),
        "information_imbalance": 2 / n * float(np.mean(less + (equal + 1) / 2)),
        "tie_fraction": float(np.mean(equal > 1)),
    }


def _histogram_edges(n: int) -> np.ndarray:
    return np.linspace(0, n - 1, HISTOGRAM_BINS + 1)


def _masses(less: np.ndarray, equal: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """(samples, bins): the mass of each sample, which is spread evenly over the ranks less + 1 ... less + equal."""
    return np.diff(np.clip((edges[None] - less[:, None]) / equal[:, None], 0, 1), axis=1)


def _binned_entropy(q: np.ndarray, edges: np.ndarray) -> float:
    used = q > 0
    return float(-np.sum(q[used] * np.log(q[used] / (np.diff(edges) / edges[-1])[used])))


def _log_bin_entropy(less: np.ndarray, equal: np.ndarray, nearest: np.ndarray) -> float:
    """With the jackknife, and the covariance of samples that are each other's neighbours."""
    n = len(less)
    edges = log_bin_edges(n)
    p = _masses(less, equal, edges)
    q = p.mean(0)
    used = q > 0
    p, q_used = p[:, used], q[used]
    count = np.maximum(n * q_used, 1 + 1e-12)
    g = count + count * (count - 1) * np.log1p(-1 / count)
    jackknife = g @ ((p**2).mean(0) / q_used - q_used)
    mutual = nearest[nearest] == np.arange(n)
    covariance = np.sum((p[mutual] * p[nearest[mutual]]) @ (1 / q_used) - 1) / n
    return _binned_entropy(q, edges) + float(jackknife + covariance / 2) / n


def _spacing_entropy(less: np.ndarray, equal: np.ndarray) -> float:
    n = len(less)
    index = np.arange(n)
    uniform = ((tie_order(index, index) >> np.uint64(8)).astype(np.float64) + 0.5) * 2.0**-24
    x = np.sort((less + uniform * equal) / (n - 1))
    m = max(1, min(round(n**0.5), n // 2))
    spacing = x[np.minimum(index + m, n - 1)] - x[np.maximum(index - m, 0)]
    g = np.minimum(2, 1 + np.minimum(index, n - 1 - index) / m)
    return float(np.mean(np.log(np.maximum(spacing, np.finfo(np.float32).tiny) * n / (g * m))))


def neighborhood_measures(a: Points, b: Points, neighbors: int = 10) -> dict[str, float]:
    """Those of the neighbours that are shared; ties divide the places left evenly."""
    n = len(a)
    centred = [_scaled(x - x.mean(0)) for x in (a, b)]
    shared, products = 0.0, np.zeros(3)
    for rows in blocks(n):
        p, q = (_shares(x, rows, neighbors) for x in (a, b))
        k, l = (x[rows] @ x.T for x in centred)  # noqa: E741
        shared += np.vdot(p, q)
        products += np.vdot(p * k, q * l), np.vdot(p, k**2), np.vdot(q, l**2)
    varies = all(np.any(x != x[0]) for x in (a, b))
    value = products[0] / np.sqrt(products[1] * products[2]) if varies else np.nan
    return {"mutual_knn": shared / (n * neighbors) if varies else np.nan, "cknna": float(value)}


def _shares(x: Points, rows: slice, neighbors: int) -> np.ndarray:
    distances = _without_own(squared_distances(x, rows), rows, np.inf)
    limit = np.partition(distances, neighbors - 1, axis=1)[:, neighbors - 1 : neighbors]
    nearer, as_near = distances < limit, distances == limit
    share = (neighbors - nearer.sum(1, keepdims=True)) / as_near.sum(1, keepdims=True)
    return nearer + share * as_near


def linear_kernel_measures(a: Points, b: Points) -> dict[str, float]:
    """Of the inner products. U-centring removes a shift of the points; one to their bulk keeps the digits of most."""
    found = {}
    for name, centre in (("linear_cka", np.mean), ("linear_cka_debiased", np.median)):
        kernels = [_inner_products(_scaled(x - centre(x, axis=0))) for x in (a, b)]
        found[name] = _kernel_cosine(kernels, len(a), debiased=centre is np.median)
    return found


def _inner_products(x: Points) -> Rows:
    return lambda rows: x[rows] @ x.T


def gaussian_kernel_measures(a: Points, b: Points) -> dict[str, float]:
    """Of the Gaussian kernel, whose width is the median of all squared distances."""
    kernels = [_gaussian(_scaled(x)) for x in (a, b)]
    return {
        name: _kernel_cosine(kernels, len(a), debiased=debiased)
        for name, debiased in (("rbf_cka", False), ("rbf_cka_debiased", True))
    }


def _gaussian(x: Points) -> Rows:
    n = len(x)
    distances = _of_pairs(x)
    # The N^2 distances are N zeros and each pair twice.
    places = np.array([(n * n - 1) // 2, n * n // 2])
    pairs = np.maximum((places - n) // 2, 0)
    distances.partition(np.unique(pairs))
    median = np.where(places < n, 0.0, distances[pairs]).mean()
    return lambda rows: np.exp(squared_distances(x, rows) / (-2 * median))


def _of_pairs(x: Points) -> np.ndarray:
    """The squared distances of the pairs i < j, row by row."""
    n = len(x)
    found = np.empty(n * (n - 1) // 2)
    filled = 0
    for rows in blocks(n):
        block = squared_distances(x, rows)
        values = block[np.arange(n)[None] > np.arange(rows.start, rows.stop)[:, None]]
        found[filled : filled + len(values)] = values
        filled += len(values)
    return found


def _kernel_cosine(kernels: list[Rows], n: int, *, debiased: bool) -> float:
    """<K~, L~> / sqrt(<K~, K~> <L~, L~>) of centred, or U-centred, kernels."""
    by_row, overall = (n - 2, (n - 1) * (n - 2)) if debiased else (n, n * n)
    sums = np.zeros((2, n))
    for rows in blocks(n):
        for of_kernel, kernel in zip(sums, kernels, strict=True):
            block = kernel(rows)
            of_kernel[rows] = (_without_own(block, rows) if debiased else block).sum(1)
    products = np.zeros(3)
    for rows in blocks(n):
        centred = []
        for of_kernel, kernel in zip(sums, kernels, strict=True):
            block = kernel(rows) - of_kernel[rows][:, None] / by_row - of_kernel[None] / by_row
            block += of_kernel.sum() / overall
            centred.append(_without_own(block, rows) if debiased else block)
        k, l = centred  # noqa: E741
        products += np.vdot(k, l), np.vdot(k, k), np.vdot(l, l)
    return float(products[0] / np.sqrt(products[1] * products[2]))


def dissimilarity_measures(a: Points, b: Points) -> dict[str, float]:
    """Correlations of distances, and of their ranks; `align` takes the ranks of squares rounded to float32."""
    correlations = {}
    vectors = [np.sqrt(_of_pairs(_scaled(x))) for x in (a, b)]
    correlations["rsa_pearson"] = _correlation(*vectors)
    for i in range(2):
        vectors[i] = scipy.stats.rankdata(vectors[i])
    return {"rsa": _correlation(*vectors), **correlations}


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    mean_x, mean_y = x.mean(), y.mean()
    products = np.zeros(3)
    for start in range(0, len(x), _BLOCK):
        p, q = x[start : start + _BLOCK] - mean_x, y[start : start + _BLOCK] - mean_y
        products += p @ q, p @ p, q @ q
    return float(products[0] / np.sqrt(products[1] * products[2]))


def shape_measures(a: Points, b: Points) -> dict[str, float]:
    """Those of shapes; `pwcca` is None where canonical correlations coincide, so that it is not unique."""
    n = len(a)
    centred = [np.where(np.any(x != x[:1], axis=0), x - x.mean(0), 0.0) for x in (a, b)]
    distance = _procrustes_distance(*centred)
    bases = [_basis(x, y) for x, y in zip((a, b), centred, strict=True)]
    leading = [_leading(x) for x in centred]
    u, v = bases
    explained = np.sum((u.T @ _scaled(centred[1])) ** 2) / np.sum(_scaled(centred[1]) ** 2)
    found = {
        "procrustes": 2 * float(np.arcsin(distance / 2)),
        "procrustes_distance": distance,
        "svcca": _mean_correlation(*leading),
        "linear_regression": float(explained) if 0 < u.shape[1] < n - 1 else np.nan,
    }
    if not all(0 < basis.shape[1] < n - 1 for basis in bases):
        return found | dict.fromkeys(("cca", "cca_squared", "pwcca"), np.nan)
    left, correlations, _ = np.linalg.svd(u.T @ v, full_matrices=False)
    correlations = np.clip(correlations, 0, 1)
    weights = np.abs((u @ left).T @ centred[0]).sum(1)
    unique = np.all(np.diff(correlations) < -_COINCIDE)
    return found | {
        "cca": float(correlations.mean()),
        "cca_squared": float((correlations**2).mean()),
        "pwcca": float(weights @ correlations / weights.sum()) if unique else None,
    }


def _procrustes_distance(a: Points, b: Points) -> float:
    a, b = (x / np.linalg.norm(x) for x in map(_scaled, (a, b)))
    width = max(a.shape[1], b.shape[1])
    a, b = (np.pad(x, [(0, 0), (0, width - x.shape[1])]) for x in (a, b))
    left, _, right = np.linalg.svd(a.T @ b)
    return float(np.linalg.norm(a @ (left @ right) - b))


def _basis(x: Points, centred: Points) -> np.ndarray:
    """Of the directions that the rounding of float32 does not make, as `cca` says.

    Numbers that float32 does not hold are centred before they are rounded, and then their offset does not round them.
    """
    values = x if np.array_equal(x, x.astype(np.float32)) else x - np.median(x, axis=0)
    largest = np.abs(values).max(0)
    largest = np.where(largest > 0, largest, 1.0)
    scale = largest * np.sqrt(np.mean((values / largest) ** 2, axis=0))
    z = centred / np.where(scale > 0, scale, 1.0)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    varying = np.sum(np.any(z != 0, axis=0))
    return u[:, s > 2.0**-18 * np.sqrt(max(len(x), varying))]


def _leading(centred: Points, variance: float = 0.99) -> np.ndarray:
    """The smallest number of principal components that hold the fraction of the variance."""
    u, s, _ = np.linalg.svd(_scaled(centred), full_matrices=False)
    tail = np.cumsum((s**2)[::-1])[::-1]
    return u[:, tail > (1 - variance) * tail[0]]


def _mean_correlation(u: np.ndarray, v: np.ndarray) -> float:
    if not all(0 < x.shape[1] < len(x) - 1 for x in (u, v)):
        return np.nan
    return float(np.clip(np.linalg.svd(u.T @ v, compute_uv=False), 0, 1).mean())


# The function of each group, and the measures that it gives.
GROUPS: dict[Callable[[Points, Points], dict], tuple[str, ...]] = {
    rank_measures: ("cce", "cce_vasicek", "cce_histogram", "information_imbalance", "tie_fraction"),
    neighborhood_measures: ("mutual_knn", "cknna"),
    linear_kernel_measures: ("linear_cka", "linear_cka_debiased"),
    gaussian_kernel_measures: ("rbf_cka", "rbf_cka_debiased"),
    shape_measures: (
        *("procrustes", "procrustes_distance", "cca", "cca_squared", "svcca", "pwcca", "linear_regression"),
    ),
    dissimilarity_measures: ("rsa", "rsa_pearson"),
}
