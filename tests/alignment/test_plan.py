import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import METRICS, all_pairs, pairs
from jaxalign.alignment.forms import FromMatrices
from jaxalign.alignment.plan import default_budget, plan_family

AMPLE = 10**15
VARIOUS = ("cce", "information_imbalance", "mutual_knn", "linear_cka_debiased", "rsa", "procrustes", "pwcca")
FAMILIES = pairs.families_of(tuple(METRICS), None, 400)


def first_name(family):
    return family.names[0]


def smallest_budget(family, *sizes):
    """Of the last plan when each budget is a byte less than the plan before takes."""
    budget = AMPLE
    while True:
        try:
            plan = plan_family(family, *sizes, budget)
        except ValueError:
            return plan.bytes
        budget = plan.bytes - 1


def held(lowered):
    """Memory is assigned before LLVM's passes, which take half of the time of a compilation."""
    memory = lowered.compile(compiler_options={"xla_backend_optimization_level": 0}).memory_analysis()
    return memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes


def actual_bytes(family, plan, k, n, d):
    """What XLA allocates for the measures of all pairs."""
    points = jax.ShapeDtypeStruct((k, n, d), jnp.float32)
    return held(pairs.program(pairs.pair_matrices).lower(points, family, plan))


def actual_bytes_of_null(family, plan, k, n, d):
    """What XLA allocates at most in the two steps of the null."""
    points = jax.ShapeDtypeStruct((k, n, d), jnp.float32)
    orders = jax.ShapeDtypeStruct((plan.permutations, n), jnp.int32)
    embedded = jax.eval_shape(lambda x: pairs.embed(x, family, plan), points)
    return max(
        held(pairs.program(pairs.embed).lower(points, family, plan)),
        held(pairs.program(pairs.permuted_matrices).lower(embedded, orders, family, plan)),
    )


@pytest.mark.parametrize("family", FAMILIES, ids=first_name)
@pytest.mark.parametrize("permutations", [0, 99])
def test_a_smaller_budget_gives_a_smaller_plan(family, permutations):
    sizes = (8, 2000, 32, permutations)
    fastest, least = plan_family(family, *sizes, AMPLE), smallest_budget(family, *sizes)
    assert plan_family(family, *sizes, fastest.bytes) == fastest
    # The distances that RSA keeps of each representation cannot be cut.
    assert least < fastest.bytes / 2 or family.names == ("rsa",)
    for budget in {fastest.bytes, (least + fastest.bytes) // 2, least}:
        plan = plan_family(family, *sizes, budget)
        assert 0 < plan.bytes <= budget
        assert plan.tile.rows % plan.tile.chunk == 0
        assert min(plan.group, plan.pairs, plan.rows, plan.permutations) >= 1


@pytest.mark.parametrize("family", FAMILIES, ids=first_name)
def test_too_small_a_budget_is_refused_with_the_figures(family):
    sizes = (8, 2000, 32, 0)
    least = smallest_budget(family, *sizes)
    assert plan_family(family, *sizes, least).bytes == least
    with pytest.raises(ValueError) as error:
        plan_family(family, *sizes, least - 1)
    assert str(error.value) == (
        f"memory_budget must be at least {least / 1e9:.3g} GB to compute {', '.join(family.names)} for 8 "
        f"representations of 2000 probes and 32 units, got {(least - 1) / 1e9:.3g} GB"
    )


@pytest.mark.parametrize("permutations", [0, 99])
@pytest.mark.parametrize("family", FAMILIES, ids=first_name)
def test_realistic_sizes_fit(family, permutations):
    """16 representations of 10000 probes in 4 GB, except for the ranks of all distances, which RSA keeps of each."""
    sizes = (16, 10_000, 64, permutations)
    if family.names == ("rsa",):
        with pytest.raises(ValueError, match="memory_budget must be at least .* to compute rsa for 16"):
            plan_family(family, *sizes, 4 * 10**9)
        assert smallest_budget(family, *sizes) < 2.5 * (2 if permutations else 1) * 16 * 4 * 10_000**2
    else:
        assert plan_family(family, *sizes, 4 * 10**9).bytes <= 4 * 10**9


@pytest.mark.parametrize("family", FAMILIES, ids=first_name)
def test_prediction_is_near_what_is_allocated(family):
    """Not much less, which would exhaust the memory, nor many times more, which would cut the work too small."""
    sizes = (16, 400, 8)
    plan = plan_family(family, *sizes, 0, AMPLE, workers=1)
    assert 0.7 <= plan.bytes / actual_bytes(family, plan, *sizes) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=first_name)
@pytest.mark.parametrize("sizes", [(8, 500, 16), (4, 1000, 64)], ids=str)
def test_prediction_at_other_sizes(family, sizes):
    plan = plan_family(family, *sizes, 0, AMPLE, workers=1)
    assert 0.7 <= plan.bytes / actual_bytes(family, plan, *sizes) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=first_name)
@pytest.mark.parametrize("sizes", [(16, 400, 8), (8, 500, 16), (4, 1000, 64)], ids=str)
def test_prediction_of_the_null(family, sizes):
    plan = plan_family(family, *sizes, 20, AMPLE)
    assert 0.7 <= plan.bytes / actual_bytes_of_null(family, plan, *sizes) <= 3


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES, ids=first_name)
def test_prediction_of_a_plan_of_half_the_memory(family):
    """What is cut really is held no more."""
    sizes = (16, 400, 8)
    fastest = plan_family(family, *sizes, 0, AMPLE, workers=1)
    least = smallest_budget(family, *sizes, 0)
    plan = plan_family(family, *sizes, 0, max(least, fastest.bytes // 2), workers=1)
    assert 0.7 <= plan.bytes / actual_bytes(family, plan, *sizes) <= 3


@pytest.mark.slow
def test_a_small_budget_changes_no_value():
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(60, 4)) + rng.normal(size=(3, 60, 4))).astype(np.float32)
    expected = all_pairs(points, VARIOUS)
    for family in pairs.families_of(VARIOUS, None, 60):
        fastest = plan_family(family, 3, 60, 4, 0, AMPLE)
        least = smallest_budget(family, 3, 60, 4, 0)
        assert least < fastest.bytes or family.names == ("rsa",)
        for name, matrix in all_pairs(points, family.names, memory_budget=least).items():
            np.testing.assert_allclose(matrix, expected[name], atol=2e-6, err_msg=name)


def test_plans_are_of_the_measures_that_share_work():
    """Each family has one form; those of matrices have one measure each."""
    assert sorted(name for family in FAMILIES for name in family.names) == sorted(METRICS)
    for family in FAMILIES:
        assert len({type(form) for form in family.forms}) == 1
        assert len({METRICS[name].symmetric for name in family.names}) == 1
        if isinstance(family.forms[0], FromMatrices):
            assert len(family.names) == 1


def test_default_budget():
    """Half of what is free now: some, and less than any machine has."""
    budget = default_budget()
    assert isinstance(budget, int) and 10**7 < budget < 10**14
