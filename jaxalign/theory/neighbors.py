"""Nearest neighbours in a Gaussian sample of finite size, drawn from their exact law by quasi-Monte Carlo.

Among N points u ~ N(0, I_r), T ~ Beta(1, N - 1) is the Gaussian mass of the ball around the point u1 that reaches to
its nearest neighbour u2 = u1 + eps w. Given u1 and T, eps^2 is the quantile of the noncentral chi^2_r(|u1|^2) at T and
w has the density exp(-eps u1.w) on the unit sphere. A further point inside the ball has the same law with a uniform
fraction of T in the place of T.
"""

from typing import NamedTuple

import numpy as np
import scipy
from jaxtyping import Float
from scipy.ndimage import map_coordinates, spline_filter
from scipy.special import betaincinv, chndtr, expit, gammaincinv, logit, ndtri

# Points of the Sobol sequence, and the uniform numbers that one draw takes.
_DRAWS = 2**14
_COORDINATES = 11
# Points inside each ball, over which F_AB is averaged; an interval needs fewer. With less of them the entropy is biased
# within 1 of its floor, where rank 1 hangs on whether the ball in B holds another point of that in A.
_INSIDE, _INSIDE_INTERVAL = 32, 16
# Keeps quantile functions off their infinite ends; so many points reach to 6e-5.
_TINY = 1e-7


class Neighbors(NamedTuple):
    """Draws of a probe, its nearest neighbour in A, and what moves them in B.

    With a, b ~ N(0, I_r), v1 = rho u1 + s a and v2 = rho u2 + s b are the points in B, s^2 = 1 - rho^2.

    Attributes:
      norm: |u1|.
      mass: T.
      reach: eps.
      along_probe: a.u1 / |u1|.
      along_neighbor: a.w.
      squared: |a|^2.
      parallel: b along v2 - v1 as it is without b.
      perpendicular: the squared norm of the other components of b.
      inside_along: a.x of points u1 + eps x inside the ball.
      inside_squared: |x|^2 of these.
    """

    norm: Float[np.ndarray, " draws"]
    mass: Float[np.ndarray, " draws"]
    reach: Float[np.ndarray, " draws"]
    along_probe: Float[np.ndarray, " draws"]
    along_neighbor: Float[np.ndarray, " draws"]
    squared: Float[np.ndarray, " draws"]
    parallel: Float[np.ndarray, " draws"]
    perpendicular: Float[np.ndarray, " draws"]
    inside_along: Float[np.ndarray, "draws inside"]
    inside_squared: Float[np.ndarray, "draws inside"]


def draw_neighbors(r: int, n_probes: int, seed: int = 0) -> Neighbors:
    """Draws from the law of the module's docstring, the same at every call with the same arguments."""
    sobol = scipy.stats.qmc.Sobol(_COORDINATES, rng=np.random.default_rng(seed))
    uniform = np.clip(sobol.random(_DRAWS), _TINY, 1.0 - _TINY).T
    norm = np.sqrt(_chi_squared(r, uniform[0]))
    mass = -np.expm1(np.log1p(-uniform[1]) / (n_probes - 1))
    reaches, cosines = _Reach(r), _Cosine(r)
    reach = reaches(norm, mass)
    cosine = cosines(reach * norm, uniform[2])
    # The components of a: along u1, across it in the plane of u1 and w, and the squared norm of the others.
    first = ndtri(uniform[3])
    second = ndtri(uniform[4]) if r > 1 else np.zeros_like(first)
    others = _chi_squared(r - 2, uniform[5])
    # One lattice for all balls, shifted for each: its points spread better than as many independent ones.
    inside = _INSIDE if r > 1 else _INSIDE_INTERVAL
    lattice = (np.arange(inside)[:, None] + 0.5) / inside * np.array([1.0, 3.0, 7.0])
    shifted = np.clip((uniform[8:].T[:, None] + lattice) % 1.0, _TINY, 1.0 - _TINY)
    radius = reaches(norm[:, None], mass[:, None] * shifted[..., 0])
    tilt = cosines(radius * norm[:, None], shifted[..., 1])
    across = np.sqrt(second**2 + others)[:, None] * _projection(r - 1, shifted[..., 2])
    ratio = radius / reach[:, None]
    return Neighbors(
        norm=norm,
        mass=mass,
        reach=reach,
        along_probe=first,
        along_neighbor=first * cosine + second * np.sqrt(1.0 - cosine**2),
        squared=first**2 + second**2 + others,
        parallel=ndtri(uniform[6]),
        perpendicular=_chi_squared(r - 1, uniform[7]),
        inside_along=ratio * (first[:, None] * tilt + across * np.sqrt(1.0 - tilt**2)),
        inside_squared=ratio**2,
    )


def _chi_squared(degrees: int, uniform: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    return 2.0 * gammaincinv(0.5 * degrees, uniform) if degrees > 0 else np.zeros_like(uniform)


def _projection(r: int, uniform: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """The projection of a uniform point of the unit sphere in r dimensions on an axis; 0 for r = 0."""
    if r < 2:
        return r * np.where(uniform < 0.5, -1.0, 1.0)
    return 2.0 * betaincinv(0.5 * (r - 1), 0.5 * (r - 1), uniform) - 1.0


class Table:
    """A cubic spline through values on a regular grid of two coordinates; it must be flat or unused at its edges."""

    def __init__(
        self,
        first: Float[np.ndarray, " first"],
        second: Float[np.ndarray, " second"],
        values: Float[np.ndarray, "first second"],
    ):
        self._start = first[0], second[0]
        self._step = first[1] - first[0], second[1] - second[0]
        self._end = first.size - 1.0, second.size - 1.0
        self._coefficients = spline_filter(values, order=3)

    def __call__(self, first: Float[np.ndarray, "..."], second: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        coordinates = [
            np.clip((x - start) / step, 0.0, end)
            for x, start, step, end in zip(
                np.broadcast_arrays(first, second), self._start, self._step, self._end, strict=True
            )
        ]
        return np.asarray(map_coordinates(self._coefficients, coordinates, order=3, mode="mirror", prefilter=False))


class _Reach:
    """The radius of the ball around u1 of given Gaussian mass: log radius over |u1| and logit mass."""

    def __init__(self, r: int):
        norms = np.arange(0.0, np.sqrt(r) + 9.0, 0.15)
        logits = np.arange(-40.0, 20.0, 0.25)
        values = np.empty((norms.size, logits.size))
        log_t = np.arange(-45.0 / r - 3.0, 4.0, 0.01)
        for row, norm in zip(values, norms, strict=True):
            mass = chndtr(np.exp(2.0 * log_t), r, norm**2)
            keep = mass < 1.0 - 1e-12
            row[:] = np.interp(logits, logit(mass[keep]), log_t[keep])
        self._table = Table(norms, logits, values)

    def __call__(self, norm: Float[np.ndarray, "..."], mass: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return np.exp(self._table(norm, logit(mass)))


class _Cosine:
    """The cosine c between w and u1, of density exp(-k c) on the sphere: logit of (1 + c)/2 over log(1 + k), probit."""

    def __init__(self, r: int):
        self._r = r
        if r == 1:
            return
        tilts = np.arange(0.0, 8.0, 0.1)
        probits = np.arange(-6.0, 6.01, 0.1)
        values = np.empty((tilts.size, probits.size))
        logits = np.arange(-60.0, 60.0, 0.05)
        half = expit(logits)
        log_density = -0.5 * (r - 1) * (np.logaddexp(0.0, logits) + np.logaddexp(0.0, -logits))
        for row, tilt in zip(values, np.expm1(tilts), strict=True):
            density = np.exp(log_density - 2.0 * tilt * half)
            below = (np.cumsum(density) - 0.5 * density) / density.sum()
            keep = (below > 1e-15) & (below < 1.0 - 1e-15)
            row[:] = np.interp(probits, ndtri(below[keep]), logits[keep])
        self._table = Table(tilts, probits, values)

    def __call__(self, tilt: Float[np.ndarray, "..."], uniform: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        if self._r == 1:
            return np.where(uniform < expit(2.0 * tilt), -1.0, 1.0)
        return 2.0 * expit(self._table(np.log1p(tilt), ndtri(uniform))) - 1.0
