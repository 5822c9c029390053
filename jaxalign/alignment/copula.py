"""The conditional copula entropy, from the ranks of nearest neighbours."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32
from numpy.typing import ArrayLike

from jaxalign import checks
from jaxalign.alignment import inputs
from jaxalign.alignment.forms import FromRanks, measure
from jaxalign.alignment.ranks import Ranks
from jaxalign.alignment.resolve import tie_order

BIN_GROWTH = 1.2
LARGEST_BIN = 1 / 20
# Beyond 1 the growth is at least this over sqrt(N), which matters at fewer than 100 probes.
_GROWTH_AT_FEW = 2.0
HISTOGRAM_BINS = 20

# Samples side by side, one vector; as many vectors of them, or bins, as are unrolled in one expression.
_LANES, _VECTORS, _BINS = 16, 32, 16


def conditional_copula_entropy(
    a: ArrayLike, b: ArrayLike, *, neighbors: int = 1, estimator: str = "log_bins"
) -> jax.Array:
    """Conditional copula entropy of B given a vanishing distance in A.

        CCE(A->B) = H(c_B | c_A -> 0) = -∫ p(c) log p(c) dc,

    with p the density, pooled over probes i, of c = r/(N - 1) in [0, 1], where r is the rank among the distances from i
    in B of the nearest neighbour of i in A. Where that neighbour is tied in B, its mass is spread evenly over the
    tied ranks; where several points are equally near in A, a fixed pseudorandom one is taken. So a representation that
    is the same for all probes carries no information.

    What is estimated is the entropy of the ranks at N probes, -sum_r p_r log(p_r (N - 1)), with p_r the probability of
    the rank r over draws of N probes. The estimate is off from it on average by (estimator "log_bins"; Gaussian A
    and B of 1, 3 and 10 dimensions at overlaps from 0 to .999, simulated to .001)

        N             5     10     20     30     50     75    100    200    300
        independent  -.06   -.02   -.009  -.003  -.001  .000  -.001  .000   .001
        lowest       -.12   -.03   -.017  -.013  -.006  -.007 -.004  -.002  -.001
        highest       .00    .03    .001   .004   .005   .005  .003   .002   .002
        of one pair   .39    .30    .22    .19    .15    .12   .11    .08    .06

    where "of one pair" is the standard deviation of one estimate, averaged over the overlaps. At N = 1000 it is within
    .0005 if independent. It is exact for identical representations.

    Args:
      a: representation A, shape (N, D_a): one row per probe. Computed in float32.
      b: representation B of the same probes, shape (N, D_b).
      neighbors: how many nearest neighbours in A are pooled, 1 to N - 2.
      estimator: how the entropy is estimated from the N * neighbors ranks: "log_bins" (bins of geometrically growing
        width, jackknife correction), "vasicek" (spacings) or "histogram" (20 equal bins, no correction; it
        cannot go below -log 20).

    Returns:
      Scalar float32, in nats: 0 if independent, negative if aligned (lower means more aligned), -log(N - 1) if
      identical. NaN if a representation has a value that is not finite.

    Raises:
      ValueError: if an array is not real and two-dimensional with at least 3 rows, the numbers of rows differ, or an
        option is not one of those above.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import conditional_copula_entropy
      >>> rng = np.random.default_rng(0)
      >>> a, noise = rng.normal(size=(2, 300, 4))
      >>> others = (a, a + 0.5 * noise)  # identical, noisy
      >>> [round(float(conditional_copula_entropy(a, b)), 1) for b in others]
      [-5.7, -1.3]
      >>> bool(abs(conditional_copula_entropy(a, noise)) < 0.1)  # independent
      True
    """
    estimator = checks.choice("estimator", estimator, ESTIMATORS)
    a, b, neighbors = inputs.pair(a, b, neighbors)
    return measure(FromRanks(ESTIMATORS[estimator]), a, b, neighbors)


def log_bins(ranks: Ranks) -> Float32[Array, ""]:
    """H = -sum_b q_b log(q_b / w_b) over bins of geometrically growing width w_b, with its bias removed.

    The plug-in entropy of S independent samples is low by sum_b Var(q_b) / (2 q_b) where bins are well filled, which
    is the term of Miller and Madow, (occupied bins - 1) / (2 S). The delete-one jackknife (Zahl 1977) puts
    g(n) = n - n (n - 1) log(n / (n - 1)) for the 1/2 of a bin of n samples; it falls from 1 at n = 1 to 1/2, and so
    corrects the narrow bins too, which hold about one sample each at independence.

    With p_ib the mass of sample i in bin b, Var(q_b) = (mean_i p_ib^2 - q_b^2) / S. Without ties p_ib is 0 or 1; where
    B is tied throughout, p_ib = q_b does not fluctuate and the correction is 0.

    Samples are not independent: where i and i' are each other's neighbours in A, both ranks come from one distance in
    B. With f the fraction of samples that have such a partner, they add (sum_b mean_i p_ib p_i'b / q_b - f) / (2 S).
    """
    samples = ranks.less.size
    edges = log_bin_edges(ranks.less.shape[-1])
    own = _spread(ranks.less.reshape(-1), ranks.equal.reshape(-1))
    partner = ranks.reciprocal.reshape(-1)
    # A sample that has none is given one that is spread over infinitely many ranks, which leaves nothing for a bin.
    tied = jnp.where(partner >= 0, ranks.equal.reshape(-1)[partner], jnp.inf)
    partners = _spread(ranks.less.reshape(-1)[partner], tied)

    q = _mean_masses(own, edges)
    share = jnp.where(q > 0, 1 / jnp.where(q > 0, q, 1), 0)
    jackknife = _jackknife(samples * q)
    weighed = _sum_of_products(own, partners, edges, jackknife * share, share / 2) / samples
    paired = jnp.mean((partner >= 0).astype(jnp.float32))
    return _binned_entropy(q, edges) + (weighed - jnp.sum(jackknife * q) - paired / 2) / samples


def _jackknife(count: Float32[Array, "..."]) -> Float32[Array, "..."]:
    """g(n) = n - n (n - 1) log(n / (n - 1)); a bin that holds less than one sample counts as if it held one."""
    n = jnp.maximum(count, 1)
    return jnp.where(n > 1, n + n * (n - 1) * jnp.log1p(-1 / jnp.where(n > 1, n, 2.0)), 1.0)


def histogram(ranks: Ranks) -> Float32[Array, ""]:
    """H = -sum_b q_b log(q_b / w) over equal bins; the rank r fills the interval (r - 1, r] / (N - 1)."""
    edges = np.linspace(0, ranks.less.shape[-1] - 1, HISTOGRAM_BINS + 1)
    return _binned_entropy(bin_masses(ranks, edges), edges)


def vasicek(ranks: Ranks) -> Float32[Array, ""]:
    """H = mean_i log(S (x_(i+m) - x_(i-m)) / (g_i m)): spacings of the sorted samples, m = sqrt(S).

    The sample x is drawn by a fixed pseudorandom number from its tied ranks, the rank r filling (r - 1, r] / (N - 1).
    Near the ends, where the spacing is cut off at the first or last sample, g_i = 1 + (distance to the end)/m
    instead of 2 (Ebrahimi et al. 1994).
    """
    less, equal = ranks.less.reshape(-1), ranks.equal.reshape(-1)
    s = less.size
    index = jnp.arange(s, dtype=jnp.uint32)
    uniform = ((tie_order(index, index) >> 8).astype(jnp.float32) + 0.5) * 2.0**-24
    x = jnp.sort((less + uniform * equal) / (ranks.less.shape[-1] - 1))
    m = max(1, min(round(math.sqrt(s)), s // 2))
    i = np.arange(s)
    spacing = x[np.minimum(i + m, s - 1)] - x[np.maximum(i - m, 0)]
    g = np.minimum(2, 1 + np.minimum(i, s - 1 - i) / m).astype(np.float32)
    return jnp.mean(jnp.log(jnp.maximum(spacing, jnp.finfo(jnp.float32).tiny) * (s / m) / g))


ESTIMATORS: dict[str, Callable[[Ranks], Array]] = {"log_bins": log_bins, "vasicek": vasicek, "histogram": histogram}


def log_bin_edges(n: int) -> np.ndarray:
    """Edges 0, 1, ..., n - 1 of bins (e_b, e_b+1] over the ranks 1 ... n - 1, with growing widths max(1, round(w_b)).

        w_b+1 = min(w_b max(1.2, 1 + 2/sqrt(n)), max((n - 1)/20, sqrt(n)))

    The density of aligned representations falls to zero at the largest rank, and one wide bin there costs more than
    the tolerated 0.005; so no bin is wider than a twentieth of the ranks. The entropy of bins that hold less than one
    sample on average is too low, whatever corrects it; so at few probes, where a twentieth of the ranks is less than
    sqrt(n) of them, bins grow faster and up to sqrt(n). A last bin of less than half the width due is joined to the one
    before.
    """
    growth = max(BIN_GROWTH, 1 + _GROWTH_AT_FEW / math.sqrt(n))
    widest = max((n - 1) * LARGEST_BIN, math.sqrt(n))
    edges, width = [0, 1], 1.0
    while edges[-1] < n - 1:
        width = min(width * growth, widest)
        edges.append(edges[-1] + max(1, round(width)))
    if len(edges) > 2 and (n - 1 - edges[-2]) < (edges[-1] - edges[-2]) / 2:
        edges.pop()
    edges[-1] = n - 1
    return np.array(edges, dtype=np.float64)


def bin_masses(ranks: Ranks, edges: np.ndarray) -> Float32[Array, " bins"]:
    """The mean over samples of their masses in bins between `edges`; they sum to 1."""
    return _mean_masses(_spread(ranks.less.reshape(-1), ranks.equal.reshape(-1)), edges)


class _Spread(NamedTuple):
    """Samples whose mass is spread over ranks: below an edge e lies slope e + offset of it, cut off at 0 and 1."""

    slope: Float32[Array, "..."]
    offset: Float32[Array, "..."]

    def below(self, edges: Float32[Array | np.ndarray, "..."]) -> Float32[Array, "..."]:
        """The mass below edges of a shape that broadcasts with that of the samples."""
        mass = edges * self.slope + self.offset
        # One instruction each, while jnp.clip takes care of NaN.
        positive = jnp.where(mass > 0, mass, 0.0)
        return jnp.where(positive < 1, positive, 1.0)


def _spread(less: Array, equal: Array) -> _Spread:
    """Spreads each sample evenly over the ranks less + 1 ... less + equal.

    The compiler keeps the result of a division that is used at many edges. What is cheaper, as a product for the
    offset, it would repeat at each of them, with the look-up of partners before it.
    """
    equal = equal.astype(jnp.float32)
    return _Spread(1 / equal, -less.astype(jnp.float32) / equal)


def _mean_masses(samples: _Spread, edges: np.ndarray) -> Float32[Array, " bins"]:
    """The mean over samples of their masses in bins.

    Divided by the sum over bins, not by the constant number of samples: the compiler turns the latter into a product
    with a rounded reciprocal, and a single full bin would not hold exactly 1. The lanes are added up by a product,
    because the compiler would compute a sum together with all that is added before, and then without vectors.
    """
    vectors = -(-samples.slope.size // _LANES)
    blocks = -(-vectors // _VECTORS)
    unrolled = -(-vectors // blocks)
    # What is filled in has no mass below any edge.
    padding = blocks * unrolled * _LANES - samples.slope.size
    padded = [jnp.pad(x, (0, padding)).reshape(blocks, unrolled, 1, _LANES) for x in samples]
    below = jnp.zeros((blocks, len(edges), _LANES))
    for i in range(unrolled):
        below += _Spread(*(x[:, i] for x in padded)).below(jnp.asarray(edges, jnp.float32)[None, :, None])
    of_blocks = jnp.matmul(below, jnp.ones(_LANES), precision=lax.Precision.HIGHEST)
    sums = jnp.diff(jnp.sum(of_blocks, axis=0))
    return sums / jnp.sum(sums)


def _sum_of_products(
    own: _Spread,
    partners: _Spread,
    edges: np.ndarray,
    squares: Float32[Array, " bins"],
    products: Float32[Array, " bins"],
) -> Float32[Array, ""]:
    """Sum over samples i and bins b of squares_b p_ib^2 + products_b p_ib p_i'b, in one pass over the samples."""
    bins = len(edges) - 1
    groups = -(-bins // _BINS)
    unrolled = -(-bins // groups)
    # The bins beyond the last one are empty.
    padding = groups * unrolled - bins
    edges = np.append(edges, np.full(padding, edges[-1])).astype(np.float32)
    squares, products = (jnp.pad(x, (0, padding)).reshape(groups, unrolled, 1) for x in (squares, products))

    own, partners = (_Spread(*(x[None] for x in spread)) for spread in (own, partners))

    def below(edge: int) -> tuple[Array, Array]:
        of_groups = edges[np.arange(groups) * unrolled + edge, None]
        return own.below(of_groups), partners.below(of_groups)

    total = jnp.zeros((groups, own.slope.size))
    lower = below(0)
    for i in range(unrolled):
        upper = below(i + 1)
        p, of_partner = upper[0] - lower[0], upper[1] - lower[1]
        total += p * (squares[:, i] * p + products[:, i] * of_partner)
        lower = upper
    return jnp.sum(jnp.matmul(total, jnp.ones(own.slope.size), precision=lax.Precision.HIGHEST))


def _binned_entropy(q: Float32[Array, " bins"], edges: np.ndarray) -> Float32[Array, ""]:
    """Relative to the uniform density on (0, n - 1].

    The log widths are rounded from float64, which makes the value of a full first bin the float32 nearest to
    -log(n - 1).
    """
    log_widths = np.log(np.diff(edges) / edges[-1]).astype(np.float32)
    return -jnp.sum(jnp.where(q > 0, q * (jnp.log(jnp.where(q > 0, q, 1)) - log_widths), 0))
