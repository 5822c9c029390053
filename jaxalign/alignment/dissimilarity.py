"""Representational similarity analysis: the correlation of two representations' distances."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Float64, Int32
from numpy.typing import ArrayLike

from jaxalign import checks
from jaxalign.alignment import inputs, sums
from jaxalign.alignment.clouds import Cloud, make_cloud, permute_cloud, squared_distances
from jaxalign.alignment.distances import power_of_two_below
from jaxalign.alignment.exact import exact_distances
from jaxalign.alignment.forms import FromMatrices, measure
from jaxalign.alignment.median import over_rows

# What of a distance less the mean distance may be rounding, relative to the mean: rows that are divided by their norms
# are rounded, and the distances of these with them.
_ROUNDING = 2.0**-20

# So many pairs have places that int32 numbers.
_MAX_PROBES = 2**16


def rsa(a: ArrayLike, b: ArrayLike, *, correlation: str = "spearman", distance: str = "euclidean") -> jax.Array:
    """Representational similarity analysis: whether the same pairs of probes are far apart in A and in B.

        RSA(A, B) = corr(d_A(i, j), d_B(i, j)) over the N (N - 1)/2 pairs i < j,

    with d the distance of two probes and corr the correlation of Pearson or of Spearman (of the ranks; tied distances
    have the mean of their ranks).

    Distances are as accurate as the float32 values hold them, also where probes lie much nearer to each other than to
    the others. Spearman's ranks are those of the distances in float64.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      correlation: "spearman", which is the same for any increasing function of the distances, or "pearson".
      distance: "euclidean", or "correlation": 1 minus the Pearson correlation of the two rows over the units. The
        latter does not change if a row is shifted or scaled, but does if a column is.

    Returns:
      Scalar float32 in [-1, 1], dimensionless: 1 if identical, about 0 if independent. NaN if a representation has a
      value that is not finite or the same distance between all probes, as where all are the same; for the correlation
      distance also if a row has the same value in all units.

    Raises:
      ValueError: if an array is not real and two-dimensional with at least 3 rows (and 2 columns for the
        correlation distance), the numbers of rows differ, or an option is not one of those above.

    Reference:
      Kriegeskorte et al. 2008, Front. Syst. Neurosci. 2, 4.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import rsa
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (-3 * a, a + 0.5 * noise, noise)  # scaled, noisy, independent
      >>> [round(float(rsa(a, b)), 2) for b in others]
      [1.0, 0.74, -0.07]
    """
    correlation = checks.choice("correlation", correlation, ("spearman", "pearson"))
    distance = checks.choice("distance", distance, ("euclidean", "correlation"))
    a, b, _ = inputs.pair(a, b, 1, "columns" if distance == "euclidean" else "rows")
    if distance == "euclidean":
        return measure(RSA_SPEARMAN if correlation == "spearman" else RSA_PEARSON, a, b)
    for name, x in (("a", a), ("b", b)):
        if x.shape[1] < 2:
            checks.reject(name, "an array of at least 2 units (columns) for the correlation distance", x.shape)
    form = RSA_SPEARMAN if correlation == "spearman" else RSA_SQUARED_PEARSON
    return measure(form, normalize_rows(a), normalize_rows(b))


@jax.jit
def normalize_rows(x: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    """Rows less their mean, divided by their norm: half their squared distance is the correlation distance.

    A row that is constant over the units, up to four units in the last place of its largest value, becomes NaN. The
    mean is taken of differences to the smallest value, which are exact where the offset is large.
    """
    x = x / power_of_two_below(jnp.max(jnp.abs(x), axis=1))[:, None]
    x = x - jnp.min(x, axis=1)[:, None]
    largest = jnp.max(x, axis=1)
    # A power of two, so that no digit is lost; without it the squares of a small row underflow.
    x = x / power_of_two_below(largest)[:, None]
    x = x - jnp.mean(x, axis=1)[:, None]
    norms = jnp.sqrt(jnp.sum(x * x, axis=1))
    return x / jnp.where(largest > 2.0**-21, norms, jnp.nan)[:, None]


class _Distances(NamedTuple):
    """State of the Pearson correlation: its matrix is distance / mean - 1, zero on the diagonal."""

    cloud: Cloud
    mean: Float32[Array, ""]  # over i != j


class _CentredRanks(NamedTuple):
    """State of Spearman's correlation."""

    ranks: Float32[Array, "n n"]  # (rank - mean rank) / number of pairs, zero on the diagonal


def _pearson(squared: bool) -> FromMatrices:
    def distances(cloud: Cloud, indices: Array) -> Array:
        rows = squared_distances(cloud, indices)
        return rows if squared else jnp.sqrt(rows)

    def embed(points: Float32[Array, "n d"]) -> _Distances:
        n, cloud = len(points), make_cloud(points)
        (means,) = over_rows(lambda i: (sums.total(distances(cloud, i), axis=1) / (n - 1),), n)
        return _Distances(cloud, sums.mean(means))

    def rows(state: _Distances, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
        centred = distances(state.cloud, indices) / jnp.where(state.mean > 0, state.mean, 1.0) - 1
        own = indices[:, None] == jnp.arange(centred.shape[1], dtype=jnp.int32)[None, :]
        # Of distances that are all the same nothing is left, not the noise of the subtraction.
        return jnp.where(own | (jnp.abs(centred) <= _ROUNDING) | (state.mean == 0), 0.0, centred)

    return FromMatrices(embed, _permute_distances, rows)


def _permute_distances(state: _Distances, order: Int32[Array, " n"]) -> _Distances:
    return _Distances(permute_cloud(state.cloud, order), state.mean)


def _embed_ranks(points: Float32[Array, "n d"]) -> _CentredRanks:
    """The pair (i, i + k), modulo n, is the entry (k - 1) n + i of the list of distances.

    The list takes k up to n/2, so that each pair is once in it: of k = n/2 only the first half, which is the end of
    the list.
    """
    n = len(points)
    if n > _MAX_PROBES:
        checks.reject("representations", f"at most {_MAX_PROBES} probes (rows) for Spearman's correlation", n)
    points = make_cloud(points).points
    pairs = jnp.arange(n * (n - 1) // 2, dtype=jnp.int32)
    first, second = pairs % n, (pairs % n + pairs // n + 1) % n
    with jax.enable_x64(True):
        (distances,) = over_rows(lambda i: (exact_distances(points[i], points),), n)
        ranks = _centred_ranks(distances[first, second])

    i, j = jnp.arange(n, dtype=jnp.int32)[:, None], jnp.arange(n, dtype=jnp.int32)[None, :]
    low, high = jnp.minimum(i, j), jnp.maximum(i, j)
    step = high - low
    around = 2 * step > n
    entry = jnp.where(around, (n - step - 1) * n + high, (step - 1) * n + low)
    return _CentredRanks(jnp.where(step == 0, 0.0, ranks[jnp.maximum(entry, 0)]))


def _centred_ranks(values: Float64[Array, " m"]) -> Float32[Array, " m"]:
    """(rank - mean rank)/m of nonnegative values, tied ones sharing the mean of their ranks; 0 if all are the same.

    The same up to rounding.
    """
    m = len(values)
    # Nonnegative floats are ordered as their bits, and integers are sorted faster.
    bits = lax.bitcast_convert_type(values, jnp.int64)
    (ordered,) = lax.sort((bits,), num_keys=1, is_stable=False)
    place = jnp.arange(m, dtype=jnp.int32)
    new = ordered[1:] != ordered[:-1]
    edge = jnp.ones(1, bool)
    first = lax.cummax(jnp.where(jnp.concatenate([edge, new]), place, 0))
    last = lax.cummin(jnp.where(jnp.concatenate([new, edge]), place, m - 1), reverse=True)
    # Twice the centred rank is an integer, which float32 holds exactly up to N = 4096.
    centred = (first - (m - 1 - last)).astype(jnp.float32) / jnp.float32(2 * m)
    ranks = centred[jnp.searchsorted(ordered, bits, method="scan")]
    low, high = (lax.bitcast_convert_type(ordered[i], jnp.float64) for i in (0, -1))
    return jnp.where(high - low <= 2 * _ROUNDING * high, jnp.float32(0), ranks)


def _permute_ranks(state: _CentredRanks, order: Int32[Array, " n"]) -> _CentredRanks:
    return _CentredRanks(state.ranks[order][:, order])


def _rank_rows(state: _CentredRanks, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    return state.ranks[indices]


RSA_SPEARMAN = FromMatrices(_embed_ranks, _permute_ranks, _rank_rows)
RSA_PEARSON = _pearson(squared=False)
RSA_SQUARED_PEARSON = _pearson(squared=True)
