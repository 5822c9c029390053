"""Measures of how far the nearest neighbours in two representations are the same points."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int32
from numpy.typing import ArrayLike

from jaxalign.alignment import inputs, sums
from jaxalign.alignment.distances import standardize
from jaxalign.alignment.exact import exact_distances, exact_pair_distances
from jaxalign.alignment.forms import MATRIX_ROWS, FromMatrices, measure
from jaxalign.alignment.ranks import choose_tile, nearest_neighbors, ranks_of


def mutual_knn(a: ArrayLike, b: ArrayLike, *, neighbors: int = 10) -> jax.Array:
    """Mutual nearest neighbours: the fraction of the nearest neighbours that two representations share.

        M(A, B) = 1/N sum_i |kNN_A(i) ∩ kNN_B(i)| / k,

    with kNN_A(i) the k = `neighbors` points nearest to probe i in A by Euclidean distance, i itself excluded. Where
    more points are equally near than there are places left among the k, they share these places evenly, which is the
    mean over choices at random that are independent in A and in B. So tied neighbours are not counted as agreement, and
    a tied representation may agree with itself by less than 1. The authors take the largest inner products of rows of
    unit length, which are the same neighbours if the caller scales the rows of both representations to unit length.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: k, 1 to N - 2.

    Returns:
      Scalar float32 in [0, 1], the same for (b, a): 1 if identical without ties, k/(N - 1) on average if independent.
      NaN if a representation has a value that is not finite or is the same for all probes.

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
    vanish for centred columns. Where neighbours are tied, each of the three sums is its mean over the choices of
    `mutual_knn`.

    The authors' released code differs. It scales rows to unit length, takes the points of largest inner
    product for neighbours, does not centre the columns, and for S takes the HSIC estimator of Song et al. 2012 (or
    the biased one) of the two kernels multiplied element-wise by the mask of shared neighbours: means are then taken
    over the masked matrices.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: k, 1 to N - 2.

    Returns:
      Scalar float32 in [-1, 1], the same for (b, a): 1 if identical without ties, about k/(N - 1) or less if
      independent. NaN if a representation has a value that is not finite or is the same for all probes.

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
    """The nearest neighbours of each probe, and the share that each point has in them.

    Points nearer than the last neighbour have a share of one. The points at its distance divide the places left.
    """

    points: Float32[Array, "n d"]
    nearest: Int32[Array, "k n"]
    tied: Bool[Array, " n"]  # more points are as near as the last neighbour than there are places
    share: Float32[Array, " n"]  # of each point as near as the last neighbour
    varies: Bool[Array, ""]  # not all probes are the same point


def find_neighborhoods(points: Float32[Array, "n d"], neighbors: int) -> Neighborhoods:
    """The state of `mutual_knn`."""
    tile = choose_tile(len(points))
    nearest = nearest_neighbors(points[None], neighbors, tile)
    last = ranks_of(points[None], nearest[:, -1:], tile)
    nearer, as_near = last.less[0, 0, 0], last.equal[0, 0, 0]
    places = neighbors - nearer
    share = places.astype(jnp.float32) / as_near.astype(jnp.float32)
    return Neighborhoods(points, nearest[0], as_near > places, share, jnp.any(points != points[:1]))


def permute(state: Neighborhoods, order: Int32[Array, " n"]) -> Neighborhoods:
    """The state of the permuted probes."""
    return Neighborhoods(
        state.points[order], _relabel(state.nearest, order), state.tied[order], state.share[order], state.varies
    )


@jax.custom_batching.sequential_vmap  # batched, both sides of the condition would be computed
def shares(state: Neighborhoods, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    """The share that each point has in the neighbours of some probes; each row sums to k."""
    n, rows = len(state.points), len(indices)

    def listed() -> Array:
        row = jnp.arange(rows, dtype=jnp.int32)[None]
        return jnp.zeros((rows, n)).at[row, state.nearest[:, indices]].set(1.0)

    def spread() -> Array:
        probes, last = state.points[indices], state.points[state.nearest[-1, indices]]
        own = indices[:, None] == jnp.arange(n, dtype=jnp.int32)[None]
        with jax.enable_x64(True):
            distances, limit = exact_distances(probes, state.points), exact_pair_distances(probes, last)[:, None]
            nearer, as_near = (distances < limit) & ~own, (distances == limit) & ~own
        return jnp.where(nearer, 1.0, jnp.where(as_near, state.share[indices][:, None], 0.0))

    return lax.cond(jnp.any(state.tied[indices]), spread, listed)


class KernelNeighborhoods(NamedTuple):
    """Neighbours, and the centred points whose inner products are compared between them."""

    neighborhoods: Neighborhoods
    centred: Float32[Array, "n d"]
    norm: Float32[Array, ""]  # of the kernel over each probe's own neighbours


def find_kernel_neighborhoods(points: Float32[Array, "n d"], neighbors: int) -> KernelNeighborhoods:
    """The state of `cknna`."""
    found = find_neighborhoods(points, neighbors)
    centred = standardize(points)
    centred = centred - sums.mean(centred, axis=0)[None]

    def squares(start: Array) -> Array:
        indices = start + jnp.arange(MATRIX_ROWS, dtype=jnp.int32)
        rows = jnp.minimum(indices, len(points) - 1)
        kernel = jnp.matmul(centred[rows], centred.T, precision=lax.Precision.HIGHEST)
        return jnp.where(indices < len(points), jnp.sum(shares(found, rows) * kernel**2, axis=1), 0.0)

    norm = jnp.sqrt(sums.total(lax.map(squares, jnp.arange(0, len(points), MATRIX_ROWS, dtype=jnp.int32))))
    # Rounding of the mean must not leave a kernel where there is none.
    return KernelNeighborhoods(found, centred, jnp.where(found.varies, norm, 0.0))


def permute_kernel(state: KernelNeighborhoods, order: Int32[Array, " n"]) -> KernelNeighborhoods:
    """The state of the permuted probes."""
    return KernelNeighborhoods(permute(state.neighborhoods, order), state.centred[order], state.norm)


def kernel_shares(state: KernelNeighborhoods, indices: Int32[Array, " rows"]) -> Float32[Array, "rows n"]:
    """The shares times the kernel."""
    kernel = jnp.matmul(state.centred[indices], state.centred.T, precision=lax.Precision.HIGHEST)
    return shares(state.neighborhoods, indices) * kernel


def _relabel(nearest: Int32[Array, "k n"], order: Int32[Array, " n"]) -> Int32[Array, "k n"]:
    """Position i now holds the probe order[i], and the neighbour j is found at position order^-1(j)."""
    positions = jnp.arange(len(order), dtype=nearest.dtype)
    return jnp.zeros_like(positions).at[order].set(positions)[nearest[:, order]]


def _root_of_places(state: Neighborhoods) -> Float32[Array, ""]:
    k, n = state.nearest.shape
    return jnp.where(state.varies, jnp.sqrt(jnp.float32(k * n)), 0.0)


MUTUAL_KNN = FromMatrices(find_neighborhoods, permute, shares, norm=_root_of_places)
CKNNA = FromMatrices(find_kernel_neighborhoods, permute_kernel, kernel_shares, norm=lambda state: state.norm)
