"""Centred kernel alignment: the cosine of two centred kernel matrices."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Float64, Int32
from numpy.typing import ArrayLike

from jaxalign import checks
from jaxalign.alignment import inputs, sums
from jaxalign.alignment.clouds import (
    Cloud,
    make_cloud,
    permute_cloud,
    robust_centre,
    some_squared_distances,
    squared_distances,
    without_rounding,
)
from jaxalign.alignment.distances import power_of_two_below
from jaxalign.alignment.forms import FromMatrices, measure
from jaxalign.alignment.median import median_of_rows, over_rows

# What of a centred entry may be rounding, relative to the terms of which it is the sum.
ROUNDING = 2.0**-21

# The U-centred matrix of fewer probes is zero.
MIN_DEBIASED_PROBES = 4


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

    Distances are as accurate as the float32 values hold them, also where probes lie much nearer to each other than to
    the others; they are zero between duplicates only.

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


class _Means(NamedTuple):
    """What centring subtracts from a kernel for a row and, the kernel being symmetric, a column; and adds."""

    means: Float32[Array, " n"]
    overall: Float32[Array, ""]


class _DebiasedLinear(NamedTuple):
    """State of the debiased linear kernel."""

    points: Float32[Array, "n d"]
    norms: Float32[Array, " n"]
    means: _Means


class _Gaussian(NamedTuple):
    """State of a Gaussian kernel."""

    cloud: Cloud
    median: Float32[Array, ""]  # of the squared distances; NaN where it is 0
    means: _Means


def _permute_means(means: _Means, order: Int32[Array, " n"]) -> _Means:
    return means._replace(means=means.means[order])


def _scaled(points: Float32[Array, "n d"]) -> Float32[Array, "n d"]:
    return without_rounding(points / power_of_two_below(jnp.max(jnp.abs(points))))


def _embed_linear(points: Float32[Array, "n d"]) -> _Points:
    points = _scaled(points)
    with jax.enable_x64(True):
        wide = points.astype(jnp.float64)
        centred = (wide - jnp.mean(wide, axis=0)[None]).astype(jnp.float32)
    # Rounding of the mean must not give a representation to probes that are all the same.
    return _Points(jnp.where(jnp.any(points != points[:1], axis=0)[None], centred, 0.0))


def _permute_points(state: _Points, order: Int32[Array, " n"]) -> _Points:
    return _Points(state.points[order])


def _linear_rows(state: _Points, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    return _inner_products(state.points, indices)


def _embed_linear_debiased(points: Float32[Array, "n d"]) -> _DebiasedLinear:
    """U-centring removes any shift of the points; one to the bulk of them is not moved by outliers, as the mean is."""
    points = _scaled(points)
    points = points - robust_centre(points)[None]
    with jax.enable_x64(True):
        wide = points.astype(jnp.float64)
        others = jnp.sum(wide, axis=0)[None] - wide
        means = _u_means(jnp.sum(wide * others, axis=1))
    return _DebiasedLinear(points, jnp.sqrt(jnp.sum(points * points, axis=1)), means)


def _permute_linear(state: _DebiasedLinear, order: Int32[Array, " n"]) -> _DebiasedLinear:
    return _DebiasedLinear(state.points[order], state.norms[order], _permute_means(state.means, order))


def _linear_debiased_rows(state: _DebiasedLinear, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    terms = state.norms[indices][:, None] * state.norms[None]
    return _without_own(_centre(_inner_products(state.points, indices), terms, state.means, indices), indices)


@functools.cache
def rbf_form(bandwidth: float, debiased: bool) -> FromMatrices:
    """The form of `rbf_cka`, the same object for the same arguments, so that nothing compiles twice."""
    factor = min(max(0.5 / bandwidth / bandwidth, 1e-30), 1e30)

    # Centring removes a constant, and the scale cancels. A wide kernel is 1 almost everywhere: its digits are
    # those of K - 1. A narrow one is small, and its digits are its own.
    def kernel_rows(cloud: Cloud, median: Array, indices: Array) -> Float32[Array, "rows n"]:
        distances = squared_distances(cloud, indices) / median
        rows = jnp.expm1(-factor * distances) / factor if bandwidth >= 1 else jnp.exp(-factor * distances)
        return _without_own(rows, indices) if debiased else rows

    def embed(points: Float32[Array, "n d"]) -> _Gaussian:
        n, cloud = len(points), make_cloud(points)
        median = median_of_rows(functools.partial(squared_distances, cloud), n, some_squared_distances(cloud))
        median = jnp.where(median > 0, median, jnp.nan)
        (row_sums,) = over_rows(lambda indices: (sums.total(kernel_rows(cloud, median, indices), axis=1),), n)
        with jax.enable_x64(True):
            wide = row_sums.astype(jnp.float64)
            means = _u_means(wide) if debiased else _Means(row_sums / n, (jnp.sum(wide) / n**2).astype(jnp.float32))
        return _Gaussian(cloud, median, means)

    def permute(state: _Gaussian, order: Int32[Array, " n"]) -> _Gaussian:
        return _Gaussian(permute_cloud(state.cloud, order), state.median, _permute_means(state.means, order))

    def rows(state: _Gaussian, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
        kernel = kernel_rows(state.cloud, state.median, indices)
        centred = _centre(kernel, jnp.abs(kernel), state.means, indices)
        return _without_own(centred, indices) if debiased else centred

    return FromMatrices(embed, permute, rows)


def _u_means(row_sums: Float64[Array, " n"]) -> _Means:
    """For a U-centred kernel, given the sums of its rows without the diagonal; within the scope of 64 bits."""
    n = len(row_sums)
    if n < MIN_DEBIASED_PROBES:
        row_sums = jnp.full_like(row_sums, jnp.nan)
    overall = jnp.sum(row_sums) / ((n - 1) * (n - 2))
    return _Means((row_sums / (n - 2)).astype(jnp.float32), overall.astype(jnp.float32))


def _centre(
    kernel: Float32[Array, "rows n"], terms: Float32[Array, "rows n"], means: _Means, indices: Int32[Array, " rows"]
) -> Float32[Array, "rows n"]:
    """Rows of the centred kernel. Of one that is constant nothing is left, not the noise of the subtraction.

    An entry that is as small as the rounding of its terms, of which `terms` bounds those of the kernel, has no digits.
    """
    of_rows, of_columns = means.means[indices][:, None], means.means[None, :]
    centred = kernel - of_rows - of_columns + means.overall
    noise = ROUNDING * (terms + jnp.abs(of_rows) + jnp.abs(of_columns) + jnp.abs(means.overall))
    return jnp.where(jnp.abs(centred) <= noise, 0.0, centred)


def _inner_products(points: Float32[Array, "n d"], indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    return jnp.matmul(points[indices], points.T, precision=lax.Precision.HIGHEST)


def _without_own(rows: Float32[Array, "rows n"], indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    """The rows with zeros on the diagonal."""
    return jnp.where(indices[:, None] == jnp.arange(rows.shape[1], dtype=jnp.int32)[None, :], 0.0, rows)


def _checked(a: ArrayLike, b: ArrayLike, debiased: bool) -> tuple[jax.Array, jax.Array, bool]:
    debiased = checks.boolean("debiased", debiased)
    a, b, _ = inputs.pair(a, b, 1)
    if debiased and len(a) < MIN_DEBIASED_PROBES:
        checks.reject("a", f"an array of at least {MIN_DEBIASED_PROBES} probes (rows) where debiased is set", a.shape)
    return a, b, debiased


LINEAR_CKA = FromMatrices(_embed_linear, _permute_points, _linear_rows)
LINEAR_CKA_DEBIASED = FromMatrices(_embed_linear_debiased, _permute_linear, _linear_debiased_rows)
RBF_CKA = rbf_form(1.0, False)
RBF_CKA_DEBIASED = rbf_form(1.0, True)
