import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxalign.alignment import conversion
from jaxalign.alignment.conversion import to_float32

WIDE = [np.float64, np.longdouble]


def normals(n=200, d=5):
    return np.random.default_rng(0).normal(size=(n, d))


def differences(x):
    return x[:, None] - x[None]


def recovered(values, points):
    """`points` in the units of `values`, from the largest difference."""
    exact = differences(values.astype(np.longdouble))
    scale = np.abs(exact).max() / np.abs(differences(points.astype(np.float64))).max()
    return exact, differences(points.astype(np.longdouble)) * np.exp2(np.rint(np.log2(scale)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble, ">f4", ">f8"])
def test_numbers_that_float32_holds_stay_as_they_are(dtype):
    points = np.float32(normals() * np.float32([1, 1e-6, 1e6, 1e30, 1e-30]) + np.float32([0, 1, 1e7, 0, 0]))
    found = to_float32(points.astype(dtype))
    np.testing.assert_array_equal(found.points, points)
    assert found.points.dtype == np.float32 and found.displacement is None


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int32, np.uint64, np.float16])
def test_small_integers_stay_as_they_are(dtype):
    whole = np.random.default_rng(0).integers(0, 2, (50, 3)) * (1 if dtype is bool else 100)
    np.testing.assert_array_equal(to_float32(whole.astype(dtype)).points, whole)


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("offset", [0, 1, 1e7, -1e9])
@pytest.mark.parametrize("factor", [1, 1e290, 1e-290])
def test_offsets_and_scales_lose_nothing(dtype, offset, factor):
    values = (normals().astype(dtype) + offset) * dtype(factor)
    exact, found = recovered(values, to_float32(values).points)
    assert np.abs(found - exact).max() < 4e-7 * factor


def test_columns_of_different_offsets_and_scales():
    values = normals() * [1, 1e-3, 10, 1, 1] + [1e9, 1e6, -1e8, 0, 3]
    exact, found = recovered(values, to_float32(values).points)
    assert np.all(np.abs(found - exact).max((0, 1)) < 4e-7 * np.array([1, 1e-3, 10, 1, 1]))


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32])
def test_huge_integers_are_exact(dtype):
    small = np.random.default_rng(0).integers(0, 1000, (100, 3))
    low = {np.int64: -(2**62), np.uint64: 2**63, np.int32: 2**30}[dtype]
    exact, found = recovered(small, to_float32(small.astype(dtype) + dtype(low)).points)
    np.testing.assert_array_equal(found, exact)


def test_integers_of_the_whole_range():
    ends = np.array([[-(2**63)], [2**63 - 1], [0], [1]], np.int64)
    points = to_float32(ends).points.astype(np.float64)
    assert np.ptp(points) == 2 * (points[2] - points[0])[0] and points[2] == points[3]


# Few shapes, as in the tests of duplicated rows.
@settings(max_examples=150, deadline=None)
@given(
    hnp.arrays(np.int64, st.sampled_from([(3, 1), (8, 2), (25, 3)]), elements=st.integers(-50, 2000)),
    st.integers(-20, 20),
    st.sampled_from([0.0, 2.0**24 + 1, -(2.0**40)]),
)
def test_multiples_of_a_power_of_two_keep_their_differences(whole, exponent, offset):
    values = (whole + offset) * 2.0**exponent
    points = to_float32(values).points.astype(np.float64)
    exact, found = differences(values), differences(points)
    largest = np.abs(exact).max()
    if largest == 0:
        assert not found.any()
    else:
        np.testing.assert_array_equal(found * (largest / np.abs(found).max()), exact)


def test_a_column_about_zero_is_not_shifted():
    """So that numbers symmetric about zero stay so, and small ones keep their digits."""
    values = np.vstack([normals(), -normals()])
    points = to_float32(values).points
    np.testing.assert_array_equal(points[:200], -points[200:])
    codes = np.where(normals() > 1, normals(), 0) + np.where(normals() < -1, 1e-9, 0)
    np.testing.assert_array_equal(np.unique(to_float32(codes).points)[:2] > 0, [False, True])


@pytest.mark.parametrize("dtype", WIDE)
@pytest.mark.parametrize("constant", [0.1, 1e7 + 0.1, -1e300, 5e-324])
def test_a_constant_column_is_zero_and_spoils_no_other(dtype, constant):
    values = normals().astype(dtype)
    values[:, 2] = constant
    points = to_float32(values).points
    assert not points[:, 2].any()
    np.testing.assert_allclose(np.ptp(points[:, 0]) / np.ptp(points[:, 1]), np.ptp(values[:, 0]) / np.ptp(values[:, 1]))
    assert not to_float32(np.full((9, 2), constant, dtype)).points.any()


def test_one_huge_value():
    values = normals()
    values[7] *= 1e30
    points = to_float32(values).points.astype(np.float64)
    others = np.delete(np.arange(200), 7)
    assert np.isfinite(points).all()
    ratio = points[others] / values[others]
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(value):
    values = normals() + 1e7
    values[3, 1] = value
    np.testing.assert_array_equal(np.isfinite(to_float32(values).points), np.isfinite(values))


def test_without_shifts():
    values = (normals() + 3) * 1e200
    ratio = to_float32(values, None).points / (values / 1e200)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=2e-7)


def test_rows_are_shifted_and_scaled_alone():
    factors = np.logspace(-250, 250, 200)[:, None]
    values = (normals() + 1e8) * factors
    points = to_float32(values, "rows").points.astype(np.float64)
    exact = values / factors - 1e8
    ratio = (points - points[:, :1])[:, 1:] / (exact - exact[:, :1])[:, 1:]
    np.testing.assert_allclose(ratio, np.tile(ratio[:, :1], 4), rtol=1e-5)
    assert np.all(np.abs(points).max(1) >= 0.5) and np.all(np.abs(points) <= 1)


def test_displacement_is_the_distance_by_which_rounding_moved_a_probe():
    values = normals() + 0.5
    found = to_float32(values)
    exact = values - np.rint(np.median(values, 0) / 2) * 2
    scale = np.exp2(np.rint(np.log2(np.median(np.ptp(found.points, 0) / np.ptp(exact, 0)))))
    moved = np.sqrt(((exact * scale - found.points) ** 2).sum(1))
    assert np.all(found.displacement > 0)
    np.testing.assert_allclose(found.displacement, moved, rtol=1e-5)


def test_blocks_change_nothing(monkeypatch):
    values = normals() * [1, 1e-3, 10, 1, 1] + [1e9, 1e6, -1e8, 0, 3]
    whole = to_float32(values)
    monkeypatch.setattr(conversion, "_BLOCK", 7)
    for one, other in zip(to_float32(values), whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7)
    np.testing.assert_array_equal(to_float32(np.float32(values)).points, np.float32(values))


def test_the_input_is_not_changed():
    values = normals() + 1e7
    before = values.copy()
    to_float32(values)
    np.testing.assert_array_equal(values, before)
