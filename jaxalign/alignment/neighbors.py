"""Measures that average over nearest neighbours."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32
from numpy.typing import ArrayLike

from jaxalign.alignment import inputs
from jaxalign.alignment.forms import FromRanks, measure
from jaxalign.alignment.ranks import Ranks


def information_imbalance(a: ArrayLike, b: ArrayLike, *, neighbors: int = 1) -> jax.Array:
    """Information imbalance: how badly the nearest neighbours in A predict those in B.

        II(A->B) = 2/N mean_i r_i,

    with r_i the rank among the distances from probe i in B of the nearest neighbour of i in A (1 = nearest), pooled
    over `neighbors`. A neighbour tied in B has the mean of the tied ranks; where several points are equally near in
    A, a fixed pseudorandom one is taken. So a representation that is the same for all probes carries no information.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: how many nearest neighbours in A are pooled, 1 to N - 2.

    Returns:
      Scalar float32, dimensionless: about 1 if independent, lower if aligned, 2/N if identical (for neighbors = 1).
      NaN if a representation has a value that is not finite.

    Raises:
      ValueError: if an array is not real and two-dimensional with at least 3 rows, the numbers of rows differ, or
        `neighbors` is not an integer in the range.

    Reference:
      Glielmo et al. 2022, PNAS Nexus 1, pgac039.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import information_imbalance
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (a, a + 0.5 * noise, noise)  # identical, noisy, independent
      >>> [round(float(information_imbalance(a, b)), 2) for b in others]
      [0.01, 0.21, 1.02]
      >>> half = a * [1, 1, 0, 0]  # some of A's units: A predicts them better than they predict A
      >>> [round(float(information_imbalance(*pair)), 1) for pair in ((a, half), (half, a))]
      [0.1, 0.4]
    """
    a, b, neighbors = inputs.pair(a, b, neighbors)
    return measure(FromRanks(mean_rank), a, b, neighbors)


def tie_fraction(a: ArrayLike, b: ArrayLike, *, neighbors: int = 1) -> jax.Array:
    """Fraction of the nearest neighbours in A that are tied with another point in B.

    A diagnostic of the rank-based measures: where it is large, A->B rests on ties, as of duplicated
    probes or dead units.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: how many nearest neighbours in A are pooled, 1 to N - 2.

    Returns:
      Scalar float32 in [0, 1]: 0 if every rank is unique. NaN if a representation has a value that is not finite.

    Raises:
      ValueError: as `information_imbalance`.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import tie_fraction
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> float(tie_fraction(a, noise))
      0.0
      >>> float(tie_fraction(a, np.maximum(a, 10.0)))  # a layer of dead units
      1.0
    """
    a, b, neighbors = inputs.pair(a, b, neighbors)
    return measure(FromRanks(tied), a, b, neighbors)


def mean_rank(ranks: Ranks) -> Float32[Array, ""]:
    """2/N times the mean rank, tied ranks averaged."""
    less, equal = ranks.less, ranks.equal
    # Divided by a computed count, which the compiler cannot replace by a rounded reciprocal: a mean rank of 1 is exact.
    samples = jnp.sum(equal > 0, dtype=jnp.float32)
    return jnp.sum(less + (equal + 1) / 2) / samples * (2 / less.shape[-1])


def tied(ranks: Ranks) -> Float32[Array, ""]:
    """Fraction of samples that share their rank."""
    return jnp.mean(ranks.equal > 1, dtype=jnp.float32)
