"""Sums of many terms against float64, in programs of float32."""

import jax
import numpy as np
import pytest

from jaxalign.alignment import all_pairs, sums


def test_a_sum_does_not_drift():
    """Half the terms are lost one by one where float32 adds up 2^26 ones; a mean of the wrong sum is half as large."""
    x = np.full((2**20, 3), 1.1, np.float32)
    expected = np.sum(x, axis=0, dtype=np.float64)
    np.testing.assert_allclose(jax.jit(lambda x: sums.total(x, axis=0))(x), expected, rtol=2e-7)
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda x: sums.mean(x, axis=0)))(x[None])[0], x[0], rtol=2e-7)
    assert jax.jit(sums.total)(x).dtype == np.float32


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("n", [3, 70, 40_000])
def test_products_of_blocks_of_matrices(k, n):
    """Of matrices whose entries are not centred, so that each sum is large beside its terms."""
    p, q = np.random.default_rng(0).uniform(0.5, 1, (2, k, 64, n)).astype(np.float32)
    wide = p.astype(np.float64), q.astype(np.float64)
    expected = np.einsum("arn,brn->ab", *wide)
    np.testing.assert_allclose(jax.jit(sums.products)(p, q), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(sums.squares)(p), np.einsum("arn,arn->a", wide[0], wide[0]), rtol=1e-6)


@pytest.mark.parametrize("n", [3, 10**6])
def test_products_over_rows(n):
    a, b = np.random.default_rng(0).uniform(0.5, 1, (2, n, 2)).astype(np.float32)
    expected = a.astype(np.float64).T @ b.astype(np.float64)
    np.testing.assert_allclose(jax.jit(sums.crossed)(a, b), expected, rtol=1e-6)


@pytest.mark.parametrize("k", [2, 5])
def test_identical_representations_are_alike_however_many_probes(k):
    x = np.random.default_rng(0).normal(size=(4000, 3)).astype(np.float32)
    for values in all_pairs([x] * k, ("linear_cka", "linear_cka_debiased", "rsa_pearson")).values():
        np.testing.assert_allclose(values, 1, atol=1e-6)
