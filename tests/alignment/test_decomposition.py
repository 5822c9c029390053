"""The rank that measures and reports share: what rounding makes is no direction, whatever the scale of columns."""

import jax
import numpy as np
import pytest

from jaxalign.alignment import report
from jaxalign.alignment.decomposition import decompose, decompose_uncentred, matrix_rank

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(300, 4))
DEPENDENT = np.float32(NORMAL)
embed = jax.jit(decompose)

RANKS = {
    "columns of scales 1e-30 to 1e30": (NORMAL * [1e-30, 1, 1e3, 1e30], 4),
    "a duplicated column": (NORMAL[:, [0, 1, 1]], 2),
    "a rounded sum of columns": (np.column_stack([DEPENDENT, DEPENDENT[:, 0] + DEPENDENT[:, 1]]), 4),
    "rank one in 64 columns": (NORMAL[:, :1] * RNG.normal(size=64), 1),
    "a rounded product of rank 4": (DEPENDENT @ np.float32(RNG.normal(size=(4, 64))), 4),
    "a rounded product of rank 4 in more columns than probes": (DEPENDENT @ np.float32(RNG.normal(size=(4, 400))), 4),
    "a softmax, whose columns have the sum 1": (
        np.float32(np.exp(10 * NORMAL)) / np.sum(np.float32(np.exp(10 * NORMAL)), 1)[:, None],
        3,
    ),
    "an offset": (NORMAL + 1e3, 4),
    "the rounding of an offset": (1e3 + RNG.integers(-1, 2, (300, 4)) * np.spacing(np.float32(1e3)), 0),
    "a column that is offset and varies beyond its rounding": (NORMAL * [1, 1, 1, 1e-2] + [0, 0, 0, 10], 4),
    "a constant column": (NORMAL * [1, 1, 0, 1] + 0.1, 3),
    "one outlier": (NORMAL * np.where(np.arange(300) == 7, 1e5, 1)[:, None], 4),
    "tight clusters": (np.repeat(NORMAL[:3], 100, 0) + 1e-4 * NORMAL, 4),
    "zeros": (np.zeros((300, 4)), 0),
}


@pytest.mark.parametrize("case", RANKS)
def test_rank(case):
    x, rank = RANKS[case]
    x = x.astype(np.float32)
    assert matrix_rank(x) == rank
    assert report("x", x).rank == rank
    assert embed(x).rank == rank


@pytest.mark.parametrize("n", [100, 100_000])
def test_the_rank_does_not_depend_on_the_number_of_probes(n):
    """Beside a column, its copy with noise of 3e-5 and of 3e-6 of its size: above and below 64 roundings."""
    x, noise = np.random.default_rng(1).normal(size=(2, n))
    for size, rank in ((3e-5, 2), (3e-6, 1)):
        assert matrix_rank(np.column_stack([x, x + size * noise]).astype(np.float32)) == rank


@pytest.mark.parametrize("shape", [(300, 4), (20, 50)])
def test_it_is_the_decomposition_of_the_centred_points(shape):
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32) + 3
    for state, expected in (
        (embed(x), x - x.mean(0, dtype=np.float64)),
        (jax.jit(decompose_uncentred)(x), x.astype(np.float64)),
    ):
        u, s, _ = np.linalg.svd(expected, full_matrices=False)
        rank = np.sum(s > 1e-6)
        assert state.rank == rank
        scale = np.max(np.abs(expected))
        np.testing.assert_allclose(state.s, np.where(np.arange(len(s)) < rank, s / scale, 0), atol=1e-6 * s[0])
        np.testing.assert_allclose(np.abs(np.sum(state.u * u, axis=0))[:rank], 1, atol=1e-4)
        gram = np.asarray(state.u).T @ state.u
        np.testing.assert_allclose(gram, np.diag(np.arange(len(s)) < rank), atol=1e-6)
