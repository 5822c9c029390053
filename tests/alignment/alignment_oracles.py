"""The measures in float64 NumPy, one probe at a time, straight from their definitions."""

import functools

import numpy as np
import scipy.stats


def tie_order(i, j):
    """MurmurHash3's finalizer of j plus that of i * 0x9E3779B9 + 1, modulo 2^32."""

    def mix(x):
        x = ((x ^ (x >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
        x = ((x ^ (x >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
        return x ^ (x >> 16)

    return mix((j + mix((i * 0x9E3779B9 + 1) & 0xFFFFFFFF)) & 0xFFFFFFFF)


def squared_distances(x):
    x = np.asarray(x, np.float64)
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def nearest(a, neighbors=1):
    """(neighbors, N): the nearest points of each, ties by `tie_order`."""
    da = squared_distances(a)
    n = len(da)
    order = [sorted(set(range(n)) - {i}, key=lambda j, i=i: (da[i, j], tie_order(i, j))) for i in range(n)]
    return np.array([row[:neighbors] for row in order]).T


def ranks(a, b, neighbors=1):
    """(less, equal), each of shape (neighbors, N)."""
    db = squared_distances(b)
    n = len(db)
    less, equal = np.zeros((2, neighbors, n), int)
    for (k, i), j in np.ndenumerate(nearest(a, neighbors)):
        others = np.delete(db[i], i)
        less[k, i] = sum(others < db[i, j])
        equal[k, i] = sum(others == db[i, j])
    return less, equal


def ranks_of_rows(a, b, rows):
    """(less, equal), each of shape (len(rows),), of the nearest neighbours of these probes alone; less memory."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    less, equal = np.zeros((2, len(rows)), int)
    for position, i in enumerate(rows):
        of_a, of_b = ((x - x[i]) ** 2 for x in (a, b))
        da, db = np.delete(of_a.sum(1), i), np.delete(of_b.sum(1), i)
        others = np.delete(np.arange(len(a)), i)
        tied = np.flatnonzero(da == da.min())
        nearest = min(tied, key=lambda t, i=i, others=others: tie_order(i, int(others[t])))
        less[position], equal[position] = sum(db < db[nearest]), sum(db == db[nearest])
    return less, equal


def _noisy(x, rng, scale=0.5):
    return x.astype(np.float32), (x + scale * rng.normal(size=x.shape)).astype(np.float32)


def gaussian(rng, n, d):
    return _noisy(rng.normal(size=(n, d)), rng)


def clusters(spread):
    def of(rng, n, d):
        centres = rng.normal(size=(10, d))[rng.integers(0, 10, n)]
        w, e = rng.normal(size=(2, n, d))
        return (centres + spread * w).astype(np.float32), (centres + spread * (w + 0.5 * e)).astype(np.float32)

    return of


def softmax(margin):
    """Outputs of a classifier that is sure of its answers, by this much in its logits."""

    def of(rng, n, d):
        a, e = rng.normal(size=(2, n, d))
        a[np.arange(n), rng.integers(0, d, n)] += margin
        logits = np.stack([a, a + 0.5 * e])
        p = np.exp(logits - logits.max(-1, keepdims=True))
        return tuple((p / p.sum(-1, keepdims=True)).astype(np.float32))

    return of


def heavy_tails(rng, n, d):
    x = rng.standard_t(0.5, size=(n, d))
    return x.astype(np.float32), (x * (1 + 0.1 * rng.normal(size=(n, d)))).astype(np.float32)


def offset(rng, n, d):
    return tuple(x + np.float32(1e3) for x in _noisy(rng.normal(size=(n, d)), rng))


def sparse_relu(rng, n, d):
    return tuple(np.maximum(x - 1, 0).astype(np.float32) for x in _noisy(rng.normal(size=(n, d)), rng))


def binary(rng, n, d):
    return tuple((rng.normal(size=(2, n, d)) > 0).astype(np.float32))


def one_hot(rng, n, d):
    return tuple(np.eye(d, dtype=np.float32)[rng.integers(0, d, (2, n))])


def rank_one(rng, n, d):
    return tuple((x * rng.normal(size=(1, d))).astype(np.float32) for x in _noisy(rng.normal(size=(n, 1)), rng, 0.1))


def scaled_columns(rng, n, d):
    return tuple(
        (x * np.where(np.arange(d) == 0, 1000, 1)).astype(np.float32) for x in _noisy(rng.normal(size=(n, d)), rng)
    )


def one_outlier(rng, n, d):
    x = rng.normal(size=(n, d))
    x[0] *= 1e5
    return _noisy(x, rng)


# What trained networks have, and what is hard: pairs of float32 representations, by (rng, probes, units).
KINDS = {
    "Gaussian": gaussian,
    "clusters 1e-1": clusters(1e-1),
    "clusters 1e-2": clusters(1e-2),
    "clusters 1e-4": clusters(1e-4),
    "clusters 1e-6": clusters(1e-6),
    "softmax 10": softmax(10),
    "softmax 30": softmax(30),
    "heavy tails": heavy_tails,
    "offset 1e3": offset,
    "sparse ReLU": sparse_relu,
    "binary codes": binary,
    "one-hot codes": one_hot,
    "rank one": rank_one,
    "columns 1 and 1000": scaled_columns,
    "one outlier": one_outlier,
}


def information_imbalance(less, equal):
    n = less.shape[-1]
    return 2 / n * np.mean(less + (equal + 1) / 2)


def spread_masses(less, equal):
    """(samples, N - 1): the mass of each sample on each rank, even over the tied ones."""
    n = less.shape[-1]
    masses = np.zeros((less.size, n - 1))
    for row, low, width in zip(masses, less.ravel(), equal.ravel(), strict=True):
        row[low : low + width] = 1 / width
    return masses


def log_bin_cce(a, b, neighbors=1):
    """Binned entropy, its jackknife correction, and the covariance of samples that are each other's neighbours."""
    less, equal = ranks(a, b, neighbors)
    n, samples = less.shape[-1], less.size
    edges = [0]
    for b in range(10**6):
        width = min(max(1.2, 1 + 2 / n**0.5) ** b, max((n - 1) / 20, n**0.5))
        edges.append(edges[-1] + max(1, round(width)))
        if edges[-1] >= n - 1:
            break
    if len(edges) > 2 and n - 1 - edges[-2] < (edges[-1] - edges[-2]) / 2:
        edges.pop()
    edges[-1] = n - 1
    masses = spread_masses(less, equal)
    p = np.stack([masses[:, low:high].sum(1) for low, high in zip(edges, edges[1:], strict=False)], axis=1)
    q, w = p.mean(0), np.diff(edges) / (n - 1)
    used = q > 0
    entropy = -np.sum(q[used] * np.log(q[used] / w[used]))
    count = samples * q[used]
    jackknife = np.array([g(x) for x in count]) @ ((p**2).mean(0)[used] / q[used] - q[used])
    pairs = {(i, j): k * n + i for (k, i), j in np.ndenumerate(nearest(a, neighbors))}
    mutual = [(s, pairs[j, i]) for (i, j), s in pairs.items() if (j, i) in pairs]
    covariance = sum((p[s] * p[t])[used] @ (1 / q[used]) - 1 for s, t in mutual) / samples
    return entropy + (jackknife + covariance / 2) / samples


def g(n):
    """What the delete-one jackknife puts for the 1/2 of Miller and Madow."""
    return 1.0 if n <= 1 else n - n * (n - 1) * np.log(n / (n - 1))


def pooled_entropy(ranks, n):
    """Plug-in entropy of the discrete ranks 1 ... n - 1 relative to the uniform: exact for very many samples."""
    q = np.bincount(np.asarray(ranks), minlength=n)[1:n] / np.size(ranks)
    return -np.sum(q[q > 0] * np.log(q[q > 0] * (n - 1)))


def centred(x):
    x = np.asarray(x, np.float64)
    x = np.where(np.any(x != x[:1], axis=0), x - x.mean(0), 0.0)
    return x / (np.abs(x).max() or 1.0)


def row_blocks(n, size=256):
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def distance_rows(x, rows):
    """Squared distances of some probes to all, by differences, one column after the other."""
    x = np.asarray(x, np.float64)
    total = np.zeros((len(x[rows]), len(x)))
    for column in x.T:
        total += np.subtract.outer(column[rows], column) ** 2
    return total


def spread_of(x):
    """The largest absolute value, by which squares of the rest do not underflow."""
    return np.asarray(x, np.float64) / (np.abs(np.asarray(x, np.float64)).max() or 1.0)


def off_diagonal(block, rows):
    block[np.arange(len(block)), np.arange(rows.start, rows.stop)] = 0.0
    return block


def centred_kernel_cosine(kernel_a, kernel_b, n, debiased):
    """CKA of two kernels, given as functions from a slice of rows to those rows; twice through the rows."""

    def block(kernel, rows):
        return off_diagonal(kernel(rows), rows) if debiased else kernel(rows)

    means = []
    for kernel in (kernel_a, kernel_b):
        sums = np.concatenate([block(kernel, rows).sum(1) for rows in row_blocks(n)])
        by_row, overall = (n - 2, (n - 1) * (n - 2)) if debiased else (n, n**2)
        means.append((sums / by_row, sums.sum() / overall))
    products = np.zeros((2, 2))
    for rows in row_blocks(n):
        k, l = (  # noqa: E741
            block(kernel, rows) - mean[rows][:, None] - mean[None] + overall
            for kernel, (mean, overall) in zip((kernel_a, kernel_b), means, strict=True)
        )
        if debiased:
            k, l = off_diagonal(k, rows), off_diagonal(l, rows)  # noqa: E741
        products += [[np.vdot(k, k), np.vdot(k, l)], [np.vdot(l, k), np.vdot(l, l)]]
    return products[0, 1] / np.sqrt(products[0, 0] * products[1, 1])


def linear_cka(a, b, debiased=False):
    if not debiased:
        a, b = centred(a), centred(b)
        return np.sum((a.T @ b) ** 2) / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    a, b = (spread_of(x) for x in (a, b))
    a, b = (x - np.median(x, axis=0) for x in (a, b))  # a shift that U-centring removes
    return centred_kernel_cosine(lambda rows: a[rows] @ a.T, lambda rows: b[rows] @ b.T, len(a), True)


def rbf_cka(a, b, debiased=False, bandwidth=1.0):
    kernels = []
    for x in map(spread_of, (a, b)):
        everything = np.empty((len(x), len(x)))
        for rows in row_blocks(len(x)):
            everything[rows] = distance_rows(x, rows)
        median = np.median(everything, overwrite_input=True)
        del everything
        kernels.append(lambda rows, x=x, m=median: np.exp(-distance_rows(x, rows) / (2 * m * bandwidth**2)))
    return centred_kernel_cosine(*kernels, len(a), debiased)


def pair_distances(x):
    """The distances i < j."""
    x = spread_of(x)
    n, filled = len(x), 0
    distances = np.empty(n * (n - 1) // 2)
    for rows in row_blocks(n):
        later = np.arange(n)[None] > np.arange(rows.start, rows.stop)[:, None]
        block = np.sqrt(distance_rows(x, rows)[later])
        distances[filled : filled + len(block)] = block
        filled += len(block)
    return distances


def rsa(a, b, pearson=False):
    vectors = []
    for x in (a, b):
        d = pair_distances(x)
        if not pearson:
            d = scipy.stats.rankdata(d)
        d = d - d.mean()
        vectors.append(d / np.linalg.norm(d))
    return vectors[0] @ vectors[1]


def basis(x):
    """Centred points, and an orthonormal basis of the directions beyond the rounding of float32."""
    x = np.asarray(x, np.float64)
    points = centred(x)
    scale = np.sqrt(np.mean(spread_of(x) ** 2, axis=0)) * np.abs(x).max()
    raw = np.where(np.any(x != x[:1], axis=0), x - x.mean(0), 0.0)
    z = np.divide(raw, scale, out=np.zeros_like(raw), where=scale > 0)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    varying = np.sum(np.any(z != 0, axis=0))
    return points, u[:, s > 2.0**-18 * np.sqrt(max(len(x), varying))]


def canonical(a, b):
    (a, u), (b, v) = basis(a), basis(b)
    if not 0 < u.shape[1] < len(a) - 1 or not 0 < v.shape[1] < len(a) - 1:
        return None
    left, correlations, _ = np.linalg.svd(u.T @ v)
    return a, u @ left[:, : len(correlations)], np.clip(correlations, 0, 1)


def cca(a, b, squared=False):
    found = canonical(a, b)
    return np.nan if found is None else np.mean(found[2] ** (2 if squared else 1))


def pwcca(a, b):
    found = canonical(a, b)
    if found is None:
        return np.nan
    a, variates, correlations = found
    weights = np.abs(variates.T @ a).sum(1)
    return weights @ correlations / weights.sum()


def variates_are_tied(a, b):
    """Whether canonical correlations coincide, so that the weights of `pwcca` are not unique."""
    found = canonical(a, b)
    return found is not None and np.any(np.diff(found[2]) > -1e-5)


def leading(x, variance):
    """The leading principal components that hold the fraction of the variance."""
    u, s, _ = np.linalg.svd(centred(x), full_matrices=False)
    tail = np.cumsum((s**2)[::-1])[::-1]
    return u[:, tail > (1 - variance) * tail[0]]


def svcca(a, b, variance=0.99):
    u, v = leading(a, variance), leading(b, variance)
    return np.mean(np.clip(np.linalg.svd(u.T @ v, compute_uv=False), 0, 1))


def linear_regression(a, b):
    _, u = basis(a)
    b = centred(b)
    return np.sum((u.T @ b) ** 2) / np.sum(b**2) if 0 < u.shape[1] < len(b) - 1 else np.nan


def procrustes_distance(a, b):
    a, b = (x / np.linalg.norm(x) for x in (centred(a), centred(b)))
    width = max(a.shape[1], b.shape[1])
    a, b = (np.pad(x, [(0, 0), (0, width - x.shape[1])]) for x in (a, b))
    left, _, right = np.linalg.svd(a.T @ b)
    return np.linalg.norm(a @ (left @ right) - b)


def procrustes(a, b):
    return 2 * np.arcsin(procrustes_distance(a, b) / 2)


# The measures of matrices and of shapes, by their names in the table of measures.
BY_NAME = {
    "linear_cka": linear_cka,
    "linear_cka_debiased": functools.partial(linear_cka, debiased=True),
    "rbf_cka": rbf_cka,
    "rbf_cka_debiased": functools.partial(rbf_cka, debiased=True),
    "rsa": rsa,
    "rsa_pearson": functools.partial(rsa, pearson=True),
    "procrustes": procrustes,
    "procrustes_distance": procrustes_distance,
    "cca": cca,
    "cca_squared": functools.partial(cca, squared=True),
    "svcca": svcca,
    "pwcca": pwcca,
    "linear_regression": linear_regression,
}


def trained_like(n, seed=0):
    """Pairs of representations of the kinds that trained networks have, by name; float32."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, n)
    centres, (w, e) = rng.normal(size=(10, 10)), rng.normal(size=(2, n, 10))
    common, (p, q) = rng.normal(size=(n, 6)), rng.normal(size=(2, n, 6))
    pairs = {"gaussian": (common, common + 0.5 * p)}
    for spread in (1, 1e-2, 1e-4, 1e-6):
        pairs[f"clusters {spread:g}"] = centres[labels] + spread * w, centres[labels] + spread * (w + 0.5 * e)
    for margin in (10, 30):
        logits = margin * np.eye(10)[labels] + w
        pairs[f"softmax {margin}"] = tuple(np.float32(softmax(x)) for x in (logits, logits + 0.5 * e))
    tails = rng.standard_t(0.5, (2, n, 6))
    pairs["heavy tails"] = tails[0], tails[0] + 0.5 * tails[1]
    hidden = rng.normal(size=(6, 40))
    pairs["sparse relu"] = tuple(np.maximum(x @ hidden - 4, 0) for x in (common, common + 0.5 * p))
    flips = rng.random((n, 12)) < 0.2
    bits = rng.random((n, 12)) < 0.5
    pairs["binary"] = 1.0 * bits, 1.0 * (bits ^ flips)
    pairs["scaled binary"] = 0.1 * bits, 0.1 * (bits ^ flips) + 0.3
    pairs["one-hot"] = np.eye(10)[labels], np.eye(10)[np.where(rng.random(n) < 0.3, rng.integers(0, 10, n), labels)]
    pairs["one column"] = common[:, :1], common[:, :1] + 0.5 * p[:, :1]
    pairs["rank one"] = tuple(x * rng.normal(size=64) for x in (common[:, :1], common[:, :1] + 0.5 * p[:, :1]))
    scales = np.where(np.arange(6) == 0, 1000, 1)
    pairs["scaled columns"] = common * scales, (common + 0.5 * q) * scales
    outlier = np.where(np.arange(n) == n // 2, 1e5, 1)[:, None]
    pairs["outlier"] = common * outlier, (common + 0.5 * q) * outlier
    pairs["offset"] = common + 1e3, common + 0.5 * p + 1e3
    return {name: (np.float32(a), np.float32(b)) for name, (a, b) in pairs.items()}


def softmax(x):
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)
