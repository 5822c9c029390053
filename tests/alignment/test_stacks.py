import subprocess
import sys
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.alignment import align, all_pairs, conversion, pairs, stacks
from jaxalign.alignment.plan import plan_family
from jaxalign.alignment.uncertainty import draw_orders

# One of ranks, one of matrices, one of states that depend on the width and one of states that do not.
OF_EACH_FORM = ("information_imbalance", "linear_cka", "pwcca", "mutual_knn")
WIDTHS = (5, 30, 3, 40, 6)


def members(n=60):
    rng = np.random.default_rng(0)
    common = rng.normal(size=(n, 3))
    found = [np.hstack([common + rng.normal(size=(n, 3)), 0.1 * rng.normal(size=(n, d - 3))]) for d in WIDTHS]
    return [x.astype(np.float32) for x in found]


@pytest.mark.parametrize(
    ("n", "widths", "groups"),
    [
        (60, (5, 80, 5), ((0, 1, 2),)),  # zeros of a few kilobytes
        (500, (10, 200_000, 10), ((1,), (0, 2))),
        (10**6, (64, 128, 256, 65, 256), ((1, 2, 4), (0, 3))),  # up to twice as wide
        (10**6, (7,), ((0,),)),
        (10**6, (7, 7, 7), ((0, 1, 2),)),
    ],
)
def test_what_shares_an_array(n, widths, groups):
    assert stacks.group_widths(n, widths) == groups


def test_zeros_at_most_double_the_numbers():
    widths = tuple(np.random.default_rng(0).integers(1, 3000, 200).tolist())
    groups = stacks.group_widths(10**5, widths)
    assert sorted(i for group in groups for i in group) == list(range(200))
    for group in groups:
        own = [widths[i] for i in group]
        assert len(own) * max(own) <= 2 * sum(own) and list(group) == sorted(group)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_stacks_hold_the_representations(kind, monkeypatch):
    monkeypatch.setattr(stacks, "_SMALL_BYTES", 0)
    given = [kind(x) for x in members()]
    checked = stacks.check(given)
    found, displacements = stacks.stack(checked)
    assert displacements == (None,) * 5
    assert [x.shape for x in found] == [(2, 60, 40), (3, 60, 6)] and checked.order == (1, 3, 0, 2, 4)
    assert checked.widths == WIDTHS and checked.padded == (40, 40, 6, 6, 6) and checked.probes == 60
    for own, expected in zip(checked.members(found), given, strict=True):
        np.testing.assert_array_equal(own, expected)
    assert not np.any(found[0][0, :, 30:]) and not np.any(found[1][1, :, 3:])


@pytest.mark.slow
def test_groups_change_no_value(monkeypatch):
    whole = align(members(), OF_EACH_FORM, null=5, seed=1)
    monkeypatch.setattr(stacks, "_SMALL_BYTES", 0)
    grouped = align(members(), OF_EACH_FORM, null=5, seed=1)
    for name, values in whole.data_vars.items():
        np.testing.assert_allclose(grouped[name], values, atol=1e-3 if name.endswith("_z") else 2e-6, err_msg=name)
    for name, matrix in all_pairs(members(), OF_EACH_FORM).items():
        np.testing.assert_array_equal(matrix, grouped[name])


def test_groups_change_no_value_of_ranks_and_matrices(monkeypatch):
    names = ("information_imbalance", "linear_cka")
    whole = all_pairs(members(), names)
    monkeypatch.setattr(stacks, "_SMALL_BYTES", 0)
    for name, matrix in all_pairs(members(), names).items():
        np.testing.assert_allclose(matrix, whole[name], atol=1e-6)


def test_positions_say_which_is_shuffled():
    """In the null of two groups that hold the representations the other way round."""
    first, second = (x[None] for x in members()[:2])
    orders = draw_orders(3, 60, seed=0)
    (family,) = pairs.families_of(("mutual_knn",), None, 60)
    plan = plan_family(family, 2, 60, (30, 30), 3, 10**10)
    groups = (jnp.asarray(first), jnp.asarray(second))
    own = [x["mutual_knn"] for x in pairs.null_matrices(groups, family, plan, orders)]
    other = [x["mutual_knn"] for x in pairs.null_matrices(groups[::-1], family, plan, orders, (1, 0))]
    np.testing.assert_array_equal(own, [x[::-1, ::-1] for x in other])


def test_a_budget_is_refused_before_anything_is_copied(monkeypatch):
    def copy(*_):
        raise AssertionError("a representation was copied")

    monkeypatch.setattr(stacks, "stack", copy)
    monkeypatch.setattr(conversion, "to_float32", copy)
    wide = np.broadcast_to(1.5, (500, 200_000))  # no memory
    given = [wide, *np.random.default_rng(0).normal(size=(9, 500, 10))]
    for compare in (align, all_pairs):
        with pytest.raises(ValueError, match="memory_budget must be at least .* of 500 probes and 10 to 200000 units"):
            compare(given, ("information_imbalance",), memory_budget=200_000_000)
    # Nine of them are no reason for nine times the memory of the one, of which two threads may hold copies in float64.
    checked = stacks.check(given)
    (family,) = pairs.families_of(("information_imbalance",), None, 500)
    assert plan_family(family, 10, 500, checked.padded, 0, 10**12).bytes < 9 * 4 * wide.size


_PEAK = """
    import sys
    import numpy as np
    from jaxalign.alignment import align, pairs, stacks
    from jaxalign.alignment.plan import plan_family

    def status(field):
        with open("/proc/self/status") as file:
            return 1024 * int(dict(line.split(":", 1) for line in file)[field].split()[0])

    names, rng = (sys.argv[1],), np.random.default_rng(0)
    given = [rng.standard_normal((500, 100_000)), *rng.normal(size=(9, 500, 10))]
    # Programs of the smaller sizes, and all that is loaded.
    align(given[1:], names)
    checked = stacks.check(given)
    (family,) = pairs.families_of(names, None, 500)
    plan = plan_family(family, 10, 500, checked.padded, 0, 10**12)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    align(given, names)
    print(plan.bytes, status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", OF_EACH_FORM)
def test_the_peak_is_what_the_plan_states(name):
    """Of one wide representation in float64 and nine narrow ones; the compiler takes some memory too."""
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(_PEAK), name]
    planned, used = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert used <= planned + 200_000_000
