"""The exact median of the entries of an N x N matrix that is given by blocks of rows, without storing or sorting it."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float32, Int, Int32

# Rows of the N x N matrices that are held at once.
MATRIX_ROWS = 64

# Where, in a bracket, thresholds lie: around the value that a uniform density suggests, and evenly, which makes the
# bracket 8 times narrower at least.
_AROUND = (-0.1, -0.02, -0.004, -0.0008, 0.0008, 0.004, 0.02, 0.1)
_EVENLY = tuple(i / 8 for i in range(1, 8))
# Of the first pass, the quantiles of the sample.
_QUANTILES = tuple(0.5 + s * x for x in (0.002, 0.006, 0.015, 0.04, 0.1, 0.25) for s in (-1, 1))
# The bits of infinity, above those of all finite floats.
_INFINITY = 0x7F800000


def over_rows(function: Callable, n: int) -> tuple[Array, ...]:
    """`function` of the indices of all n rows, a block at a time; its results of shape (rows, ...) joined."""

    def block(start: Int[Array, ""]) -> tuple[Array, ...]:
        return function(jnp.minimum(start + jnp.arange(MATRIX_ROWS, dtype=jnp.int32), n - 1))

    blocks = lax.map(block, jnp.arange(0, n, MATRIX_ROWS, dtype=jnp.int32))
    return tuple(x.reshape(-1, *x.shape[2:])[:n] for x in blocks)


def median_of_rows(
    rows: Callable[[Int32[Array, " rows"]], Float32[Array, "rows n"]], n: int, sample: Float32[Array, " m"]
) -> Float32[Array, ""]:
    """The median of all N^2 entries, which are finite and not negative; the mean of the two middle ones if N is even.

    Nonnegative floats are ordered as their bits. A bracket around the bits of the lower middle entry is narrowed by
    passes over the matrix, each of which counts the entries below several thresholds; the first are quantiles of a
    `sample`, which decides nothing but how many passes are made. Counts are 64-bit integers.
    """
    lower, upper = (n * n - 1) // 2, n * n // 2

    def bits_of(indices: Int32[Array, " rows"]) -> Int32[Array, "rows n"]:
        return lax.bitcast_convert_type(rows(indices) + 0.0, jnp.int32)

    def count_below(thresholds: Int32[Array, " t"]) -> tuple[Bool[Array, " t"], Float32[Array, " t"]]:
        """Whether no more than `lower` entries lie below each threshold, and how many more do, about."""

        def of(start: Array) -> Int32[Array, " t"]:
            indices = start + jnp.arange(MATRIX_ROWS, dtype=jnp.int32)
            bits = jnp.where((indices < n)[:, None], bits_of(jnp.minimum(indices, n - 1)), _INFINITY)

            def add(counts: Array, row: Array) -> tuple[Array, None]:
                return counts + (row[None] < thresholds[:, None]).astype(jnp.int32), None

            # Row by row, so that the counts of columns are vectors: a sum within a row takes 15 times as long.
            zero = jnp.zeros((len(thresholds), n), jnp.int32)
            return jnp.sum(lax.scan(add, zero, bits)[0], axis=1, dtype=jnp.int32)

        counts = lax.map(of, jnp.arange(0, n, MATRIX_ROWS, dtype=jnp.int32))
        with jax.enable_x64(True):
            excess = jnp.sum(counts.astype(jnp.int64), axis=0) - jnp.int64(lower)
            return excess <= 0, excess.astype(jnp.float32)

    def narrow(bracket: tuple[Array, ...]) -> tuple[Array, ...]:
        """One pass: `low` has at most `lower` entries below it, `high` has more."""
        low, high, low_excess, high_excess, thresholds = bracket
        thresholds = jnp.clip(thresholds, low, high)
        fits, excess = count_below(thresholds)
        best, worst = jnp.argmax(jnp.where(fits, thresholds, -1)), jnp.argmin(jnp.where(fits, _INFINITY, thresholds))
        low, low_excess = (jnp.where(fits.any(), x[best], y) for x, y in ((thresholds, low), (excess, low_excess)))
        high, high_excess = (jnp.where(fits.all(), y, x[worst]) for x, y in ((thresholds, high), (excess, high_excess)))
        width = (high - low).astype(jnp.float32)
        expected = (0.5 - low_excess) / jnp.maximum(high_excess - low_excess, 1.0)
        parts = jnp.concatenate([expected + jnp.asarray(_AROUND), jnp.asarray(_EVENLY)])
        # Inside the bracket, that every pass narrows it.
        inside = jnp.clip((parts * width).astype(jnp.int32), 1, jnp.maximum(high - low - 1, 1))
        return low, high, low_excess, high_excess, low + inside

    ordered = jnp.sort(lax.bitcast_convert_type(sample + 0.0, jnp.int32))
    quantiles = ordered[jnp.asarray([int(q * (sample.size - 1)) for q in _QUANTILES], jnp.int32)]
    # Where few values differ, the middle one of the sample is the median.
    middle = ordered[sample.size // 2]
    thresholds = jnp.concatenate([quantiles, jnp.stack([middle, middle + 1, middle])])
    start = jnp.int32(0), jnp.int32(_INFINITY), jnp.float32(-lower), jnp.float32(n * n - lower), thresholds
    low = lax.while_loop(lambda bracket: bracket[1] - bracket[0] > 1, narrow, start)[0]
    first = lax.bitcast_convert_type(low, jnp.float32)
    if lower == upper:
        return first

    def above(indices: Int32[Array, " rows"]) -> tuple[Array, Array]:
        bits = bits_of(indices)
        larger = bits > low
        return jnp.sum(~larger, axis=1, dtype=jnp.int32), jnp.min(jnp.where(larger, bits, _INFINITY), axis=1)

    counts, larger = over_rows(above, n)
    with jax.enable_x64(True):
        enough = jnp.sum(counts.astype(jnp.int64)) > upper
    second = jnp.where(enough, first, lax.bitcast_convert_type(jnp.min(larger), jnp.float32))
    return (first + second) / 2
