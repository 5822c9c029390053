"""Students at a finite number of input dimensions: the exact law of how alike two of them are, sampled.

With the training inputs X = U diag(sv) V^T a student is known in the eigenvectors V,

    w_i = f(s_i) (beta_i + u_i.eps / sv_i),    s_i = sv_i^2 / n,

and for inputs and noise of independent standard normal entries u_i.eps is normal again, V is a uniformly random basis,
and the sv_i are the singular values of a bidiagonal matrix of chi variables. So no inputs are drawn and no student is
solved.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import eigvalsh_tridiagonal

from jaxalign.checks import boolean, integer, reject
from jaxalign.theory.filters import MinNorm, SpectralFilter
from jaxalign.theory.spectrum import Numbers, positive

_MIN_NORM = MinNorm()
# Students of one draw that share their inputs; more of them cost little, but the inputs are what varies most.
_STUDENTS = 6


class SampledStudents(NamedTuple):
    """Draws of teacher and inputs, independent of each other; within a draw all have its teacher.

    Attributes:
      overlap: the cosines w.w' / (|w| |w'|) of pairs of students that differ by their noise, in [-1, 1].
      error: the mean squared error to the clean teacher over its variance, a mean over students of the first filter.
    """

    overlap: Float[np.ndarray, "draws pairs snr"]
    error: Float[np.ndarray, "draws snr"]


def sample_students(
    n_train: int,
    dim: int,
    snr: Numbers,
    *,
    filter: SpectralFilter = _MIN_NORM,
    other: SpectralFilter | None = None,
    shared_inputs: bool = True,
    draws: int = 256,
    seed: int = 0,
) -> SampledStudents:
    """Overlaps and errors of students of a scalar linear teacher, at a finite number of samples and dimensions.

    `overlap` and `generalization_error` are limits of many dimensions; here nothing is neglected. At n_train = dim, for
    instance, where the limit of `MinNorm` has overlap 0, the noise in the direction of the smallest singular value
    outweighs everything else, and two students are parallel or antiparallel.

    Args:
      n_train: n.
      dim: d; inputs are x ~ N(0, I_d).
      snr: signal-to-noise ratios per output, above 0, possibly infinite, of shape (snr,). All have the same draws.
      filter: how the first student of each pair was trained.
      other: how the second one was; None for the same.
      shared_inputs: whether the students of a draw saw the same training inputs, or each its own draw of them.
      draws: how many; their mean has the standard error of as many independent samples.
      seed: of the draws.

    Returns:
      Float64 arrays.

    Raises:
      ValueError: if `n_train`, `dim` or `draws` is not a positive integer, `seed` is negative, `snr` is not a sequence
        of numbers above 0, or a filter is no spectral filter.

    Reference:
      Umar & Laio 2026, arXiv:2605.26973, for the students; Dumitriu & Edelman 2002, Journal of Mathematical Physics 43,
      for the bidiagonal matrix.
    """
    n, d, count = integer("n_train", n_train), integer("dim", dim), integer("draws", draws)
    integer("seed", seed, 0)
    boolean("shared_inputs", shared_inputs)
    levels = positive("snr", snr)
    if levels.ndim != 1 or not levels.size:
        reject("snr", "of shape (snr,), not empty", snr)
    filters = (filter, filter if other is None else other)
    for name, each in zip(("filter", "other"), filters, strict=True):
        if not isinstance(each, SpectralFilter):
            reject(name, "a spectral filter such as MinNorm() or Ridge(0.1)", each)
    draw = _draw_shared if shared_inputs else _draw_independent
    rng = np.random.default_rng([seed, n, d])
    samples = [draw(rng, n, d, levels, filters) for _ in range(count)]
    overlaps, errors = (np.stack(values) for values in zip(*samples, strict=True))
    return SampledStudents(overlaps, errors)


def squared_singular_values(rng: np.random.Generator, n: int, d: int) -> Float[np.ndarray, " rank"]:
    """Of an n x d matrix of independent standard normal entries, ascending."""
    rank, larger = min(n, d), max(n, d)
    diagonal = rng.chisquare(larger - np.arange(rank))
    below = rng.chisquare(rank - np.arange(1, rank))
    # B B^T of the bidiagonal B, which is tridiagonal.
    main = diagonal + np.concatenate([[0.0], below])
    beside = np.sqrt(diagonal[:-1] * below)
    values = eigvalsh_tridiagonal(main, beside, lapack_driver="sterf") if rank > 1 else main
    # The smallest of a square matrix is some 1e-2 / n, far above the rounding of the largest, but positive it must be.
    return np.maximum(values, np.finfo(np.float64).tiny)


def _solve(
    rng: np.random.Generator,
    squared: Float[np.ndarray, " rank"],
    beta: Float[np.ndarray, " rank"],
    n: int,
    d: int,
    snr: Float[np.ndarray, " snr"],
    filters: tuple[SpectralFilter, ...],
    students: int,
) -> list[Float[np.ndarray, "students snr rank"]]:
    """For each filter the students in the eigenvectors of their inputs, with the same noise for each filter."""
    noise = rng.standard_normal((students, 1, squared.size)) / np.sqrt(squared * snr[:, None])
    with np.errstate(over="ignore", invalid="ignore"):
        kept = (f.response((squared / n)[None, :], alpha=n / d, snr=snr[:, None]) for f in filters)
        return [np.asarray(response) * (beta + noise) for response in kept]


def _draw_shared(
    rng: np.random.Generator, n: int, d: int, snr: Float[np.ndarray, " snr"], filters: tuple[SpectralFilter, ...]
) -> tuple[Float[np.ndarray, "pairs snr"], Float[np.ndarray, " snr"]]:
    beta = _direction(rng, d)
    squared = squared_singular_values(rng, n, d)
    unseen = np.sum(beta[squared.size :] ** 2)
    beta = beta[: squared.size]
    first, second = _solve(rng, squared, beta, n, d, snr, filters, _STUDENTS)
    cosines = _cosine(np.einsum("isk,jsk->ijs", first, second), _norms(first)[:, None], _norms(second)[None])
    i, j = np.triu_indices(_STUDENTS, 1)
    return cosines[i, j], unseen + np.sum((first - beta) ** 2, -1).mean(0)


def _draw_independent(
    rng: np.random.Generator, n: int, d: int, snr: Float[np.ndarray, " snr"], filters: tuple[SpectralFilter, ...]
) -> tuple[Float[np.ndarray, "1 snr"], Float[np.ndarray, " snr"]]:
    """Two students by their components along the teacher, and across it, in directions that are uniformly random."""
    along, across = np.empty((2, 2, snr.size))
    for side in range(2):
        beta = _direction(rng, d)
        squared = squared_singular_values(rng, n, d)
        seen = beta[: squared.size]
        (student,) = _solve(rng, squared, seen, n, d, snr, filters[side : side + 1], 1)
        along[side] = student[0] @ seen
        across[side] = np.sqrt(np.maximum(np.sum(student[0] ** 2, -1) - along[side] ** 2, 0.0))
    angle = _direction(rng, d - 1)[0] if d > 1 else 0.0
    norms = np.hypot(along, across)
    cosine = _cosine(along[0] * along[1] + angle * across[0] * across[1], norms[0], norms[1])
    return cosine[None], (1.0 - along[0]) ** 2 + across[0] ** 2


def _direction(rng: np.random.Generator, d: int) -> Float[np.ndarray, " d"]:
    gaussian = rng.standard_normal(d)
    return gaussian / np.linalg.norm(gaussian)


def _norms(students: Float[np.ndarray, "students snr rank"]) -> Float[np.ndarray, "students snr"]:
    return np.linalg.norm(students, axis=-1)


def _cosine(
    product: Float[np.ndarray, "*s"], a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."]
) -> Float[np.ndarray, "*s"]:
    """0 where a student answers 0 to everything, NaN where one has overflowed."""
    norm = np.broadcast_to(a * b, product.shape)
    with np.errstate(invalid="ignore"):
        ratio = np.divide(product, norm, out=np.zeros_like(product), where=norm != 0)
    return np.clip(ratio, -1.0, 1.0)
