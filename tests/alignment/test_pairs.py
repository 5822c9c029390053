import concurrent.futures
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import METRICS, all_pairs, get_metric, pairs
from jaxalign.alignment.distances import standardize
from jaxalign.alignment.forms import FromMatrices, FromRanks, measure
from jaxalign.alignment.plan import Family, plan_family
from jaxalign.alignment.ranks import Tile
from jaxalign.alignment.uncertainty import draw_orders

NAMES = tuple(METRICS)
# One of each form and each kind of state.
VARIOUS = ("cce", "information_imbalance", "mutual_knn", "linear_cka_debiased", "rsa", "procrustes", "pwcca")
AMPLE = 10**10


def related(seed, k, n, d):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + rng.normal(size=(k, n, d))).astype(np.float32)


def single(name, a, b, neighbors=None):
    metric = METRICS[name]
    count = 0 if metric.neighbors is None else neighbors or metric.neighbors
    return measure(metric.form, jnp.asarray(a), jnp.asarray(b), count)


@functools.partial(jax.jit, static_argnames=("names", "neighbors"))
def singles(names, a, b, neighbors=None):
    """In one program, which takes less time to compile than one for each measure."""
    return {name: single(name, a, b, neighbors) for name in names}


@pytest.fixture(scope="module")
def points():
    """Three representations of 60 probes, each a distortion of one, the last with ties."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(60, 4)) * [1, 1, 0.1, 3]
    stack = common + 0.3 * rng.normal(size=(3, 60, 4))
    stack[1] = stack[1] ** 2
    stack[2, :20] = np.maximum(stack[2, :20], 1)
    return stack.astype(np.float32)


@pytest.fixture(scope="module")
def values(points):
    return all_pairs(points, NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_equals_pairwise_calls(name, points, values):
    assert values[name].dtype == np.float32
    expected = [[single(name, a, b) for b in points] for a in points]
    np.testing.assert_allclose(values[name], np.array(expected), atol=5e-6)


@pytest.mark.slow
def test_neighbors(points):
    names = tuple(name for name in NAMES if METRICS[name].neighbors)
    expected = singles(names, points[0], points[1], neighbors=2)
    for name, matrix in all_pairs(points, names, neighbors=2).items():
        np.testing.assert_allclose(matrix[0, 1], expected[name], atol=5e-6)


@pytest.mark.parametrize("name", NAMES)
def test_symmetry_is_what_the_table_says(name, values):
    if name != "tie_fraction":
        assert np.allclose(values[name], values[name].T, atol=1e-6) == METRICS[name].symmetric


@pytest.mark.parametrize("name", NAMES)
def test_the_diagonal_is_the_value_for_identical_representations(name, values):
    """Of the representations without ties."""
    tolerance = 0.3 if name == "cce_vasicek" else 1e-5
    np.testing.assert_allclose(np.diag(values[name])[:2], METRICS[name].identical(60), atol=tolerance)


def test_permuting_members_permutes_the_matrix(points, values):
    order = [2, 0, 1]
    for name, matrix in all_pairs(points[order], NAMES).items():
        np.testing.assert_allclose(matrix, values[name][np.ix_(order, order)], atol=5e-6, err_msg=name)


@pytest.mark.slow
def test_independent_representations_have_the_value_in_the_table():
    """Over the pairs of 12 independent representations of two widths, within standard errors of the mean."""
    rng = np.random.default_rng(7)
    n, widths = 300, [3] * 6 + [8] * 6
    for name, matrix in all_pairs([rng.normal(size=(n, d)) for d in widths], NAMES).items():
        expected = METRICS[name].independent
        if expected is None:
            continue
        wide = matrix[:6, 6:].astype(np.float64)
        # A statistical error of few pairs, and what two estimators do not correct.
        tolerance = 4 * wide.std() / 6 + 0.04 * (name in ("cce_vasicek", "cce_histogram"))
        assert abs(wide.mean() - expected(n, 3, 8)) <= tolerance + 1e-7, name


@pytest.mark.parametrize("n", [10, 1000])
def test_the_diagonal_of_ranks_is_exact(n):
    for name, matrix in all_pairs(related(1, 3, n, 4), ("cce", "information_imbalance")).items():
        assert np.all(np.diag(matrix) == np.float32(get_metric(name).identical(n)))


@pytest.mark.slow
def test_smaller_tiles_change_nothing(points, values):
    for family in pairs.families_of(VARIOUS, None, 60):
        plan = plan_family(family, 3, 60, 4, 0, AMPLE)._replace(group=2, pairs=2, rows=7)
        cut = pairs.measure_family(jnp.asarray(points), family, plan._replace(tile=Tile(16, 16)))
        for name in family.names:
            np.testing.assert_allclose(cut[name], values[name], atol=2e-6, err_msg=name)


@pytest.mark.slow
def test_the_null_is_the_measure_of_shuffled_rows(points):
    orders = draw_orders(3, 60, seed=0)
    for family in pairs.families_of(VARIOUS, None, 60):
        plan = plan_family(family, 3, 60, 4, 3, AMPLE)._replace(permutations=2, group=2)
        # The third has ties, which a shuffle leaves to other points.
        untied = jnp.asarray(points).at[2].set(points[0] * 2 - points[1])
        found = list(pairs.null_matrices(untied, family, plan, orders))
        assert len(found) == 3
        for order, matrices in zip(orders, found, strict=True):
            for name, matrix in matrices.items():
                np.testing.assert_allclose(matrix, expected_null(name, untied, order), atol=5e-6, err_msg=name)


def expected_null(name, points, order):
    """In both directions of a pair the one that comes later is shuffled."""
    metric = METRICS[name]

    def value(i, j):
        if i > j:
            return value(j, i) if metric.symmetric else single(name, points[i][order], points[j])
        return single(name, points[i], points[j][order])

    return np.array([[value(i, j) for j in range(len(points))] for i in range(len(points))])


def test_both_directions_fluctuate_together_under_the_null():
    """As they do between independent representations, which tells how uncertain their mean is."""
    names, k = ("information_imbalance", "cce"), 40
    independent = all_pairs(np.random.default_rng(0).normal(size=(k, 50, 100)), names)
    points = jnp.asarray(np.random.default_rng(1).normal(size=(2, 50, 100)), jnp.float32)
    (family,) = pairs.families_of(names, None, 50)
    orders = draw_orders(2000, 50, seed=0)
    null = list(pairs.null_matrices(points, family, plan_family(family, 2, 50, 100, 2000, AMPLE), orders))
    upper = np.triu_indices(k, 1)
    for name in names:
        expected = np.corrcoef(independent[name][upper], independent[name].T[upper])[0, 1]
        found = np.corrcoef([matrices[name][0, 1] for matrices in null], [matrices[name][1, 0] for matrices in null])
        assert abs(found[0, 1] - expected) < 0.12, (name, found[0, 1], expected)
        assert name == "cce" or expected > 0.2


def test_a_member_that_is_not_finite_is_nan_and_alone(points, values):
    spoiled = points.copy()
    spoiled[1, 7, 2] = np.nan
    others = np.ix_([0, 2], [0, 2])
    for name, matrix in all_pairs(spoiled, NAMES).items():
        assert np.all(np.isnan(matrix[1])) and np.all(np.isnan(matrix[:, 1]))
        np.testing.assert_allclose(matrix[others], values[name][others], atol=1e-6)


@pytest.mark.slow
def test_widths_may_differ():
    rng = np.random.default_rng(4)
    members = [rng.normal(size=(60, d)).astype(np.float32) for d in (2, 5, 80)]
    expected = singles(VARIOUS, members[2], members[0])
    for name, matrix in all_pairs(members, VARIOUS).items():
        np.testing.assert_allclose(matrix[2, 0], expected[name], atol=2e-5, err_msg=name)
        assert np.all(np.isnan(matrix[:2, 2])) == METRICS[name].undefined_if_saturated


def test_threads_share_one_compilation():
    stacks = [related(seed, 3, 75, 4) for seed in range(8)]
    compiled = pairs.program(pairs.pair_matrices)
    compilations = compiled._cache_size()
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda stack: all_pairs(stack, ("cce",), workers=1)["cce"], stacks))
        assert compiled._cache_size() == compilations + 1
    np.testing.assert_array_equal(found, [all_pairs(stack, ("cce",), workers=1)["cce"] for stack in stacks])


def test_dividing_the_probes_changes_nothing():
    """200 probes are 3 blocks, of which two workers take 2 each."""
    stack = related(9, 3, 200, 4)
    one, two = (all_pairs(stack, ("cce", "tie_fraction"), workers=workers) for workers in (1, 2))
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=1e-6)


def test_inside_a_larger_program(points, values):
    for family in pairs.families_of(("cce", "linear_cka", "procrustes"), None, 60):
        plan = plan_family(family, 3, 60, 4, 0, AMPLE)
        stacks = jnp.stack([jnp.asarray(points), 2 * jnp.asarray(points)])
        for name, matrices in jax.jit(jax.vmap(lambda x: pairs.pair_matrices(x, family, plan)))(stacks).items():  # noqa: B023
            for matrix in matrices:
                np.testing.assert_allclose(matrix, values[name], atol=5e-6)


def test_the_table():
    for name, metric in METRICS.items():
        assert metric.name == name and get_metric(name) is metric
        assert metric.unit in metric.label
        assert (metric.neighbors is not None) >= isinstance(metric.form, FromRanks)
    assert METRICS["cce"].larger_is_more_similar is False
    with pytest.raises(ValueError, match="metric must be one of cca, .*did you mean 'cce'"):
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
        (dict(memory_budget=0), "memory_budget must be an integer of at least 1"),
        (dict(memory_budget=100), r"memory_budget must be at least .* GB to compute cce for 2 .* of 5 probes"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        all_pairs(**dict(representations=np.zeros((2, 5, 2)), metrics=("cce",)) | arguments)


def test_a_form_may_have_a_norm_of_its_own(points):
    """The inner product of matrices, divided by their traces."""
    gram = FromMatrices(
        embed=standardize,
        permute=lambda state, order: state[order],
        rows=lambda state, indices: state[indices] @ state.T,
        norm=lambda state: jnp.sum(state**2),
    )
    prepared = np.stack([standardize(jnp.asarray(x)) for x in points]).astype(np.float64)
    grams = prepared @ prepared.transpose(0, 2, 1)
    traces = np.trace(grams, axis1=1, axis2=2)
    expected = np.einsum("aij,bij->ab", grams, grams) / np.outer(traces, traces)
    np.testing.assert_allclose(measure(gram, jnp.asarray(points[0]), jnp.asarray(points[1])), expected[0, 1], rtol=1e-5)
    family = Family(("linear_cka",), (gram,), 0, True)
    plan = plan_family(family, 3, 60, 4, 0, AMPLE)
    np.testing.assert_allclose(
        pairs.measure_family(jnp.asarray(points), family, plan)["linear_cka"], expected, rtol=1e-5
    )
