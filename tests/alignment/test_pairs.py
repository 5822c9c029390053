import concurrent.futures

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import (
    METRICS,
    all_pairs,
    conditional_copula_entropy,
    get_metric,
    information_imbalance,
    pair_matrices,
    pairs,
    tie_fraction,
)

FUNCTIONS = {
    "cce": conditional_copula_entropy,
    "information_imbalance": information_imbalance,
    "tie_fraction": tie_fraction,
}


def related(seed, k, n, d):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + rng.normal(size=(k, n, d))).astype(np.float32)


@pytest.mark.parametrize("neighbors", [1, 2])
def test_equals_pairwise_calls(neighbors):
    points = related(0, 3, 101, 2)
    points[2, :60] = np.maximum(points[2, :60], 1)
    values = all_pairs(points, tuple(FUNCTIONS), neighbors=neighbors)
    for name, function in FUNCTIONS.items():
        expected = [[function(a, b, neighbors=neighbors) for b in points] for a in points]
        assert values[name].dtype == np.float32
        np.testing.assert_allclose(values[name], np.array(expected), atol=1e-6)


@pytest.mark.parametrize("n", [10, 1000])
def test_the_diagonal_is_computed_and_exact(n):
    values = all_pairs(related(1, 3, n, 4), ("cce", "information_imbalance"))
    for name, matrix in values.items():
        assert np.all(np.diag(matrix) == np.float32(get_metric(name).identical(n)))


def test_grouping_the_targets_changes_nothing(monkeypatch):
    points, names = jnp.asarray(related(2, 5, 101, 4)), tuple(FUNCTIONS)
    whole = jax.jit(lambda x: pair_matrices(x, names))(points)
    monkeypatch.setattr(pairs, "GROUP_RANKS", 2 * 5 * 101)
    grouped = jax.jit(lambda x: pair_matrices(x, names))(points)
    assert pairs._group_size(5, 101, 1, pairs.choose_tile(101)) == 2
    for name in names:
        np.testing.assert_allclose(whole[name], grouped[name], atol=1e-6)


def test_a_member_that_is_not_finite_is_nan_and_alone():
    points = related(3, 4, 50, 3)
    spoiled = points.copy()
    spoiled[1, 7, 2] = np.nan
    clean, values = (all_pairs(x, tuple(FUNCTIONS)) for x in (points, spoiled))
    others = np.array([True, False, True, True])
    for name, matrix in values.items():
        assert np.all(np.isnan(matrix[1])) and np.all(np.isnan(matrix[:, 1]))
        np.testing.assert_array_equal(matrix[np.ix_(others, others)], clean[name][np.ix_(others, others)])


def test_widths_may_differ():
    rng = np.random.default_rng(4)
    members = [rng.normal(size=(60, d)) for d in (1, 5)]
    values = all_pairs(members, ["information_imbalance"])["information_imbalance"]
    np.testing.assert_allclose(values[0, 1], information_imbalance(*members), atol=1e-6)
    np.testing.assert_allclose(values[1, 0], information_imbalance(*members[::-1]), atol=1e-6)


def test_threads_share_one_compilation():
    stacks = [related(seed, 3, 75, 4) for seed in range(8)]
    compiled = pairs._compiled(jax.default_backend())
    compilations = compiled._cache_size()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda stack: all_pairs(stack, ("cce",))["cce"], stacks))
        assert compiled._cache_size() == compilations + 1
    np.testing.assert_array_equal(found, [all_pairs(stack, ("cce",))["cce"] for stack in stacks])


def test_inside_a_larger_program():
    points = np.stack([related(seed, 3, 40, 2) for seed in range(2)])
    values = jax.jit(jax.vmap(lambda x: pair_matrices(x, ("cce",))["cce"]))(points)
    for stack, matrix in zip(points, values, strict=True):
        np.testing.assert_allclose(matrix, all_pairs(stack, ("cce",))["cce"], atol=1e-6)


def test_the_table():
    for name, metric in METRICS.items():
        assert metric.name == name and get_metric(name) is metric
        assert metric.unit in metric.label
    assert METRICS["cce"].larger_is_more_similar is False
    with pytest.raises(ValueError, match="metric must be one of cce, .*did you mean 'cce'"):
        get_metric("ccee")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(representations=np.zeros((5, 2))), "representations must be a real array of shape"),
        (dict(representations=np.zeros((2, 2, 2))), "representations must be .*N >= 3"),
        (dict(representations=[]), "representations must be"),
        (dict(representations="cce"), "representations must be"),
        (dict(representations=[np.zeros((5, 2)), np.zeros(5)]), r"representations\[1\] must be .* got \(5,\)"),
        (dict(representations=[np.zeros((5, 2)), np.zeros((4, 2))]), r"representations\[1\] must be .* got \(4, 2\)"),
        (dict(representations=np.zeros((2, 5, 2), complex)), "representations must be a real array"),
        (dict(metrics="cce"), "metrics must be a non-empty sequence"),
        (dict(metrics=()), "metrics must be a non-empty sequence"),
        (dict(metrics=("cce", "cce")), "metrics must be .* without repetitions"),
        (dict(metrics=("ccee",)), "metric must be one of"),
        (dict(neighbors=4), "neighbors must be an integer of at least 1 and at most 3, got 4"),
        (dict(neighbors=True), "neighbors must be"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        all_pairs(**dict(representations=np.zeros((2, 5, 2)), metrics=("cce",)) | arguments)
