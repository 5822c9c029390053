import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.ensemble.blocks import TILE, block_rows, in_blocks, whole_tiles

ROWS = jnp.arange(22.0).reshape(11, 2)


def values(start, size):
    rows = jax.lax.dynamic_slice_in_dim(ROWS, start, size)
    return rows**2, rows.sum(1)


@pytest.mark.parametrize("block", [1, 3, 4, 10, 11, 50])
def test_blocks_equal_one_call(block):
    together = in_blocks(values, 11, block)
    for part, whole in zip(together, values(0, 11), strict=True):
        np.testing.assert_array_equal(part, whole)


@pytest.mark.parametrize(("counted", "computed"), [(1, 4), (4, 4), (5, 8), (9, 11), (11, 11)])
def test_blocks_beyond_the_counted_rows_are_not_computed(counted, computed):
    calls = []

    def watched(start, size):
        jax.debug.callback(lambda start: calls.append(int(start)), start)
        return values(start, size)[0]

    result = jax.jit(lambda n: in_blocks(watched, 11, 4, n))(jnp.int32(counted))
    np.testing.assert_array_equal(result[:computed], ROWS[:computed] ** 2)
    assert not np.asarray(result[computed:]).any()
    jax.effects_barrier()
    assert sorted(calls) == [0, 4, 7][: -(-counted // 4)]


def test_small_inputs_are_evaluated_at_once_and_images_in_blocks():
    assert block_rows((32, 32, 3)) == 480 and block_rows((8, 8, 1)) > 20_000 and block_rows((2048, 2048)) == 16


@pytest.mark.parametrize("shape", [(6,), (28, 28, 1), (32, 32, 3), (224, 224, 3), (2048, 2048)])
def test_a_block_is_made_of_whole_tiles(shape):
    block = block_rows(shape)
    assert block % TILE == 0 or block % 16 == 0 and block < TILE
    for rows in {1, 5, 16, 47, 48, block - 1, block} & set(range(1, min(block, 600) + 1)):
        padded = whole_tiles(jnp.arange(2.0 * rows).reshape(rows, 2), block)
        assert len(padded) <= block and len(padded) % min(block, TILE) == 0
        assert (np.asarray(padded)[rows:] == [2 * rows - 2, 2 * rows - 1]).all()
