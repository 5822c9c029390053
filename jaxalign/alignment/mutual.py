"""Measures of how far the nearest neighbours in two representations are the same points."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int32
from numpy.typing import ArrayLike

from jaxalign.alignment import inputs
from jaxalign.alignment.distances import standardize
from jaxalign.alignment.forms import FromStates, measure
from jaxalign.alignment.ranks import choose_tile, nearest_neighbors


def mutual_knn(a: ArrayLike, b: ArrayLike, *, neighbors: int = 10) -> jax.Array:
    """Mutual nearest neighbours: the fraction of the nearest neighbours that two representations share.

        M(A, B) = 1/N sum_i |kNN_A(i) ∩ kNN_B(i)| / k,

    with kNN_A(i) the k = `neighbors` points nearest to probe i in A by Euclidean distance, i itself excluded. Where
    several points are equally near, fixed pseudorandom ones are taken: the same ones in A and in B if the same points
    are tied there. The authors take the largest inner products of rows of unit length, which are the same neighbours if
    the caller scales the rows of both representations to unit length.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: k, 1 to N - 2.

    Returns:
      Scalar float32 in [0, 1], the same for (b, a): 1 if identical, k/(N - 1) on average if independent. NaN if a
      representation has a value that is not finite or is the same for all probes.

    Raises:
      ValueError: if an array is not real and two-dimensional with at least 3 rows, the numbers of rows differ, or
        `neighbors` is not an integer in the range.

    Reference:
      Huh et al. 2024, "The Platonic Representation Hypothesis", ICML.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import mutual_knn
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (a, a + 0.5 * noise, noise)  # identical, noisy, independent
      >>> [round(float(mutual_knn(a, b)), 2) for b in others]
      [1.0, 0.26, 0.03]
    """
    a, b, neighbors = inputs.pair(a, b, neighbors)
    return measure(MUTUAL_KNN, a, b, neighbors)


def cknna(a: ArrayLike, b: ArrayLike, *, neighbors: int = 10) -> jax.Array:
    """Centered kernel nearest-neighbor alignment: linear CKA restricted to the neighbours that both share.

        CKNNA(A, B) = S(A, B) / sqrt(S(A, A) S(B, B)),
        S(A, B) = sum_ij [j in kNN_A(i) and j in kNN_B(i)] K_ij L_ij,

    with K = A A^T and L = B B^T of representations whose columns are centred over all N probes, and kNN_A(i) as in
    `mutual_knn`, i itself excluded. This is the equation of the paper, whose row means mean_l K_il and mean_l L_il
    vanish for centred columns.

    The authors' released code differs. It scales rows to unit length, takes the points of largest inner
    product for neighbours, does not centre the columns, and for S takes the HSIC estimator of Song et al. 2012 (or
    the biased one) of the two kernels multiplied element-wise by the mask of shared neighbours: means are then taken
    over the masked matrices.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: k, 1 to N - 2.

    Returns:
      Scalar float32 in [-1, 1], the same for (b, a): 1 if identical, about k/(N - 1) or less if independent. NaN
      if a representation has a value that is not finite or is the same for all probes.

    Raises:
      ValueError: as `mutual_knn`.

    Reference:
      Huh et al. 2024, "The Platonic Representation Hypothesis", ICML.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import cknna
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (a, a + 0.5 * noise, noise)  # identical, noisy, independent
      >>> [round(float(cknna(a, b)), 2) for b in others]
      [1.0, 0.36, 0.02]
    """
    a, b, neighbors = inputs.pair(a, b, neighbors)
    return measure(CKNNA, a, b, neighbors)


class Neighborhoods(NamedTuple):
    """The nearest neighbours of each probe, and the centred linear kernel between the probe and them."""

    nearest: Int32[Array, "k n"]
    kernel: Float32[Array, "k n"]
    varies: Bool[Array, ""]  # not all probes are the same point


def find_neighborhoods(points: Float32[Array, "n d"], neighbors: int) -> Neighborhoods:
    """The state of both measures."""
    nearest = nearest_neighbors(points[None], neighbors, choose_tile(len(points)))[0]
    centred = standardize(points)
    centred = centred - jnp.mean(centred, axis=0, keepdims=True)
    kernel = lax.map(lambda j: jnp.sum(centred * centred[j], axis=1), nearest)
    return Neighborhoods(nearest, kernel, jnp.any(points != points[:1]))


def permute(state: Neighborhoods, order: Int32[Array, " n"]) -> Neighborhoods:
    """The state of the permuted probes; of tied points it keeps the ones that were chosen before."""
    return Neighborhoods(_relabel(state.nearest, order), state.kernel[:, order], state.varies)


def shared_fraction(a: Neighborhoods, b: Neighborhoods) -> Float32[Array, ""]:
    """The mean over probes of the fraction of neighbours that are in both."""
    # Divided by a computed count, which the compiler cannot replace by a rounded reciprocal: identical is exactly 1.
    samples = jnp.sum(a.nearest >= 0, dtype=jnp.float32)
    shared = jnp.sum(_shared(a.nearest, b.nearest), dtype=jnp.float32) / samples
    return jnp.where(a.varies & b.varies, shared, jnp.nan)


def kernel_alignment(a: Neighborhoods, b: Neighborhoods) -> Float32[Array, ""]:
    """The cosine of the two kernels, the product over shared neighbours, the norms over each one's own."""
    products = jnp.where(_shared(a.nearest, b.nearest), a.kernel[:, None] * b.kernel[None], 0.0)
    norms = jnp.sqrt(jnp.sum(a.kernel**2)) * jnp.sqrt(jnp.sum(b.kernel**2))
    # Rounding of the mean must not leave a kernel where there is none.
    defined = a.varies & b.varies & (norms > 0)
    return jnp.where(defined, jnp.sum(products) / jnp.where(norms > 0, norms, 1.0), jnp.nan)


def _shared(a: Int32[Array, "k n"], b: Int32[Array, "k n"]) -> Bool[Array, "k k n"]:
    """Whether the m-th neighbour in A is the m'-th in B."""
    return a[:, None] == b[None]


def _relabel(nearest: Int32[Array, "k n"], order: Int32[Array, " n"]) -> Int32[Array, "k n"]:
    """Position i now holds the probe order[i], and the neighbour j is found at position order^-1(j)."""
    positions = jnp.arange(len(order), dtype=nearest.dtype)
    return jnp.zeros_like(positions).at[order].set(positions)[nearest[:, order]]


MUTUAL_KNN = FromStates(find_neighborhoods, permute, shared_fraction)
CKNNA = FromStates(find_neighborhoods, permute, kernel_alignment)
