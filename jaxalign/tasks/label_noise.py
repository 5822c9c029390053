"""How labels are corrupted: one uniform number per row decides whether, and the process decides into what."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxalign import checks
from jaxalign.streams import draw_rows

SYMMETRIC, PAIRWISE, ASYMMETRIC = "symmetric", "pairwise", "asymmetric"
PROCESSES = (SYMMETRIC, PAIRWISE, ASYMMETRIC)

Transitions = tuple[tuple[float, ...], ...]

_SUM_TOLERANCE = 1e-6


def corrupt(
    process: str,
    transitions: Transitions | None,
    n_classes: int,
    key: Key[Array, ""],
    clean: Int[Array, " rows"],
    level: float | Float[Array, ""],
) -> Int[Array, " rows"]:
    """Replaces a label with probability `level`: in all processes the same rows, for the same key.

    Args:
      process: "symmetric" (a class drawn uniformly), "pairwise" (c + 1 modulo C) or "asymmetric" (a draw from row c
        of `transitions`).
      transitions: the probabilities from row to column, for "asymmetric".
      n_classes: the number C of classes.
      key: of one member; every row has a key of its own.
      clean: the true labels.
      level: the probability p of a replacement. Both random numbers of a row are the same at every level.
    """

    def draw(row_key: Key[Array, ""]) -> tuple[Float[Array, ""], Key[Array, ""]]:
        flip_key, class_key = jax.random.split(row_key)
        return jax.random.uniform(flip_key), class_key

    uniform, class_keys = draw_rows(key, len(clean), draw)
    if process == SYMMETRIC:
        other = jax.vmap(lambda class_key: jax.random.randint(class_key, (), 0, n_classes, clean.dtype))(class_keys)
    elif process == PAIRWISE:
        other = (clean + 1) % n_classes
    else:
        below = jax.vmap(jax.random.uniform)(class_keys)[:, None] >= jnp.asarray(_thresholds(transitions))[clean]
        other = below.sum(axis=1, dtype=clean.dtype)
    return jnp.where(uniform < level, other, clean)


def corrupted_fraction(process: str, transitions: Transitions | None, n_classes: int, level: float) -> float:
    """The expected fraction of labels that are wrong, where the classes are equally frequent."""
    if process == SYMMETRIC:
        return level * (1.0 - 1.0 / n_classes)
    if process == PAIRWISE:
        return level
    matrix = _stochastic(transitions)
    return level * float(np.mean(1.0 - np.diag(matrix)))


def check_transitions(transitions: Any, n_classes: int) -> Transitions:
    """Returns the matrix as a tuple of rows of floats.

    Raises:
      ValueError: if it is not `n_classes` x `n_classes`, if an entry is not in [0, 1], or if a row does not sum to 1.
    """
    try:
        matrix = np.array(transitions, np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    allowed = f"a {n_classes} x {n_classes} matrix of probabilities, every row of sum 1"
    if matrix.shape != (n_classes, n_classes):
        checks.reject("transitions", allowed, transitions)
    if not ((matrix >= 0.0) & (matrix <= 1.0)).all():
        checks.reject("transitions", f"{allowed}, entries from 0 to 1", transitions)
    for label, total in enumerate(matrix.sum(axis=1)):
        if abs(total - 1.0) > _SUM_TOLERANCE:
            checks.reject("transitions", f"{allowed} (row {label} has the sum {total:g})", transitions)
    rows: Any = matrix.tolist()
    return tuple(tuple(row) for row in rows)


def _stochastic(transitions: Any) -> Float[np.ndarray, "classes classes"]:
    matrix = np.array(transitions, np.float64)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _thresholds(transitions: Any) -> Float[np.ndarray, "classes edges"]:
    """The cumulative probabilities of each row, without the last, which is 1.

    Exactly 1 from the last possible class on: the sums are divided by their own end, and no uniform number reaches 1.
    """
    sums = np.cumsum(np.array(transitions, np.float64), axis=1)
    return (sums / sums[:, -1:])[:, :-1].astype(np.float32)
