"""What a measurement with N probes sees: the law of the rank of a nearest neighbour at finite N.

The setting is that of `alignment`, the notation that of `neighbors`. A probe outside the ball that holds the nearest
neighbour in A is nearer to v1 in B than v2 is with probability

    p = (F_B - F_AB) / (1 - T),    F_B = P(|v - v1| < |v2 - v1|),    F_AB = P(the same, and u in the ball),

independently for each of the N - 2 others, so that rank - 1 ~ Binomial(N - 2, p). The binomials are averaged over the
draws of p in closed form; no rank is drawn.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.special import betainc, chndtr, ndtr

from jaxalign.alignment.copula import log_bin_edges
from jaxalign.theory.neighbors import Neighbors, Table, draw_neighbors

_NODES = 40
# Nodes of asin(sqrt(p)) per standard deviation of a binomial, which there is 1 / (2 sqrt(N)) for every p.
_RESOLUTION = 12


class FiniteLaw(NamedTuple):
    """The measures at N probes, as splines over depth = -log(1 - rho^2) in [0, `end`]; beyond, the floors."""

    entropy: CubicSpline
    imbalance: CubicSpline
    end: float


class _Binomials(NamedTuple):
    """Binomials (N - 2, p) over the bins of the ranks, on a grid of asin(sqrt(p))."""

    angles: Float[np.ndarray, " grid"]
    masses: Float[np.ndarray, "grid bins"]
    widths: Float[np.ndarray, " bins"]


def entropy(depth: Float[np.ndarray, "..."], r: int, n_probes: int) -> Float[np.ndarray, "..."]:
    """The conditional copula entropy at N probes over depth = -log(1 - rho^2), infinity included."""
    law, floor = finite_law(r, n_probes), -np.log(n_probes - 1.0)
    inside = np.clip(law.entropy(np.minimum(depth, law.end)), floor, 0.0)
    # Plus 0: a negative zero at independence becomes 0.
    return np.asarray(np.where(depth < law.end, inside, floor) + 0.0)


def imbalance(depth: Float[np.ndarray, "..."], r: int, n_probes: int) -> Float[np.ndarray, "..."]:
    """The information imbalance at N probes over depth = -log(1 - rho^2), infinity included."""
    law, floor = finite_law(r, n_probes), 2.0 / n_probes
    inside = np.clip(law.imbalance(np.minimum(depth, law.end)), floor, 1.0)
    return np.where(depth < law.end, inside, floor)


@functools.lru_cache(maxsize=64)
def finite_law(r: int, n_probes: int, seed: int = 0) -> FiniteLaw:
    """The measures for r outputs and N probes, from one set of draws for all overlaps.

    Over seeds the entropy has a standard deviation below 1e-3, typically 2e-4, and the imbalance below 5e-4; the
    spline is some 1e-4 off.
    """
    # There u2 is nearer to v1 than all other probes but for some 1e-5 of the draws; 36 is the last rho below 1.
    end = min(2.0 * (np.log(n_probes) / r + 12.0), 36.0)
    # Dense near independence, where the entropy is of second order.
    depths = end * np.linspace(0.0, 1.0, _NODES) ** 1.5
    draws, inside, binomials = draw_neighbors(r, n_probes, seed), _ncx2_table(r), _binomials(n_probes)
    entropies, means = np.transpose(
        [_summarize(_nearer(draws, depth, r, inside), binomials) for depth in depths[:-1]]
        + [(-np.log(n_probes - 1.0), 0.0)]
    )
    # Independence and identity are known exactly: the sampling error at the former is taken off in proportion to the
    # distance from the latter.
    entropies = entropies[-1] * (entropies - entropies[0]) / (entropies[-1] - entropies[0])
    imbalances = 2.0 / n_probes + (1.0 - 2.0 / n_probes) * means / means[0]
    return FiniteLaw(CubicSpline(depths, entropies), CubicSpline(depths, imbalances), float(end))


def _nearer(draws: Neighbors, depth: float, r: int, inside: Table) -> Float[np.ndarray, " draws"]:
    """The probability p of each draw; `inside` is the table of `_ball_mass`."""
    distance = np.exp(-depth)
    rho, s = np.sqrt(-np.expm1(-depth)), np.sqrt(distance)
    # In units of s: eps rho, |rho eps w - a|, |v2 - v1| and the distances of v1 from rho u, u inside the ball of A.
    reach = rho * draws.reach / s
    base = np.sqrt(np.maximum(reach**2 - 2.0 * reach * draws.along_neighbor + draws.squared, 0.0))
    radius = np.sqrt((base + draws.parallel) ** 2 + draws.perpendicular)
    reach = reach[:, None]
    centers = draws.squared[:, None] - 2.0 * reach * draws.inside_along + reach**2 * draws.inside_squared
    centers = np.sqrt(np.maximum(centers, 0.0))
    in_both = draws.mass * inside(radius[:, None] - np.hypot(centers, np.sqrt(r)), centers).mean(-1)
    across = distance * (draws.squared - draws.along_probe**2)
    norm = np.sqrt((rho * draws.norm + s * draws.along_probe) ** 2 + across)
    return np.clip((_ball_mass(radius * s, norm, r) - in_both) / (1.0 - draws.mass), 0.0, 1.0)


def _ball_mass(radius: Float[np.ndarray, "*s"], norm: Float[np.ndarray, "*s"], r: int) -> Float[np.ndarray, "*s"]:
    """The mass in N(0, I_r) of a ball whose center is `norm` away from 0."""
    if r == 1:
        return ndtr(radius - norm) - ndtr(-radius - norm)
    return chndtr(radius**2, r, norm**2)


def _ncx2_table(r: int) -> Table:
    """`_ball_mass` over (radius - sqrt(norm^2 + r), norm), where it hardly depends on a large norm; to 1e-5."""
    shifts, norms = np.arange(-8.0, 8.01, 0.1), np.arange(0.0, 30.0, 0.15)
    radii = shifts[:, None] + np.hypot(norms, np.sqrt(r))
    mass = _ball_mass(np.abs(radii), np.broadcast_to(norms, radii.shape), r)
    # Continued analytically to negative radii: a kink there would spoil the spline.
    return Table(shifts, norms, np.where(radii < 0, (-1.0) ** r * mass, mass))


def _binomials(n: int) -> _Binomials:
    edges = log_bin_edges(n)
    angles = np.linspace(0.0, 0.5 * np.pi, int(_RESOLUTION * np.pi * np.sqrt(n)) + 2)
    inner = edges[1:-1]
    cdf = np.ones((angles.size, edges.size))
    cdf[:, 0] = 0.0
    cdf[:, 1:-1] = betainc(n - 1.0 - inner, inner, np.cos(angles[:, None]) ** 2)
    return _Binomials(angles, np.diff(cdf), np.diff(edges) / (n - 1.0))


def _summarize(p: Float[np.ndarray, " draws"], binomials: _Binomials) -> tuple[float, float]:
    """The entropy of the bins of the rank, and the mean of p."""
    angles, masses, widths = binomials
    position = np.arcsin(np.sqrt(p)) / angles[1]
    low = np.minimum(position.astype(int), angles.size - 2)
    upper = position - low
    counts = np.bincount(low, 1.0 - upper, angles.size) + np.bincount(low + 1, upper, angles.size)
    q = counts @ masses / p.size
    occupied = q > 0
    return float(-np.sum(q[occupied] * np.log(q[occupied] / widths[occupied]))), float(p.mean())
