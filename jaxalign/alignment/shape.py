"""Measures that compare representations as shapes or subspaces, after the best orthogonal or linear map.

All start from one singular value decomposition of each representation, X = U S V^T. Rotations of the units change
neither the shape nor the subspace, so X V = U S, of at most N columns, stands for X.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int32
from numpy.typing import ArrayLike

from jaxalign import checks
from jaxalign.alignment import inputs, sums
from jaxalign.alignment.decomposition import (
    Decomposition,
    UnitDecomposition,
    decompose,
    decompose_uncentred,
    decompose_units,
)
from jaxalign.alignment.distances import all_finite
from jaxalign.alignment.forms import FromStates, measure
from jaxalign.alignment.programs import run


def procrustes(a: ArrayLike, b: ArrayLike, *, angular: bool = True) -> jax.Array:
    """Procrustes distance between the shapes of two representations: what is left after the best rotation.

        d(A, B) = min_Q ||A/||A|| Q - B/||B|||| = sqrt(2 - 2 ||A^T B||_* / (||A|| ||B||)),
        angle(A, B) = arccos(||A^T B||_* / (||A|| ||B||)) = 2 arcsin(d / 2),

    with centred columns, Q orthogonal (reflections included), the narrower representation widened by zero columns,
    ||.|| the Frobenius and ||.||_* the nuclear norm. Both are metrics on shapes. Computed from the residual, so that
    small distances are accurate to about 1e-6. Ding et al. report the square, d^2.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      angular: the angle of Williams et al. 2021; otherwise the distance d.

    Returns:
      Scalar float32, the same for (b, a): the angle in radians in [0, pi/2], or d in [0, sqrt(2)]. 0 if identical; for
      independent isotropic Gaussians of D dimensions each, 1 << D << N, the cosine of the angle is about
      8/(3 pi) sqrt(D/N). NaN if a representation has a value that is not finite or is the same for all probes.

    Raises:
      ValueError: if an array is not real and two-dimensional with at least 3 rows, the numbers of rows differ, or an
        option is not one of those above.

    Reference:
      Williams et al. 2021, "Generalized Shape Metrics on Neural Representations", NeurIPS. Ding et al. 2021,
      "Grounding Representation Similarity Through Statistical Testing", NeurIPS.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import procrustes
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (a[:, ::-1], a + 0.5 * noise, noise)  # permuted, noisy, independent
      >>> [round(float(procrustes(a, b)), 2) for b in others]
      [0.0, 0.49, 1.45]
    """
    form = PROCRUSTES if checks.boolean("angular", angular) else PROCRUSTES_DISTANCE
    a, b, _ = inputs.pair(a, b, 1)
    return measure(form, a, b)


def cca(a: ArrayLike, b: ArrayLike, *, squared: bool = False, centered: bool = True) -> jax.Array:
    """Mean canonical correlation between two representations.

        CCA(A, B) = 1/r sum_i rho_i,    r = min(rank A, rank B),

    with rho_i the singular values of U_A^T U_B, where U holds an orthonormal basis of the columns, centred. The rank
    counts the directions that the rounding of float32 values does not make: with each column divided by the root mean
    square of its values, the singular values above 2^-18 sqrt(max(N, D)), D the number of columns that vary. So columns
    of very different scales count alike.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      squared: average the squares rho_i^2 instead.
      centered: centre the columns; otherwise the rho_i are the cosines of the angles between the column spaces.

    Returns:
      Scalar float32 in [0, 1], the same for (b, a): 1 if identical. For independent isotropic Gaussians the mean square
      is max(D_a, D_b)/(N - 1) on average (over N if not centred), and the mean about 8/(3 pi) sqrt(D/N) where both have
      1 << D << N dimensions. NaN if a representation has a value that is not finite or is the same for all probes (zero
      if not centred), or has rank N - 1 or more (N if not centred): then it is correlated perfectly with any other.

    Raises:
      ValueError: as `procrustes`.

    Reference:
      Hotelling 1936, Biometrika 28, 321. The mean as in Raghu et al. 2017 and the mean square as in Kornblith et al.
      2019, "Similarity of Neural Network Representations Revisited", ICML, Table 1.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import cca
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (a * [1, 2, 3, 4], a + 0.5 * noise, noise)  # stretched, noisy, independent
      >>> [round(float(cca(a, b)), 2) for b in others]
      [1.0, 0.88, 0.12]
    """
    squared, centered = checks.boolean("squared", squared), checks.boolean("centered", centered)
    a, b, _ = inputs.pair(a, b, 1, "columns" if centered else None)
    if not centered:
        return run(_uncentered_cca, a, b, squared)
    return measure(CCA_SQUARED if squared else CCA, a, b)


def svcca(a: ArrayLike, b: ArrayLike, *, variance: float = 0.99) -> jax.Array:
    """Singular vector CCA: the mean canonical correlation of the leading principal components.

    Each representation, columns centred, is replaced by the smallest number of leading principal components that hold
    at least the fraction `variance` of its variance; then `cca`.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      variance: in (0, 1]; 1 keeps all.

    Returns:
      Scalar float32 in [0, 1], the same for (b, a): 1 if identical; if independent as `cca` for the numbers of
      components kept. NaN as for `cca`, with the number of components kept for the rank.

    Raises:
      ValueError: as `procrustes`.

    Reference:
      Raghu et al. 2017, "SVCCA", NeurIPS.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import svcca
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> b = np.hstack([a, 1e-3 * noise])  # with directions of little variance, which are left out
      >>> float(svcca(a, b)) > 0.99, round(float(svcca(a, noise)), 2)
      (True, 0.12)
    """
    variance = checks.real("variance", variance, 0, 1, exclude_minimum=True)
    a, b, _ = inputs.pair(a, b, 1)
    return measure(svcca_form(variance), a, b)


def pwcca(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """Projection-weighted CCA: the canonical correlations, weighted by how much of A they account for.

        PWCCA(A->B) = sum_i alpha_i rho_i / sum_i alpha_i,    alpha_i = sum_j |<h_i, x_j>|,

    over the r = min(rank A, rank B) canonical correlations rho_i of `cca`, with h_i the canonical variates of A, of
    unit length, and x_j the columns of A, centred. The weights are always those of A, the first argument. The authors'
    code takes them from the representation of fewer units, and projects on directions to which the units' means were
    added back. Where canonical correlations coincide, their variates, and so the weights, are not unique.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).

    Returns:
      Scalar float32 in [0, 1]: 1 if identical; if independent, in the range of the canonical correlations, whose
      mean `cca` gives. NaN as for `cca`.

    Raises:
      ValueError: as `procrustes`.

    Reference:
      Morcos et al. 2018, "Insights on representational similarity in neural networks with canonical correlation",
      NeurIPS.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import pwcca
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (a * [1, 2, 3, 4], a + 0.5 * noise, noise)  # stretched, noisy, independent
      >>> [round(float(pwcca(a, b)), 2) for b in others]
      [1.0, 0.88, 0.12]
    """
    a, b, _ = inputs.pair(a, b, 1)
    return measure(PWCCA, a, b)


def linear_regression(a: ArrayLike, b: ArrayLike) -> jax.Array:
    """Fraction of the variance of B that a linear map of A explains: stitching by least squares.

        R2(A->B) = 1 - min_W ||B - A W||^2 / ||B||^2 = ||U_A^T B||^2 / ||B||^2,

    with centred columns, U_A an orthonormal basis of the columns of A and ||.|| the Frobenius norm. It is the fit to
    the N probes themselves, not a prediction of others. The rank is that of `cca`.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).

    Returns:
      Scalar float32 in [0, 1]: 1 if identical, rank(A)/(N - 1) on average if independent and either is isotropic
      Gaussian. NaN if a representation has a value that is not finite or is the same for all probes, or A has rank N -
      1 or more: then it fits anything.

    Raises:
      ValueError: as `procrustes`.

    Reference:
      Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", ICML, Table 1.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import linear_regression
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> half = a * [1, 1, 0, 0]  # some of A's units: A predicts them better than they predict A
      >>> [round(float(linear_regression(*pair)), 1) for pair in ((a, half), (half, a))]
      [1.0, 0.5]
    """
    a, b, _ = inputs.pair(a, b, 1)
    return measure(LINEAR_REGRESSION, a, b)


def permute(state: Decomposition, order: Int32[Array, " n"]) -> Decomposition:
    """The state of the permuted probes."""
    return state._replace(u=state.u[order])


def permute_units(state: UnitDecomposition, order: Int32[Array, " n"]) -> UnitDecomposition:
    """The state of the permuted probes."""
    return state._replace(principal=permute(state.principal, order))


def procrustes_distance(a: Decomposition, b: Decomposition) -> Float32[Array, ""]:
    """||A Q - B|| of unit-norm representations, with the Q that the singular vectors of A^T B give."""
    width = max(a.u.shape[1], b.u.shape[1])
    a_shape, b_shape = _unit_shape(a, width), _unit_shape(b, width)
    left, _, right = jnp.linalg.svd(sums.crossed(a_shape, b_shape), full_matrices=False)
    residual = _matmul(a_shape, _matmul(left, right)) - b_shape
    # The true distance is at most sqrt(2).
    distance = jnp.minimum(jnp.sqrt(sums.total(residual**2)), jnp.float32(2**0.5))
    return jnp.where((a.rank > 0) & (b.rank > 0), distance, jnp.nan)


def procrustes_angle(a: Decomposition, b: Decomposition) -> Float32[Array, ""]:
    """arccos(1 - d^2/2) without its loss of digits at small d."""
    return 2 * jnp.arcsin(procrustes_distance(a, b) / 2)


def mean_correlation(a: Decomposition, b: Decomposition) -> Float32[Array, ""]:
    """The mean of the canonical correlations."""
    correlations = jnp.linalg.svd(_cosines(a, b), compute_uv=False)
    return _mean_over_rank(jnp.sum(jnp.minimum(correlations, 1.0)), a, b)


def mean_squared_correlation(a: Decomposition, b: Decomposition) -> Float32[Array, ""]:
    """The mean of their squares, whose sum is a squared Frobenius norm."""
    return _mean_over_rank(sums.total(_cosines(a, b) ** 2), a, b)


def weighted_correlation(a: UnitDecomposition, b: UnitDecomposition) -> Float32[Array, ""]:
    """The mean of the canonical correlations with the weights of A."""
    variates, correlations, _ = jnp.linalg.svd(_cosines(a.principal, b.principal), full_matrices=False)
    weights = jnp.sum(jnp.abs(_matmul(variates.T, a.units)), axis=1)
    weights = jnp.where(jnp.arange(len(weights)) < jnp.minimum(a.principal.rank, b.principal.rank), weights, 0.0)
    total = jnp.sum(weights)
    value = jnp.sum(weights * jnp.minimum(correlations, 1.0)) / jnp.where(total > 0, total, 1.0)
    return jnp.where(_defined(a.principal) & _defined(b.principal), value, jnp.nan)


def explained_variance(a: Decomposition, b: Decomposition) -> Float32[Array, ""]:
    """The fraction of the variance of B in the span of A."""
    spread = b.s / jnp.where(b.s[0] > 0, b.s[0], 1.0)
    explained = sums.total((sums.crossed(_basis(a), b.u) * spread[None]) ** 2)
    value = jnp.minimum(explained / jnp.where(b.rank > 0, sums.total(spread**2), 1.0), 1.0)
    return jnp.where(_defined(a) & (b.rank > 0), value, jnp.nan)


@functools.lru_cache(maxsize=64)
def svcca_form(variance: float) -> FromStates:
    """SVCCA at this fraction of the variance; cached, since programs are compiled for the form as an object."""

    def compare(a: Decomposition, b: Decomposition) -> Float32[Array, ""]:
        return mean_correlation(_truncate(a, variance), _truncate(b, variance))

    return FromStates(decompose, permute, compare)


def _truncate(state: Decomposition, variance: float) -> Decomposition:
    """The leading components, up to the first at which their sum reaches the fraction of the variance.

    A component stays if it and those behind it hold more than the rest: summed from the small end, where a large sum
    would swallow them.
    """
    squares = (state.s / jnp.where(state.s[0] > 0, state.s[0], 1.0)) ** 2
    tail = jnp.cumsum(squares[::-1])[::-1]
    kept = jnp.sum(tail > (1 - variance) * tail[0], dtype=jnp.int32)
    return state._replace(rank=jnp.minimum(state.rank, kept))


def _uncentered_cca(a: Float32[Array, "n da"], b: Float32[Array, "n db"], squared: bool) -> Float32[Array, ""]:
    finite = all_finite(a[None])[0] & all_finite(b[None])[0]
    states = (decompose_uncentred(jnp.where(finite, x, 0.0)) for x in (a, b))
    return jnp.where(finite, (mean_squared_correlation if squared else mean_correlation)(*states), jnp.nan)


def _defined(state: Decomposition) -> Bool[Array, ""]:
    """Whether the representation varies, and does not fit any other."""
    return (state.rank > 0) & (state.rank < state.limit)


def _basis(state: Decomposition) -> Float32[Array, "n m"]:
    """An orthonormal basis of the column space, in the first `rank` columns; the others are zero."""
    return jnp.where(jnp.arange(len(state.s))[None] < state.rank, state.u, 0.0)


def _unit_shape(state: Decomposition, width: int) -> Float32[Array, "n {width}"]:
    """U S of norm one, in `width` columns."""
    s = state.s / jnp.where(state.s[0] > 0, state.s[0], 1.0)
    shape = state.u * (s / jnp.sqrt(jnp.maximum(jnp.sum(s**2), 1.0)))[None]
    return jnp.pad(shape, [(0, 0), (0, width - shape.shape[1])])


def _cosines(a: Decomposition, b: Decomposition) -> Float32[Array, "ma mb"]:
    """U_A^T U_B, whose singular values are the canonical correlations."""
    return sums.crossed(_basis(a), _basis(b))


def _mean_over_rank(total: Float32[Array, ""], a: Decomposition, b: Decomposition) -> Float32[Array, ""]:
    defined = _defined(a) & _defined(b)
    number = jnp.minimum(a.rank, b.rank)
    return jnp.where(defined, jnp.minimum(total / jnp.maximum(number, 1), 1.0), jnp.nan)


def _matmul(a: Float32[Array, "i j"], b: Float32[Array, "j k"]) -> Float32[Array, "i k"]:
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


PROCRUSTES = FromStates(decompose, permute, procrustes_angle)
PROCRUSTES_DISTANCE = FromStates(decompose, permute, procrustes_distance)
CCA = FromStates(decompose, permute, mean_correlation)
CCA_SQUARED = FromStates(decompose, permute, mean_squared_correlation)
SVCCA = svcca_form(0.99)
PWCCA = FromStates(decompose_units, permute_units, weighted_correlation)
LINEAR_REGRESSION = FromStates(decompose, permute, explained_variance)
