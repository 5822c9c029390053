import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxalign.alignment import (
    METRICS,
    DegenerateRepresentationWarning,
    align,
    information_imbalance,
    report,
    tie_fraction,
)
from jaxalign.alignment.degeneracy import describe
from jaxalign.alignment.forms import FromRanks

VARIOUS = ("cce", "information_imbalance", "tie_fraction", "mutual_knn", "linear_cka_debiased", "rsa", "procrustes")
OF_RANKS = tuple(name for name in VARIOUS if isinstance(METRICS[name].form, FromRanks))
NAN_IF_SATURATED = tuple(name for name in METRICS if METRICS[name].undefined_if_saturated)


def healthy(seed=0, n=60, d=4):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def brute_duplicates(points):
    return sum(any(i != j and np.array_equal(a, b) for j, b in enumerate(points)) for i, a in enumerate(points))


def test_healthy():
    found = report("x", healthy())
    assert found == ("x", 60, 4, True, False, 0, 4)
    assert not found.rank_deficient and not found.saturated and found.findings() == []
    assert describe([found, found]) == ""


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value):
    points = healthy()
    points[3, 1] = value
    found = report("x", points)
    assert not found.finite
    assert describe([found]) == "x: it has values that are not finite: all its entries are NaN"


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-30, 1e30, -7.3])
def test_constant(value):
    """Whatever rounding the mean of equal values has."""
    found = report("x", np.full((61, 3), value, np.float32))
    assert found.finite and found.constant
    assert found.duplicated_rows == 61 and found.rank == 0
    assert describe([found]) == "x: all probes have the same representation: only rank-based measures are defined"


def test_constant_but_of_different_units():
    assert report("x", np.tile(np.float32([0.1, -3, 1e5]), (60, 1))).constant
    assert not report("x", np.eye(60, 3, dtype=np.float32)).constant


def test_the_sign_of_zero_distinguishes_nothing():
    points = np.zeros((6, 2), np.float32)
    points[::2] = -0.0
    assert report("x", points).constant
    points[4:, 1] = [1, 2]
    found = report("x", points)
    assert not found.constant and found.duplicated_rows == 4


def test_duplicated_rows():
    points = healthy()
    points[[5, 9]] = points[0]
    points[20] = points[30]
    found = report("x", points)
    assert found.duplicated_rows == 5
    assert describe([found]) == "x: 5 of 60 probes share theirs with another: ranks are tied"


# Few shapes, since each compiles `standardize` again.
@settings(max_examples=150, deadline=None)
@given(hnp.arrays(np.int8, st.sampled_from([(3, 1), (8, 2), (12, 3)]), elements=st.integers(-1, 2)))
def test_duplicated_rows_are_exact(points):
    points = points.astype(np.float32) * np.float32(0.1)
    _, counts = np.unique(points, axis=0, return_counts=True)
    found = report("x", points, rank=False)
    assert found.duplicated_rows == counts[counts > 1].sum() == brute_duplicates(points)
    assert found.rank is None and not found.rank_deficient and not found.saturated


def test_rows_that_differ_in_the_last_place_are_no_duplicates():
    points = np.ones((6, 3), np.float32)
    points[np.arange(6), np.arange(6) % 3] += np.float32(1e-6) * np.arange(6)
    assert report("x", points).duplicated_rows == 0


def test_rows_permuted_over_units_are_no_duplicates():
    points = np.array([np.roll([1.0, 2.0, 3.0], i) for i in range(3)] + [[3.0, 2.0, 1.0]], np.float32)
    assert report("x", points).duplicated_rows == 0


def deficient(points):
    points = points.copy()
    points[:, 3] = points[:, 0] - 2 * points[:, 1]
    return points


RANKS = {
    "full": (healthy(), 4),
    "linear combination": (deficient(healthy()), 3),
    "equal columns": (healthy()[:, [0, 1, 1, 0]], 2),
    "zero columns": (healthy() * np.float32([1, 0, 1, 0]), 2),
    "column of a constant": (healthy() * np.float32([1, 0, 1, 1]) + np.float32([0, 0.1, 0, 0]), 3),
    "offset": (healthy() + np.float32(1000), 4),
    "offset and deficient": (np.round(deficient(healthy()) * 64) * 0 + np.round(healthy() * 64)[:, [0, 1, 2, 2]], 3),
    "small scale": (healthy() * np.float32(1e-20), 4),
    "scales": (healthy() * np.float32([1, 1e-2, 1e-3, 1e-4]), 4),
    "fewer probes than units": (healthy(n=5, d=12), 4),
    "as many probes as units": (healthy(n=12, d=12), 11),
    "one probe more": (healthy(n=13, d=12), 12),
    "two probes more": (healthy(n=14, d=12), 12),
    "one unit": (healthy(d=1), 1),
}
RANKS["offset and deficient"] = (RANKS["offset and deficient"][0].astype(np.float32) + np.float32(1000), 3)


@pytest.mark.parametrize("kind", RANKS)
def test_rank(kind):
    points, expected = RANKS[kind]
    found = report("x", points)
    exact = points.astype(np.float64) - points.astype(np.float64).mean(0)
    tolerance = np.linalg.norm(exact, 2) * max(exact.shape) * np.finfo(np.float32).eps
    assert found.rank == np.linalg.matrix_rank(exact, tol=tolerance) == expected
    n, d = points.shape
    assert found.saturated == (expected == n - 1)
    assert found.rank_deficient == (expected < min(n - 1, d))


def test_what_is_said_of_the_rank():
    assert describe([report("x", RANKS["linear combination"][0])]) == "x: its 4 units have rank 3"
    assert describe([report("x", RANKS["one probe more"][0])]) == (
        "x: its rank is 12 on 13 probes, so that linear maps of it fit anything: CCA and its kin are undefined"
    )
    assert describe([report("x", RANKS["two probes more"][0])]) == ""


def test_all_findings_are_described():
    duplicated = deficient(healthy())
    duplicated[1] = duplicated[0]
    constant = np.ones((60, 4), np.float32)
    lines = describe([report("a", duplicated), report("b", healthy()), report("c", constant)]).split("\n")
    assert [line[:2] for line in lines] == ["a:", "a:", "c:"]
    assert "2 of 60 probes" in lines[0] and "rank 3" in lines[1]


@pytest.fixture(scope="module")
def degenerate():
    """One representation that is healthy, one of each degeneracy, and another healthy one."""
    notfinite, duplicated = healthy(1), healthy(2)
    notfinite[7, 2] = np.inf
    duplicated[1] = duplicated[0]
    members = {
        "healthy": healthy(3),
        "not finite": notfinite,
        "constant": np.full((60, 4), 0.1, np.float32),
        "duplicated": duplicated,
        "other": healthy(4),
    }
    with pytest.warns(DegenerateRepresentationWarning) as record:
        # The null is made too, and warns of nothing more.
        dataset = align(members, VARIOUS, null=1)
    return dataset, [str(warning.message) for warning in record]


def test_align_warns_once_of_everything(degenerate):
    _, messages = degenerate
    (message,) = messages
    assert message.split("\n") == [
        "not finite: it has values that are not finite: all its entries are NaN",
        "constant: all probes have the same representation: only rank-based measures are defined",
        "duplicated: 2 of 60 probes share theirs with another: ranks are tied",
    ]


def test_align_reports(degenerate):
    dataset, _ = degenerate
    np.testing.assert_array_equal(dataset["units"], [4] * 5)
    np.testing.assert_array_equal(dataset["finite"], [True, False, True, True, True])
    np.testing.assert_array_equal(dataset["constant"].values[[0, 2, 3, 4]], [False, True, False, False])
    np.testing.assert_array_equal(dataset["duplicated_rows"].values[[0, 2, 3, 4]], [0, 60, 2, 0])
    assert "rank" not in dataset


def test_align_does_not_warn_of_healthy_ones():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = align([healthy(seed) for seed in range(5)], VARIOUS, null=1)
    assert all(np.isfinite(dataset[name]).all() for name in VARIOUS)


@pytest.mark.parametrize("name", VARIOUS)
def test_entries_are_nan_where_they_are_undefined(name, degenerate):
    matrix = degenerate[0][name].values
    undefined = np.zeros((5, 5), bool)
    undefined[1] = undefined[:, 1] = True
    if name not in OF_RANKS:
        undefined[2] = undefined[:, 2] = True
    np.testing.assert_array_equal(np.isnan(matrix), undefined)
    if METRICS[name].larger_is_more_similar is not None:
        p = degenerate[0][f"{name}_p"].values
        np.testing.assert_array_equal(np.isnan(p), undefined)


def test_a_constant_representation_is_independent_of_everything(degenerate):
    dataset, _ = degenerate
    finite = [0, 2, 3, 4]
    other = [0, 3, 4]
    np.testing.assert_allclose(dataset["cce"].values[finite, 2], 0, atol=1e-5)
    np.testing.assert_allclose(dataset["information_imbalance"].values[finite, 2], 1, atol=1e-5)
    np.testing.assert_array_equal(dataset["tie_fraction"].values[finite, 2], 1)
    # From a constant one a neighbour is drawn at random: one sample of 60 uniform ranks, of standard error 0.075.
    np.testing.assert_allclose(dataset["information_imbalance"].values[2, other], 1, atol=0.3)
    np.testing.assert_allclose(dataset["cce"].values[2, other], 0, atol=0.5)
    assert np.all(dataset["tie_fraction"].values[2, [0, 4]] == 0)


def test_a_constant_representation_has_no_p_below_one(degenerate):
    """All values against it are the same, whatever the order."""
    p = degenerate[0]["information_imbalance_p"].values
    assert np.all(p[[0, 3, 4], 2] == 1)


def test_so_many_units_that_linear_maps_fit_anything():
    """Only measures of the family of CCA are undefined, and only on the side that the measure inverts."""
    names = ("cca", "pwcca", "linear_regression", "procrustes", "linear_cka_debiased", "information_imbalance")
    members = [healthy(0, 12, 4), healthy(1, 12, 12), healthy(2, 12, 20), healthy(3, 12, 10)]
    with pytest.warns(DegenerateRepresentationWarning) as record:
        dataset = align(members, names)
    (message,) = [str(warning.message) for warning in record]
    assert [line[:19] for line in message.split("\n")] == ["1: its rank is 11 o", "2: its rank is 11 o"]
    np.testing.assert_array_equal(dataset["rank"], [4, 11, 11, 10])
    np.testing.assert_array_equal(dataset["units"], [4, 12, 20, 10])
    saturated = np.array([False, True, True, False])
    for name in names:
        either = saturated[:, None] | saturated[None, :]
        if name == "linear_regression":
            either = np.broadcast_to(saturated[:, None], (4, 4))
        expected = either if name in NAN_IF_SATURATED else np.zeros((4, 4), bool)
        np.testing.assert_array_equal(np.isnan(dataset[name]), expected, err_msg=name)


def test_saturation_does_not_matter_where_no_measure_depends_on_it():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = align([healthy(0, 12, 4), healthy(1, 12, 12)], ("information_imbalance",), null=1)
    assert "rank" not in dataset


def test_duplicated_points_and_an_independent_representation():
    """Neither a choice of the tied neighbour by index nor a count of strictly nearer points alone would give 1."""
    rng = np.random.default_rng(8)
    duplicated = np.repeat(rng.normal(size=(250, 3)), 4, axis=0)
    independent = rng.normal(size=(1000, 3))
    # One standard error of a mean of 1000 uniform ranks is 0.018; those of the four copies of a point are dependent.
    assert abs(information_imbalance(duplicated, independent) - 1) < 0.07
    assert abs(information_imbalance(independent, duplicated) - 1) < 0.07
    assert tie_fraction(independent, duplicated) > 0.99
    assert tie_fraction(duplicated, independent) == 0
