"""Solved linear networks of several outputs at a finite size: their layers, drawn from the exact law without training.

With the training inputs X = U diag(sv) V^T the end-to-end map W of a student is known in the eigenvectors v_i,

    W v_i = f(s_i) (B v_i + E^T u_i / sv_i),    s_i = sv_i^2 / n,

and E^T u_i is normal again. For inputs of independent standard normal entries V is a uniformly random basis and the
sv_i are the singular values of a bidiagonal matrix of chi variables, so that no inputs are drawn. Inputs with a
covariance Sigma are drawn and decomposed. The layers are given in coordinates in which an input is standard normal:
there the hidden activities of all students are the products of their first layers with one vector z ~ N(0, I).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxalign.theory.filters import Ridge, SpectralFilter, TunedRidge
from jaxalign.theory.students import squared_singular_values


class Kind(NamedTuple):
    """What members of a network have in common: their filter, and the units of their hidden layer."""

    filter: SpectralFilter
    hidden: int


class Layers(NamedTuple):
    """Students of one draw of teacher and inputs, which differ by their noise; NaN where a filter has overflowed.

    Attributes:
      hidden: the first layers W1 at the balanced minimum, W1^T W1 = (W^T W)^(1/2); units that no student uses are left
        out, and narrower layers widened by zeros.
      output: the end-to-end maps.
      error: the mean squared error to the clean teacher, a mean over outputs.
    """

    hidden: Float[np.ndarray, "snr kinds students units directions"]
    output: Float[np.ndarray, "snr kinds students outputs directions"]
    error: Float[np.ndarray, "snr kinds students"]


class Sample(NamedTuple):
    """One draw of training inputs.

    Attributes:
      squared: sv_i^2.
      teacher: B v_i.
      basis: of inputs with a covariance Sigma^(1/2) v_i; of isotropic ones the teacher's outputs, orthonormal, in a
        basis that begins with the v_i.
    """

    squared: Float[np.ndarray, " rank"]
    teacher: Float[np.ndarray, "outputs rank"]
    basis: Float[np.ndarray, "..."]


class Placed(NamedTuple):
    """Maps and the teacher in coordinates in which an input is standard normal."""

    maps: Float[np.ndarray, "*students outputs dim"]
    teacher: Float[np.ndarray, "outputs dim"]


class IsotropicInputs:
    """x ~ N(0, I), and a teacher of uniformly random direction with the singular values `strengths`."""

    def __init__(self, dim: int, strengths: Float[np.ndarray, " outputs"]):
        self._dim, self._strengths = dim, strengths[:, None]

    def sample(self, rng: np.random.Generator, n: int) -> Sample:
        """Draws n training inputs."""
        squared = squared_singular_values(rng, n, self._dim)
        basis = _orthonormal(rng, self._dim, self._strengths.size)
        return Sample(squared, self._strengths * basis[: squared.size].T, basis)

    def place(
        self, rng: np.random.Generator, sample: Sample, maps: Float[np.ndarray, "*students outputs rank"], shared: bool
    ) -> Placed:
        """Takes maps from the eigenvectors of a sample to coordinates that all students have in common.

        If they share the sample, its own coordinates serve.
        """
        if shared:
            unseen = [(0, 0)] * (maps.ndim - 1) + [(0, self._dim - maps.shape[-1])]
            return Placed(np.pad(maps, unseen), self._strengths * sample.basis.T)
        # Coordinates that begin with the teacher's outputs. Across these all directions are alike: what the maps do
        # there is turned at random.
        rows = maps.reshape(-1, maps.shape[-1])
        along = rows @ sample.basis[: rows.shape[1]]
        across = -along @ sample.basis.T
        across[:, : rows.shape[1]] += rows
        _, sizes, right = np.linalg.svd(across.T, full_matrices=False)
        others = self._dim - along.shape[1]
        rank = min(len(rows), others)
        turned = (right[:rank].T * sizes[:rank]) @ _orthonormal(rng, others, rank).T
        placed = np.concatenate([along, turned], axis=1)
        return Placed(
            placed.reshape(*maps.shape[:-1], self._dim), np.eye(len(sample.teacher), self._dim) * self._strengths
        )


class CorrelatedInputs:
    """x ~ N(0, diag(eigenvalues)), and a teacher of given coefficients B."""

    def __init__(self, eigenvalues: Float[np.ndarray, " dim"], coefficients: Float[np.ndarray, "outputs dim"]):
        self._deviations, self._coefficients = np.sqrt(eigenvalues), coefficients

    def sample(self, rng: np.random.Generator, n: int) -> Sample:
        """Draws n training inputs."""
        inputs = rng.standard_normal((n, self._deviations.size)) * self._deviations
        _, singular, right = np.linalg.svd(inputs, full_matrices=False)
        return Sample(singular**2, self._coefficients @ right.T, right * self._deviations)

    def place(
        self, rng: np.random.Generator, sample: Sample, maps: Float[np.ndarray, "*students outputs rank"], shared: bool
    ) -> Placed:
        """Takes maps from the eigenvectors of a sample to coordinates that all students have in common."""
        return Placed(maps @ sample.basis, self._coefficients * self._deviations)


Inputs = IsotropicInputs | CorrelatedInputs


def draw_layers(
    rng: np.random.Generator,
    inputs: Inputs,
    n: int,
    dim: int,
    snr: Float[np.ndarray, " snr"],
    kinds: Sequence[Kind],
    *,
    students: int,
    shared_inputs: bool,
) -> Layers:
    """Draws inputs and noise, and solves the students of every kind, all with the same draws.

    Args:
      rng: of the draws.
      inputs: where they come from; the teacher's outputs have a mean variance of 1.
      n: training samples.
      dim: input dimensions.
      snr: signal-to-noise ratios, possibly infinite: the noise of every output has the variance 1 / SNR.
      kinds: of students.
      students: how many there are of each kind.
      shared_inputs: whether all saw the same training inputs, or each its own draw of them.
    """
    parts = []
    for _ in range(1 if shared_inputs else students):
        sample = inputs.sample(rng, n)
        noise = rng.standard_normal((students if shared_inputs else 1, *sample.teacher.shape))
        solved = _solve(sample, noise, n, dim, snr, kinds)
        maps, teacher = inputs.place(rng, sample, solved.maps, shared_inputs)
        maps = np.where(solved.overflowed, np.nan, maps)
        parts.append((solved.factors @ maps, maps, np.sum((maps - teacher) ** 2, (-2, -1)) / len(teacher)))
    return Layers(*(np.concatenate(arrays, axis=2) for arrays in zip(*parts, strict=True)))


class _Solved(NamedTuple):
    """Students in the eigenvectors of their inputs; 0 where they have overflowed.

    Attributes:
      maps: W.
      factors: A of their first layers A W.
      overflowed: whether they have, with two axes of size 1 at the end.
    """

    maps: Float[np.ndarray, "snr kinds students outputs rank"]
    factors: Float[np.ndarray, "snr kinds students units outputs"]
    overflowed: Bool[np.ndarray, "snr kinds students 1 1"]


def _solve(
    sample: Sample,
    noise: Float[np.ndarray, "students outputs rank"],
    n: int,
    d: int,
    snr: Float[np.ndarray, " snr"],
    kinds: Sequence[Kind],
) -> _Solved:
    outputs = len(sample.teacher)
    eigenvalues = sample.squared / n
    units = max(min(kind.hidden, outputs) for kind in kinds)
    maps = np.empty((snr.size, len(kinds), *noise.shape))
    factors = np.zeros((*maps.shape[:3], units, outputs))
    overflowed = np.empty((*maps.shape[:3], 1, 1), dtype=bool)
    noisy = sample.teacher + noise / np.sqrt(sample.squared * snr[:, None, None, None])
    for k, kind in enumerate(kinds):
        with np.errstate(over="ignore", invalid="ignore"):
            kept = np.asarray(kind.filter.response(eigenvalues[None, :], alpha=n / d, snr=snr[:, None]))
            w = kept[:, None, None] * noisy
        overflowed[:, k] = ~np.isfinite(w).all((-2, -1), keepdims=True)
        w = np.where(overflowed[:, k], 0.0, w)
        kept_units = min(kind.hidden, outputs)
        if kept_units < outputs:
            lam = _penalty(kind.filter, n / d, snr)[:, None, None, None]
            top = np.linalg.eigh((w * (eigenvalues + lam)) @ w.swapaxes(-1, -2))[1][..., -kept_units:]
            w = top @ (top.swapaxes(-1, -2) @ w)
        squared, modes = (x[..., -kept_units:] for x in np.linalg.eigh(w @ w.swapaxes(-1, -2)))
        root = np.maximum(squared, 0.0) ** 0.25
        inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0)
        factors[:, k, :, :kept_units] = inverse[..., None] * modes.swapaxes(-1, -2)
        maps[:, k] = w
    return _Solved(maps, factors, overflowed)


def _penalty(filter: SpectralFilter, alpha: float, snr: Float[np.ndarray, " snr"]) -> Float[np.ndarray, " snr"]:
    """The lam of a filter that is a ridge; 0 of the others."""
    if isinstance(filter, Ridge):
        return np.full(snr.shape, filter.lam)
    return 1.0 / snr / alpha if isinstance(filter, TunedRidge) else np.zeros(snr.shape)


def _orthonormal(rng: np.random.Generator, rows: int, columns: int) -> Float[np.ndarray, "rows columns"]:
    """Uniformly random orthonormal columns."""
    q, r = np.linalg.qr(rng.standard_normal((rows, columns)))
    # The bare decomposition fixes signs of its own.
    return q * np.where(np.diag(r) < 0, -1.0, 1.0)
