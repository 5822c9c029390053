import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
from jax.experimental.sparse import BCOO

from jaxalign.alignment import (
    METRICS,
    DegenerateRepresentationWarning,
    align,
    all_pairs,
    cca,
    inputs,
    linear_cka,
    mutual_knn,
    procrustes,
    rsa,
)

NAMES = tuple(METRICS)
N, D = 60, 4


def normals(seed=0, n=N, d=D):
    return np.random.default_rng(seed).normal(size=(n, d))


@pytest.fixture(scope="module")
def related():
    a = normals()
    return a, a + 0.5 * normals(1)


@pytest.fixture(scope="module")
def expected(related):
    return all_pairs(related, NAMES)


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
def test_an_offset_changes_no_measure(dtype, related, expected):
    a, b = (x.astype(dtype) for x in related)
    for name, matrix in all_pairs([a + 1e7, b - [1e9, 0, 3, 1e-3]], NAMES).items():
        np.testing.assert_allclose(matrix, expected[name], atol=1e-5, err_msg=name)


def test_the_offset_that_left_a_tenth_of_the_digits():
    a = np.random.default_rng(0).random((600, 50))
    found = align([a, a + 1e7], ("mutual_knn", "procrustes", "linear_cka"))
    assert found["mutual_knn"][0, 1] == mutual_knn(a, a + 1e7) == 1
    np.testing.assert_allclose(found["procrustes"][0, 1], 0, atol=1e-5)
    np.testing.assert_allclose(procrustes(a, a + 1e7), 0, atol=1e-5)
    np.testing.assert_allclose(found["linear_cka"][0, 1], 1, atol=1e-5)


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_huge_and_tiny_numbers(factor, related, expected):
    for name, matrix in all_pairs([related[0] * factor, related[1]], NAMES).items():
        np.testing.assert_allclose(matrix, expected[name], atol=1e-5, err_msg=name)


def test_a_constant_column_of_a_huge_offset(related, expected):
    a, b = related
    for name, matrix in all_pairs([np.hstack([a, np.full((N, 1), 1e12 + 0.1)]), b], NAMES).items():
        np.testing.assert_allclose(matrix, expected[name], atol=1e-5, err_msg=name)


def test_huge_integers():
    whole = np.random.default_rng(0).integers(0, 9, (N, D))
    expected = all_pairs([whole, whole**2], NAMES)
    for name, matrix in all_pairs([whole + 2**60, whole**2 - 2**62], NAMES).items():
        np.testing.assert_allclose(matrix, expected[name], atol=1e-5, err_msg=name)


def test_float64_arrays_of_jax():
    a = normals()
    with jax.enable_x64(True):
        shifted = jnp.asarray(a + 1e7)
        assert shifted.dtype == jnp.float64
        assert mutual_knn(a, shifted) == 1


def test_measures_that_shifts_of_columns_change(related):
    a, b = related
    np.testing.assert_allclose(
        cca((a + 3) * 1e200, b - 2, centered=False), cca(a + 3, b - 2, centered=False), atol=1e-5
    )
    bases = [np.linalg.qr(x)[0] for x in (a + 3, b - 2)]
    cosines = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
    np.testing.assert_allclose(cca(a + 3, b - 2, centered=False), cosines.mean(), atol=1e-5)
    by_rows = {"correlation": "pearson", "distance": "correlation"}
    np.testing.assert_allclose(rsa(a + 1e8, b, **by_rows), rsa(a, b, **by_rows), atol=1e-5)
    row_scales = np.logspace(-100, 100, N)[:, None]
    np.testing.assert_allclose(rsa(a * row_scales, b, **by_rows), rsa(a, b, **by_rows), atol=1e-5)
    shifted = a + [5, 0, 0, 0]
    exact = [np.corrcoef(x)[np.triu_indices(N, 1)] for x in (shifted, b)]
    np.testing.assert_allclose(rsa(shifted, b, **by_rows), np.corrcoef(*exact)[0, 1], atol=1e-5)


def masked():
    return np.ma.masked_greater(normals(), 2)


@pytest.mark.parametrize(
    "values", [masked(), list(masked()), np.ma.stack([masked(), masked()])], ids=["2", "list", "3"]
)
def test_masked_entries_are_refused(values):
    if np.ndim(values) == 2:
        with pytest.raises(ValueError, match="b must be an array without masked entries"):
            linear_cka(normals(), values)
        with pytest.raises(ValueError, match=r"representations\[1\] must be an array without masked entries"):
            align([normals(), values])
    else:
        with pytest.raises(ValueError, match="representations must be an array without masked entries"):
            align(values)


def test_nothing_masked(related):
    a, b = related
    np.testing.assert_array_equal(linear_cka(np.ma.array(a), b), linear_cka(a, b))


def labels(order=None, name="s"):
    names = np.array([f"{name}{i}" for i in range(N)])
    return names if order is None else names[order]


SHUFFLED = np.random.default_rng(0).permutation(N)
FRAME = pd.DataFrame(normals(), index=labels())
REFUSED = {
    "another order": (FRAME, FRAME.iloc[SHUFFLED], f"'s{SHUFFLED[0]}' for 's0' in row 0"),
    "other labels": (FRAME, FRAME.set_axis(labels(name="t")), "'t0' for 's0' in row 0"),
    "another order of numbers": (pd.DataFrame(normals()), pd.DataFrame(normals()).iloc[::-1], "59 for 0 in row 0"),
    "labels and numbers": (FRAME, FRAME.reset_index(drop=True), "0 for 's0' in row 0"),
    "data arrays": (
        xr.DataArray(normals(), dims=("probe", "unit"), coords={"probe": labels()}),
        xr.DataArray(normals(), dims=("probe", "unit"), coords={"probe": labels(SHUFFLED)}),
        f"'s{SHUFFLED[0]}' for 's0' in row 0",
    ),
    "a frame and a data array": (
        FRAME,
        xr.DataArray(normals(), dims=("probe", "unit"), coords={"probe": labels(SHUFFLED)}),
        f"'s{SHUFFLED[0]}' for 's0' in row 0",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_row_labels_are_refused(kind):
    a, b, said = REFUSED[kind]
    with pytest.raises(ValueError, match="b must be of the same row labels as a, in the same order") as error:
        linear_cka(a, b)
    assert said in str(error.value)
    for compare in (align, all_pairs):
        with pytest.raises(ValueError, match=r"representations\[2\] must be of the same row labels as .*\[1\]"):
            compare([normals(), a, b], ("linear_cka",))


def test_row_labels_that_agree(related):
    a, b = related
    expected = linear_cka(a, b)
    pairs = [
        (pd.DataFrame(a, index=labels()), pd.DataFrame(b, index=labels(), columns=[*"dcba"])),
        (pd.DataFrame(a), pd.DataFrame(b, index=np.arange(N))),
        (pd.DataFrame(a, index=labels()), b),
        (xr.DataArray(a, coords={"dim_0": labels()}, dims=("dim_0", "dim_1")), pd.DataFrame(b, index=labels())),
        (xr.DataArray(a), xr.DataArray(b, coords={"dim_0": labels()}, dims=("dim_0", "dim_1"))),
    ]
    for pair in pairs:
        np.testing.assert_array_equal(linear_cka(*pair), expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (scipy.sparse.csr_array(normals()), "a sparse matrix"),
        (scipy.sparse.coo_matrix(normals()), "a sparse matrix"),
        (BCOO.fromdense(jnp.ones((N, D))), "dtype.'O'."),
        ([[1.0, 2.0], [3.0], [4.0]], "a ragged sequence"),
        (np.full((N, D), None), "dtype.'O'."),
        (normals().astype(complex), "complex128"),
        (normals().astype(str), "dtype"),
        (pd.DataFrame({"x": [*"abc"]}), "dtype"),
        (None, "dtype"),
    ],
)
def test_what_is_no_array_is_refused_by_name(values, message):
    with pytest.raises(ValueError, match=f"b must be a real array of shape .N, D.*{message}"):
        inputs.pair(normals(), values, 1)


def test_tensors_of_torch(related):
    torch = pytest.importorskip("torch")
    a, b = related
    expected = linear_cka(a, b)
    tensor = torch.tensor(b)
    for given in (tensor, tensor.float(), torch.tensor(b, requires_grad=True), tensor.T.contiguous().T):
        np.testing.assert_allclose(linear_cka(a, given), expected, atol=1e-6)
    rounded = tensor.bfloat16()
    np.testing.assert_array_equal(linear_cka(a, rounded), linear_cka(a, rounded.float().numpy()))
    assert mutual_knn(a, torch.tensor(a) + 1e7) == 1
    found = align({"a": a, "b": torch.nn.Parameter(tensor)}, ("linear_cka",))
    np.testing.assert_allclose(found["linear_cka"][0, 1], expected, atol=1e-6)
    stack = torch.stack([torch.tensor(a), tensor]).requires_grad_()
    np.testing.assert_allclose(align(stack, ("linear_cka",))["linear_cka"][0, 1], expected, atol=1e-6)
    for refused in (tensor.to_sparse(), torch.ones(N, D, device="meta"), tensor.to(torch.complex64)):
        with pytest.raises(ValueError, match="b must be a real array of shape"):
            linear_cka(a, refused)


def clusters(spread, dtype=np.float64):
    """Ten clusters of this spread, at distances of order one."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(10, 3))[rng.integers(0, 10, 300)] + spread * rng.normal(size=(300, 3))).astype(dtype)


def test_neighbours_nearer_than_float32_can_tell_apart_are_warned_of():
    near, far = clusters(1e-6), normals(1, 300)
    with pytest.warns(DegenerateRepresentationWarning, match="near: float32 does not hold the distances between nea"):
        align({"far": far, "near": near}, ("information_imbalance",))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # Wide enough, no ranks, already rounded, or the same before.
        align([far, clusters(1e-3)], ("information_imbalance",))
        align([far, near], ("linear_cka",))
        align([far, np.float32(clusters(1e-3)).astype(np.float64)], ("information_imbalance",))
    with pytest.warns(DegenerateRepresentationWarning) as record:
        align([far, clusters(0) + 0.1], ("information_imbalance",))
    assert "float32" not in str(record[0].message)


def test_what_is_traced(related):
    a, b = (jnp.asarray(x, jnp.float32) for x in related)
    np.testing.assert_allclose(jax.jit(linear_cka)(a, b), linear_cka(a, b), atol=1e-6)
    whole = jnp.arange(N * D).reshape(N, D)
    np.testing.assert_allclose(jax.jit(linear_cka)(whole, b), linear_cka(whole, b), atol=1e-6)


def test_arrays_in_single_precision_are_not_copied():
    points = jnp.asarray(normals(), jnp.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert inputs.representation("a", points) is points
