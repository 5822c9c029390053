"""Centred kernel alignment: the cosine of two centred kernel matrices."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int, Int32
from numpy.typing import ArrayLike

from jaxalign import checks
from jaxalign.alignment import inputs
from jaxalign.alignment.distances import standardize
from jaxalign.alignment.forms import MATRIX_ROWS, FromMatrices, measure

# What the product of a distance or of a centred kernel leaves where the exact value is 0, relative to its terms.
ROUNDING = 2.0**-20

# The U-centred matrix of fewer probes is zero.
MIN_DEBIASED_PROBES = 4

# Thresholds of one pass of the selection: their number is one less than a power of two, of which 8 passes cover the
# bits of a float32.
THRESHOLDS = 15
DIGIT_BITS = 4
FLOAT_BITS = 32


def linear_cka(a: ArrayLike, b: ArrayLike, *, debiased: bool = False) -> jax.Array:
    """Centred kernel alignment of the linear kernel: how alike the inner products between probes are.

        CKA(A, B) = <K~, L~> / sqrt(<K~, K~> <L~, L~>),

    with K_ij = a_i.a_j, L_ij = b_i.b_j, < , > the sum of the products of entries, and K~ = HKH, H = 1 - 11^T/N.
    It does not change if a representation is rotated, scaled by a factor or shifted. `debiased` replaces K~ by the
    U-centred matrix, whose diagonal is 0 and whose other entries are

        K_ij - r_i/(N - 2) - r_j/(N - 2) + s/((N - 1)(N - 2)),    r_i = sum_(j != i) K_ij,    s = sum_i r_i,

    so that <K~, L~> is N (N - 3) times the unbiased estimate of the Hilbert-Schmidt independence criterion.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      debiased: whether the unbiased estimates are compared.

    Returns:
      Scalar float32, dimensionless: 1 if identical. For independent isotropic Gaussians of p and q units it is about
      sqrt(p q/((N + p)(N + q))), which is near 1 for many units; debiased about 0, in [-1, 1]. NaN if a representation
      has a value that is not finite or is the same for all probes; so is one that varies by less than four units in
      the last place of its largest value.

    Raises:
      ValueError: if an array is not real and two-dimensional with at least 3 rows (4 if debiased), or the numbers of
        rows differ.

    Reference:
      Kornblith et al. 2019, ICML, arXiv:1905.00414; debiased: Song et al. 2012, JMLR 13, 1393.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import linear_cka
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (-3 * a, a + 0.5 * noise, noise)  # scaled, noisy, independent
      >>> [round(float(linear_cka(a, b)), 2) for b in others]
      [1.0, 0.78, 0.02]
      >>> wide = rng.normal(size=(2, 300, 3000))  # independent, with more units than probes
      >>> round(float(linear_cka(*wide)), 2), abs(float(linear_cka(*wide, debiased=True))) < 0.05
      (0.91, True)
    """
    a, b, debiased = _checked(a, b, debiased)
    return measure(LINEAR_CKA_DEBIASED if debiased else LINEAR_CKA, a, b)


def rbf_cka(a: ArrayLike, b: ArrayLike, *, bandwidth: float = 1.0, debiased: bool = False) -> jax.Array:
    """Centred kernel alignment of the Gaussian kernel: how alike the pairs of near probes are.

    As `linear_cka`, of the matrices

        K_ij = exp(-|a_i - a_j|^2 / (2 bandwidth^2 m)),

    with m the median of all N^2 squared distances of the representation, the N zeros of the diagonal included (the
    mean of the two middle ones if N is even). This is the convention of the code of Kornblith et al.

    Squared distances come from products: one below 1e-6 (|a_i|^2 + |a_j|^2), with a_i about centred, counts as 0.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      bandwidth: width of the kernel in units of the root of the median squared distance, above 0. A Python number: one
        program is compiled for each.
      debiased: whether the unbiased estimates are compared.

    Returns:
      Scalar float32, dimensionless: 1 if identical; about 0 if independent and debiased, in [-1, 1]. NaN if a
      representation has a value that is not finite, is the same for all probes, or has a median distance of 0, as where
      most probes are duplicates of one. Debiased also NaN if all distances are equal, or the kernel so narrow that its
      squares off the diagonal vanish in float32.

    Raises:
      ValueError: as `linear_cka`, or if `bandwidth` is not a finite number above 0.

    Reference:
      Kornblith et al. 2019, ICML, arXiv:1905.00414; debiased: Song et al. 2012, JMLR 13, 1393.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import rbf_cka
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (-3 * a, a + 0.5 * noise, noise)  # scaled, noisy, independent
      >>> [round(float(rbf_cka(a, b)), 2) for b in others]
      [1.0, 0.76, 0.03]
    """
    bandwidth = checks.real("bandwidth", bandwidth, 0, exclude_minimum=True)
    a, b, debiased = _checked(a, b, debiased)
    return measure(rbf_form(bandwidth, debiased), a, b)


class _Points(NamedTuple):
    """State of the biased linear kernel: its matrix is the product of the centred points."""

    points: Float32[Array, "n d"]


class _CentredKernel(NamedTuple):
    """State of a kernel that is centred by the means of its rows."""

    points: Float32[Array, "n d"]
    norms: Float32[Array, " n"]  # squared
    means: Float32[Array, " n"]  # what the centring subtracts for a row and, the kernel being symmetric, a column
    overall: Float32[Array, ""]  # and adds
    median: Float32[Array, ""]  # of the squared distances; 1 where the kernel has no width
    noise: Float32[Array, ""]  # smaller centred entries are rounding


def _centred(points: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    return points - jnp.mean(points, axis=0)[None]


def _embed_linear(points: Float32[Array, "n d"]) -> _Points:
    return _Points(_centred(without_rounding(standardize(points))))


def _permute_points(state: _Points, order: Int32[Array, " n"]) -> _Points:
    return _Points(state.points[order])


def _linear_rows(state: _Points, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    return _inner_products(state.points, indices)


def _embed_linear_debiased(points: Float32[Array, "n d"]) -> _CentredKernel:
    points = _centred(without_rounding(standardize(points)))
    norms = jnp.sum(points * points, axis=1)
    total = jnp.sum(points, axis=0)
    sums = jnp.matmul(points, total, precision=lax.Precision.HIGHEST) - norms
    return _u_centring(points, norms, sums, jnp.float32(1), jnp.max(norms))


def _linear_debiased_rows(state: _CentredKernel, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    return _centre(state, _inner_products(state.points, indices), indices, debiased=True)


@functools.cache
def rbf_form(bandwidth: float, debiased: bool) -> FromMatrices:
    """The form of `rbf_cka`, the same object for the same arguments, so that nothing compiles twice."""
    factor = min(max(0.5 / bandwidth / bandwidth, 1e-30), 1e30)

    # Centring removes a constant, and the scale cancels. A wide kernel is 1 almost everywhere: its digits are
    # those of K - 1. A narrow one is small, and its digits are its own.
    def kernel(distances: Float32[Array, "..."]) -> Array:
        return jnp.expm1(-factor * distances) / factor if bandwidth >= 1 else jnp.exp(-factor * distances)

    def kernel_rows(points: Array, norms: Array, median: Array, indices: Array) -> Array:
        rows = kernel(squared_distances(points, norms, indices) / jnp.where(median > 0, median, jnp.nan))
        return jnp.where(_own(indices, len(points)), 0.0, rows) if debiased else rows

    def embed(points: Float32[Array, "n d"]) -> _CentredKernel:
        n = len(points)
        points = without_rounding(standardize(points))
        norms = jnp.sum(points * points, axis=1)
        median = median_squared_distance(points, norms)

        def summarize(indices: Int32[Array, " rows"]) -> tuple[Array, Array]:
            rows = kernel_rows(points, norms, median, indices)
            return jnp.sum(rows, axis=1), jnp.max(jnp.abs(rows), axis=1)

        sums, largest = over_rows(summarize, n)
        if debiased:
            return _u_centring(points, norms, sums, median, jnp.max(largest))
        means = sums / n
        return _CentredKernel(points, norms, means, jnp.mean(means), median, ROUNDING * jnp.max(largest))

    def rows(state: _CentredKernel, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
        kernel = kernel_rows(state.points, state.norms, state.median, indices)
        return _centre(state, kernel, indices, debiased=debiased)

    return FromMatrices(embed, _permute_kernel, rows)


def _permute_kernel(state: _CentredKernel, order: Int32[Array, " n"]) -> _CentredKernel:
    return state._replace(points=state.points[order], norms=state.norms[order], means=state.means[order])


def _u_centring(points: Array, norms: Array, sums: Array, median: Array, largest: Array) -> _CentredKernel:
    """The state of a U-centred kernel, given the sums of its rows without the diagonal."""
    n = len(points)
    if n < MIN_DEBIASED_PROBES:
        sums = jnp.full_like(sums, jnp.nan)
    overall = jnp.sum(sums) / ((n - 1) * (n - 2))
    return _CentredKernel(points, norms, sums / (n - 2), overall, median, ROUNDING * largest)


def _centre(
    state: _CentredKernel, kernel: Float32[Array, "rows n"], indices: Int32[Array, " rows"], *, debiased: bool
) -> Float32[Array, "rows n"]:
    """Rows of the centred kernel. Of one that is constant nothing is left, not the noise of the subtraction."""
    centred = kernel - state.means[indices][:, None] - state.means[None, :] + state.overall
    centred = jnp.where(jnp.abs(centred) <= state.noise, 0.0, centred)
    return jnp.where(_own(indices, len(state.points)), 0.0, centred) if debiased else centred


def without_rounding(points: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    """Standardized points; zeros if they differ by no more than the rounding of the raw values.

    The raw values were scaled to a largest one in [1, 2), whose last place is 2^-23.
    """
    return jnp.where(jnp.max(jnp.abs(points)) <= 2.0**-21, 0.0, points)


def _inner_products(points: Float32[Array, "n d"], indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    return jnp.matmul(points[indices], points.T, precision=lax.Precision.HIGHEST)


def squared_distances(
    points: Float32[Array, "n d"], norms: Float32[Array, " n"], indices: Int32[Array, " rows"]
) -> Float32[Array, "rows n"]:
    """Rows of the matrix of squared distances, given all squared norms: nowhere negative, zero on the diagonal.

    Duplicates are at distance 0 exactly: what is below the rounding error of the product is set to 0.
    """
    norms = norms[indices][:, None] + norms[None, :]
    distances = norms - 2 * _inner_products(points, indices)
    return jnp.where((distances <= ROUNDING * norms) | _own(indices, len(points)), 0.0, distances)


def _own(indices: Int32[Array, " rows"], n: int) -> Array:
    """Where the rows cross the diagonal, shape (rows, n)."""
    return indices[:, None] == jnp.arange(n, dtype=jnp.int32)[None, :]


def over_rows(function: Callable, n: int) -> tuple[Array, ...]:
    """`function` of the indices of all n rows, a block at a time; its results of shape (rows, ...) joined."""

    def block(start: Int[Array, ""]) -> tuple[Array, ...]:
        return function(jnp.minimum(start + jnp.arange(MATRIX_ROWS, dtype=jnp.int32), n - 1))

    blocks = lax.map(block, jnp.arange(0, n, MATRIX_ROWS, dtype=jnp.int32))
    return tuple(x.reshape(-1, *x.shape[2:])[:n] for x in blocks)


def median_squared_distance(points: Float32[Array, "n d"], norms: Float32[Array, " n"]) -> Float32[Array, ""]:
    """The median of all N^2 squared distances, without storing or sorting them.

    Nonnegative floats are ordered as their bits. So the lower of the two middle values is found digit by digit, four
    bits a pass, from the number of distances below each candidate; the upper is the same value if enough
    distances are equal to it, otherwise the next larger one. Counted in int32, which N = 46340 fills.
    """
    n = len(points)
    lower, upper = (n * n - 1) // 2, n * n // 2

    def count_below(values: Array) -> Array:
        def of(indices: Int32[Array, " rows"]) -> tuple[Array]:
            bits = lax.bitcast_convert_type(squared_distances(points, norms, indices), jnp.int32)
            below = bits[:, None, :] < values[None, :, None]
            return (jnp.sum(below, axis=2, dtype=jnp.int32),)

        return jnp.sum(over_rows(of, n)[0], axis=0, dtype=jnp.int32)

    def digit(step: Array, found: Array) -> Array:
        shift = FLOAT_BITS - DIGIT_BITS * (step + 1)
        candidates = found + (jnp.arange(1, THRESHOLDS + 1, dtype=jnp.int32) << shift)
        # A candidate beyond the largest float has wrapped around to a negative number; it is too large.
        fits = (candidates > 0) & (count_below(candidates) <= lower)
        return found + (jnp.sum(fits, dtype=jnp.int32) << shift)

    first = lax.fori_loop(0, FLOAT_BITS // DIGIT_BITS, digit, jnp.int32(0))
    first = lax.bitcast_convert_type(first, jnp.float32)

    def above(indices: Int32[Array, " rows"]) -> tuple[Array, Array]:
        rows = squared_distances(points, norms, indices)
        larger = rows > first
        return jnp.sum(~larger, axis=1, dtype=jnp.int32), jnp.min(jnp.where(larger, rows, jnp.inf), axis=1)

    counts, larger = over_rows(above, n)
    second = jnp.where(jnp.sum(counts, dtype=jnp.int32) > upper, first, jnp.min(larger))
    return (first + second) / 2


def _checked(a: ArrayLike, b: ArrayLike, debiased: bool) -> tuple[jax.Array, jax.Array, bool]:
    debiased = checks.boolean("debiased", debiased)
    a, b, _ = inputs.pair(a, b, 1)
    if debiased and len(a) < MIN_DEBIASED_PROBES:
        checks.reject("a", f"an array of at least {MIN_DEBIASED_PROBES} probes (rows) where debiased is set", a.shape)
    return a, b, debiased


LINEAR_CKA = FromMatrices(_embed_linear, _permute_points, _linear_rows)
LINEAR_CKA_DEBIASED = FromMatrices(_embed_linear_debiased, _permute_kernel, _linear_debiased_rows)
RBF_CKA = rbf_form(1.0, False)
RBF_CKA_DEBIASED = rbf_form(1.0, True)
