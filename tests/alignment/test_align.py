import inspect
import json
import warnings

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jaxalign import summarize
from jaxalign.alignment import METRICS, align, all_pairs, pairs
from jaxalign.alignment.plan import plan_family
from jaxalign.alignment.uncertainty import draw_orders

# One of each form and each kind of state, and the diagnostic.
VARIOUS = ("cce", "information_imbalance", "tie_fraction", "mutual_knn", "linear_cka_debiased", "procrustes", "pwcca")
TESTED = tuple(name for name in VARIOUS if METRICS[name].larger_is_more_similar is not None)
FEW = ("information_imbalance", "linear_cka_debiased")
NULL = ("null_mean", "null_std", "z", "p")
PAIRS = ("network_a", "network_b")
# As many as are compared at once of three representations: with more of them the programs are the same.
PERMUTATIONS, SEED = 21, 5


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(60, 4)) + rng.normal(size=(3, 60, 4))).astype(np.float32)


@pytest.fixture(scope="module")
def aligned(points):
    return align(points, VARIOUS, null=PERMUTATIONS, seed=SEED)


@pytest.fixture(scope="module")
def nulls(points):
    """Of `pairs.null_matrices`, of shape (permutations, 3, 3) for each measure."""
    orders, found = draw_orders(PERMUTATIONS, 60, SEED), {}
    for family in pairs.families_of(VARIOUS, None, 60):
        plan = plan_family(family, 3, 60, 4, PERMUTATIONS, 10**10)
        matrices = list(pairs.null_matrices(jnp.asarray(points), family, plan, orders))
        found |= {name: np.array([values[name] for values in matrices], np.float64) for name in family.names}
    return found


def test_without_a_null(points):
    dataset = align(points)
    assert list(dataset.data_vars) == [
        "cce",
        "information_imbalance",
        "units",
        "finite",
        "constant",
        "duplicated_rows",
    ]
    assert dict(dataset.sizes) == {"network_a": 3, "network_b": 3, "network": 3}
    assert dataset.attrs["permutations"] == 0


def test_variables_and_their_order(aligned):
    expected = []
    for name in VARIOUS:
        expected.append(name)
        if name in TESTED:
            expected += [f"{name}_{suffix}" for suffix in (*NULL, "null_of_mean")]
    reports = ["units", "finite", "constant", "duplicated_rows", "rank"]
    assert list(aligned.data_vars) == expected + reports
    for name, variable in aligned.data_vars.items():
        dims = ("network",) if name in reports else ("permutation",) if name.endswith("_null_of_mean") else PAIRS
        assert variable.dims == dims, name
        assert variable.shape == tuple({"permutation": PERMUTATIONS}.get(dim, 3) for dim in dims)
    assert all(aligned[name].dtype == np.float32 for name in VARIOUS)


def test_order_where_a_name_begins_another(points):
    names = ("cca_squared", "cca", "procrustes_distance", "procrustes")
    found = align(points, names, null=1)
    starts = [list(found.data_vars).index(name) for name in names]
    assert starts == [0, 6, 12, 18]


def test_coordinates_and_attributes(aligned):
    assert set(aligned.coords) == {"network", *PAIRS}
    for coordinate in aligned.coords.values():
        assert list(coordinate.values) == ["0", "1", "2"]
    attributes = aligned.attrs
    assert attributes["probes"] == 60 and attributes["seed"] == SEED and attributes["permutations"] == PERMUTATIONS
    assert attributes["versions"].startswith("jaxalign ") and attributes["device"]
    counts = json.loads(attributes["neighbors"])
    assert counts == {"cce": 1, "information_imbalance": 1, "tie_fraction": 1, "mutual_knn": 10}


def test_values_are_those_of_all_pairs(points, aligned):
    for name, matrix in all_pairs(points, VARIOUS).items():
        np.testing.assert_array_equal(aligned[name], matrix)


def test_a_null_changes_no_value(points, aligned):
    without = align(points, VARIOUS)
    for name in VARIOUS:
        np.testing.assert_array_equal(without[name], aligned[name])


def test_neighbors(points):
    dataset = align(points, ("information_imbalance", "mutual_knn", "linear_cka_debiased"), neighbors=3)
    assert json.loads(dataset.attrs["neighbors"])["mutual_knn"] == 3
    expected = all_pairs(points, ("information_imbalance", "mutual_knn"), neighbors=3)
    for name, matrix in expected.items():
        np.testing.assert_array_equal(dataset[name], matrix)


def test_names(points):
    by_name = {"first": points[0], "second": points[1], 3: points[2]}
    dataset = align(by_name, FEW)
    assert list(dataset["network"].values) == list(dataset["network_a"].values) == ["first", "second", "3"]
    value = dataset[FEW[0]].sel(network_a="second", network_b="3")
    assert value == dataset[FEW[0]].values[1, 2]
    for given in (align(points, FEW, names=["first", "second", "3"]), align(by_name, FEW, names=("a", "b", "c"))):
        np.testing.assert_array_equal(given[FEW[0]], dataset[FEW[0]])
    assert list(given["network"].values) == ["a", "b", "c"]


def test_sequences_and_widths(points, aligned):
    """A tuple is as an array; zeros that widen the narrower ones change nothing and are no units."""
    members = (points[0], points[1][:, :2], jnp.asarray(points[2]))
    dataset = align(members, VARIOUS)
    np.testing.assert_array_equal(dataset["units"], [4, 2, 4])
    np.testing.assert_array_equal(dataset["rank"], [4, 2, 4])
    for name in VARIOUS:
        assert dataset[name].values[0, 2] == aligned[name].values[0, 2]
    widened = points.copy()
    widened[1, :, 2:] = 0
    for name, matrix in all_pairs(widened, VARIOUS).items():
        np.testing.assert_array_equal(dataset[name], matrix)


def test_other_types_are_computed_in_float32(points):
    whole = np.round(4 * points)
    expected = align(whole.astype(np.float32), FEW)
    for given in (whole.astype(np.int64), whole.astype(np.float64), whole.astype(np.float16), jnp.asarray(whole)):
        xr.testing.assert_identical(align(given, FEW), expected)


@pytest.mark.parametrize("name", TESTED)
def test_the_null_by_hand(name, nulls, aligned):
    values = nulls[name]
    observed = aligned[name].values.astype(np.float64)
    mean, std = values.mean(0), values.std(0, ddof=1)
    np.testing.assert_allclose(aligned[f"{name}_null_mean"], mean, atol=1e-6)
    np.testing.assert_allclose(aligned[f"{name}_null_std"], std, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(aligned[f"{name}_z"], (observed - mean) / std, rtol=1e-3)
    sign = 1 if METRICS[name].larger_is_more_similar else -1
    as_extreme = np.sum(sign * (values - observed) >= -1e-5 * np.maximum(np.abs(values), np.abs(observed)), axis=0)
    np.testing.assert_allclose(aligned[f"{name}_p"], (1 + as_extreme) / (1 + PERMUTATIONS))
    off_diagonal = values[:, ~np.eye(3, dtype=bool)].mean(1)
    np.testing.assert_allclose(aligned[f"{name}_null_of_mean"], off_diagonal, atol=1e-6)


@pytest.mark.parametrize("name", TESTED)
def test_p_values(name, aligned):
    p = aligned[f"{name}_p"].values
    least = 1 / (PERMUTATIONS + 1)
    np.testing.assert_allclose(np.diag(p), least)
    assert np.all((p >= least) & (p <= 1))
    np.testing.assert_allclose(p / least, np.round(p / least))


@pytest.mark.parametrize("name", [name for name in TESTED if METRICS[name].symmetric])
def test_the_null_of_a_symmetric_measure_is_of_pairs(name, nulls):
    """Both entries of a pair are one value, whose fluctuation their mean must not average away."""
    np.testing.assert_allclose(nulls[name], nulls[name].swapaxes(1, 2), atol=1e-6)


def test_seeds(points, aligned):
    xr.testing.assert_identical(align(points, VARIOUS, null=PERMUTATIONS, seed=SEED), aligned)
    other = align(points, FEW, null=PERMUTATIONS, seed=SEED + 1)
    for name in FEW:
        np.testing.assert_array_equal(other[name], aligned[name])
        assert not np.any(other[f"{name}_null_mean"].values == aligned[f"{name}_null_mean"].values)


def test_more_permutations_keep_the_first(points, aligned):
    more = align(points, FEW, null=PERMUTATIONS + 4, seed=SEED)
    for name in FEW:
        of_mean = f"{name}_null_of_mean"
        np.testing.assert_allclose(more[of_mean].values[:PERMUTATIONS], aligned[of_mean].values, atol=1e-6)


def test_a_diagnostic_has_no_null(aligned):
    assert not [name for name in aligned.data_vars if str(name).startswith("tie_fraction_")]


def test_one_representation(points):
    dataset = align(points[:1], FEW, null=3)
    for name in FEW:
        assert dataset[f"{name}_p"].values == 1 / 4
        assert np.all(np.isnan(dataset[f"{name}_null_of_mean"]))
    summary = summarize(dataset)
    assert all(np.isnan(summary[name]) for name in FEW)


def test_a_single_permutation(points):
    dataset = align(points, FEW, null=1)
    for name in FEW:
        assert np.all(np.isnan(dataset[f"{name}_null_std"])) and np.all(np.isnan(dataset[f"{name}_z"]))
        assert set(dataset[f"{name}_p"].values.ravel()) <= {0.5, 1.0}


@pytest.mark.parametrize("metrics", [FEW, ("tie_fraction", "linear_cka_debiased"), ("tie_fraction",)])
def test_progress(metrics, points, capfd):
    align(points, metrics, null=PERMUTATIONS, progress=True)
    shown = capfd.readouterr()
    assert shown.out == "" and metrics[-1] in shown.err
    last = shown.err.replace("\n", "").split("\r")[-1]
    assert "100%" in last


def test_no_progress(points, capfd):
    align(points, FEW, null=PERMUTATIONS)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(names=["a", "b"]), "names must be 3 strings"),
        (dict(names=["a", "b", 3]), "names must be 3 strings"),
        (dict(names=["a", "b", "a"]), "names must be .* without repetitions"),
        (dict(names="abc"), "names must be a non-empty sequence"),
        (dict(names=[]), "names must be a non-empty sequence"),
        (dict(representations={1: np.ones((5, 2)), "1": np.ones((5, 2))}), "names must be .* without repetitions"),
        (dict(null=0), "null must be an integer of at least 1, got 0"),
        (dict(null=True), "null must be an integer"),
        (dict(null=2.0), "null must be an integer"),
        (dict(seed=-1), "seed must be an integer of at least 0, got -1"),
        (dict(seed=0.5), "seed must be an integer"),
        (dict(neighbors=0), "neighbors must be an integer of at least 1 and at most 3, got 0"),
        (dict(neighbors=4), "neighbors must be an integer of at least 1 and at most 3, got 4"),
        (dict(metrics=("ccee",)), "metric must be one of .*did you mean"),
        (dict(metrics=()), "metrics must be a non-empty sequence"),
        (dict(metrics="cce"), "metrics must be a non-empty sequence"),
        (dict(memory_budget=0), "memory_budget must be an integer of at least 1"),
        (dict(memory_budget=100), "memory_budget must be at least .* GB to compute cce for 3 .* 5 probes and 2 units"),
        (dict(representations=[np.zeros((5, 2)), np.zeros((4, 2))]), r"representations\[1\] must be .* got \(4, 2\)"),
        (dict(representations=[[[0.0, 1.0], [1.0]], np.zeros((3, 2))]), r"representations\[0\] must be .* ragged"),
        (dict(representations=np.zeros((3, 5, 2), complex)), "representations must be a real array"),
        (dict(representations=np.zeros((3, 5, 2), str)), "representations must be a real array"),
        (dict(representations=np.zeros((5, 2))), "representations must be a real array"),
        (dict(representations=np.zeros((3, 5, 0))), "representations must be a real array"),
        (dict(representations=np.zeros((0, 5, 2))), "representations must be a real array"),
        (dict(representations=np.zeros((3, 2, 2))), "representations must be .*N >= 3"),
        (dict(representations=[]), "representations must be"),
        (dict(representations={}), "representations must be"),
        (dict(representations=None), "representations must be"),
    ],
)
def test_bad_input(arguments, message):
    """Nothing is computed, nor warned of, before all arguments are checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            # Without the types, which would refuse some of these in the tests alone.
            inspect.unwrap(align)(**dict(representations=np.zeros((3, 5, 2)), metrics=("cce",)) | arguments)


def test_summary(aligned):
    summary = summarize(aligned)
    for name in VARIOUS:
        matrix = aligned[name].values.astype(np.float64)
        different = ~np.eye(3, dtype=bool)
        np.testing.assert_allclose(summary[name], matrix[different].mean(), rtol=1e-12)
        left_out = []
        for k in range(3):
            others = np.delete(np.delete(matrix, k, 0), k, 1)
            left_out.append((others[0, 1] + others[1, 0]) / 2)
        stderr = np.sqrt(2 / 3 * np.sum((left_out - np.mean(left_out)) ** 2))
        np.testing.assert_allclose(summary[f"{name}_stderr"], stderr, rtol=1e-9)
        assert summary[name].ndim == summary[f"{name}_stderr"].ndim == 0
    assert summary.attrs == aligned.attrs


@pytest.mark.parametrize("name", TESTED)
def test_summary_of_the_null(name, aligned):
    summary = summarize(aligned)
    mean, of_mean = float(summary[name]), aligned[f"{name}_null_of_mean"].values
    np.testing.assert_allclose(summary[f"{name}_null_mean"], of_mean.mean())
    np.testing.assert_allclose(summary[f"{name}_null_std"], of_mean.std(ddof=1))
    np.testing.assert_allclose(summary[f"{name}_z"], (mean - of_mean.mean()) / of_mean.std(ddof=1))
    as_similar = of_mean >= mean if METRICS[name].larger_is_more_similar else of_mean <= mean
    np.testing.assert_allclose(summary[f"{name}_p"], (1 + as_similar.sum()) / (1 + PERMUTATIONS))
    # These representations share half of their variance.
    assert summary[f"{name}_p"] == 1 / (1 + PERMUTATIONS)


def test_summary_without_a_null(points):
    summary = summarize(align(points, FEW))
    assert list(summary.data_vars) == [f"{name}{end}" for name in FEW for end in ("", "_stderr")]


@pytest.mark.parametrize("dataset", [xr.Dataset(), xr.Dataset({"test_error": ("member", [1.0])}), None])
def test_summary_of_something_else(dataset):
    with pytest.raises(ValueError, match="dataset must be"):
        summarize(dataset)


def test_round_trip(aligned, tmp_path):
    """The strings' encoding has no specification in Zarr V3 yet, of which zarr warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(Zarr V3|Zarr format 3).*")
        aligned.to_zarr(tmp_path / "aligned", consolidated=False)
        read = xr.open_zarr(tmp_path / "aligned", consolidated=False, chunks=None).load()
    xr.testing.assert_equal(read, aligned)
    assert read.attrs == aligned.attrs
    assert list(read["network"].values) == ["0", "1", "2"]
    xr.testing.assert_allclose(summarize(read), summarize(aligned))
