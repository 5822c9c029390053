"""A function of rows, applied to blocks of them, so that memory does not grow with the number of rows."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

# Inputs of one block: 512 colour images of 32 x 32 pixels. A convolution holds tens of times as much.
_BLOCK_VALUES = 512 * 32 * 32 * 3
# A matrix product on a CPU computes 4 to 48 rows at a time and sums those that remain in another order: equal rows may
# differ there in their last bit. 48 is a multiple of these numbers on all CPUs, so that whole tiles leave no remainder.
TILE = 48
# For inputs so large that a block holds less than a tile; convolutions compute 16 rows at a time.
_SMALL_TILE = 16


def block_rows(input_shape: tuple[int, ...]) -> int:
    """How many rows are evaluated at once: whole tiles."""
    rows = _BLOCK_VALUES // math.prod(input_shape)
    tile = TILE if rows >= TILE else _SMALL_TILE
    return max(tile, rows // tile * tile)


def whole_tiles(inputs: Float[Array, "rows ..."], block: int = TILE) -> Float[Array, "padded ..."]:
    """The rows, followed by copies of the last one that fill the last tile; never more than a block."""
    tile = math.gcd(block, TILE)
    return jnp.pad(inputs, [(0, -len(inputs) % tile), *[(0, 0)] * (inputs.ndim - 1)], mode="edge")


def in_blocks(
    function: Callable[[int | Int[Array, ""], int], PyTree[Array]],
    rows: int,
    block: int,
    counted: int | Int[Array, ""] | None = None,
) -> PyTree[Array]:
    """The values of a function on `rows` rows, computed `block` rows at a time; few rows are computed in one call.

    Args:
      function: of (start, size), the values (size, ...) on the rows from `start` on; each row for itself.
      rows: how many rows there are.
      block: how many are computed at once.
      counted: blocks that lie wholly beyond this row are not computed, and are 0. It may be traced.

    Returns:
      What `function` returns, with leading axis `rows`.
    """
    if rows <= block:
        return function(0, rows)

    def compute(i: Int[Array, ""], values: PyTree[Array]) -> PyTree[Array]:
        # The last block overlaps the one before it: no row needs padding, and a row computed twice is the same.
        start = jnp.minimum(i * block, rows - block)
        put = jax.lax.dynamic_update_slice_in_dim
        return jax.tree.map(lambda whole, part: put(whole, part, start, 0), values, function(start, block))

    shapes = jax.eval_shape(lambda: function(0, block))
    empty = jax.tree.map(lambda part: jnp.zeros((rows, *part.shape[1:]), part.dtype), shapes)
    n = rows if counted is None else counted
    return jax.lax.fori_loop(0, -(-n // block), compute, empty)
