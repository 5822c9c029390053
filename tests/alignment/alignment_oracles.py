"""The measures in float64 NumPy, one probe at a time, straight from their definitions."""

import numpy as np


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
        edges.append(edges[-1] + max(1, round(min(1.2**b, (n - 1) / 20))))
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
