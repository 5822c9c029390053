import functools
import inspect

import jax
import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxalign.alignment import shape
from jaxalign.alignment.shape import cca, linear_regression, procrustes, pwcca, svcca

# 60% keeps the strong directions of `correlated`: two or three.
svcca_60 = functools.partial(svcca, variance=0.6)
MEASURES = {
    "procrustes": procrustes,
    "procrustes distance": functools.partial(procrustes, angular=False),
    "cca": cca,
    "cca squared": functools.partial(cca, squared=True),
    "svcca": svcca_60,
    "pwcca": pwcca,
    "linear regression": linear_regression,
}
FORMS = {
    "procrustes": shape.PROCRUSTES,
    "procrustes distance": shape.PROCRUSTES_DISTANCE,
    "cca": shape.CCA,
    "cca squared": shape.CCA_SQUARED,
    "svcca": shape.svcca_form(0.6),
    "pwcca": shape.PWCCA,
    "linear regression": shape.LINEAR_REGRESSION,
}
DISTANCES = ("procrustes", "procrustes distance")
DIRECTED = ("pwcca", "linear regression")
N, WIDTHS = 101, (5, 8)


# All measures in one program, and few shapes, because a compilation takes seconds.
@jax.jit
def together(a, b):
    return {name: measure(a, b) for name, measure in MEASURES.items()}


# With products by the YNN library this program does not always end (jax-ml/jax issue 39257).
batched = jax.jit(jax.vmap(together), compiler_options={"xla_cpu_experimental_ynn_fusion_type": ""})
compare = jax.jit(lambda form, a, b: form.compare(a, b), static_argnums=0)
permute = jax.jit(lambda permute, state, order: permute(state, order), static_argnums=0)
jitted = jax.jit(lambda embed, x: embed(x, 1), static_argnums=0)


def embed(form, x):
    return jitted(form.embed, np.asarray(x, np.float32))


def correlated(n=N, widths=WIDTHS, seed=0, noise=1.0):
    """Two views of the same latent points, of decaying spectrum, float32."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(n, 5)) * [3, 2, 1, 0.7, 0.5]
    views = [latent @ rng.normal(size=(5, d)) + noise * rng.normal(size=(n, d)) for d in widths]
    return tuple(x.astype(np.float32) for x in views)


def centred(x):
    x = np.asarray(x, np.float64)
    return x - x.mean(0)


def canonical_correlations(a, b):
    """Cosines of the principal angles, min(rank) of them."""
    return np.cos(scipy.linalg.subspace_angles(a, b))


def principal_components(x, variance):
    values, vectors = np.linalg.eigh(x.T @ x)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = 1 + np.argmax(np.cumsum(values) / values.sum() >= variance)
    return x @ vectors[:, :kept]


def procrustes_oracle(a, b):
    """scipy's rotation of the unit-norm shapes, widened to the same width."""
    width = max(a.shape[1], b.shape[1])
    a, b = (np.pad(x / np.linalg.norm(x), [(0, 0), (0, width - x.shape[1])]) for x in (a, b))
    rotation, _ = scipy.linalg.orthogonal_procrustes(a, b)
    return np.linalg.norm(a @ rotation - b)


def pwcca_oracle(a, b):
    """Morcos et al. 2018, section 3.2, with the variates from the generalized eigenproblem of CCA."""
    x, y = (z @ np.linalg.svd(z, full_matrices=False)[2][: np.linalg.matrix_rank(z)].T for z in (a, b))
    explained = x.T @ y @ np.linalg.solve(y.T @ y, y.T @ x)
    squares, directions = scipy.linalg.eigh(explained, x.T @ x)
    r = min(x.shape[1], y.shape[1])
    squares, variates = squares[::-1][:r], x @ directions[:, ::-1][:, :r]
    alpha = np.abs((variates / np.linalg.norm(variates, axis=0)).T @ a).sum(1)
    return np.sum(alpha * np.sqrt(np.clip(squares, 0, 1))) / alpha.sum()


def linear_regression_oracle(a, b):
    fit = a @ np.linalg.lstsq(a, b, rcond=None)[0]
    return 1 - np.sum((b - fit) ** 2) / np.sum(b**2)


ORACLES = {
    "procrustes": lambda a, b: 2 * np.arcsin(procrustes_oracle(a, b) / 2),
    "procrustes distance": procrustes_oracle,
    "cca": lambda a, b: canonical_correlations(a, b).mean(),
    "cca squared": lambda a, b: np.mean(canonical_correlations(a, b) ** 2),
    "svcca": lambda a, b: canonical_correlations(principal_components(a, 0.6), principal_components(b, 0.6)).mean(),
    "pwcca": pwcca_oracle,
    "linear regression": linear_regression_oracle,
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("offset", [0, 1000])
def test_equals_the_oracle(name, offset):
    a, b = (x + np.float32(offset) for x in correlated())
    np.testing.assert_allclose(MEASURES[name](a, b), ORACLES[name](centred(a), centred(b)), rtol=1e-4)
    a, b = (x + np.float32(offset) for x in correlated(37, (8, 3)))
    np.testing.assert_allclose(together(a, b)[name], ORACLES[name](centred(a), centred(b)), rtol=1e-4)


def test_published_value():
    """google-research/representation_similarity, Demo.ipynb: 0.54312 for columns that are not centred."""
    state = np.random.RandomState(1337)
    a = state.randn(100, 10)
    b = state.randn(100, 10) + a
    np.testing.assert_allclose(cca(a, b, squared=True, centered=False), 0.54312, atol=5e-6)
    expected = np.mean(canonical_correlations(a, b))
    np.testing.assert_allclose(cca(a, b, centered=False), expected, rtol=1e-5)
    np.testing.assert_allclose(cca(1e30 * a, 1e-30 * b, centered=False), expected, rtol=1e-5)
    assert abs(cca(a + 10, b, centered=False) - expected) > 0.01


@pytest.mark.parametrize("name", MEASURES)
def test_identical(name):
    a, _ = correlated(widths=(8, 8))
    value = together(a, a)[name]
    if name in DISTANCES:
        assert 0 <= value < 1e-5
    else:
        assert 1 - 1e-5 < value <= 1


def test_procrustes_near_zero():
    """The arc cosine of a float32 resolves no angle below 3e-4."""
    rng = np.random.default_rng(1)
    a, noise = rng.normal(size=(2, N, 8))
    rotation = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    for size in (1e-2, 1e-4):
        b = a @ rotation + size * noise
        expected = ORACLES["procrustes"](centred(a.astype(np.float32)), centred(b.astype(np.float32)))
        np.testing.assert_allclose(together(a, b)["procrustes"], expected, rtol=1e-4, atol=2e-6)


def test_wider_than_probes():
    """Procrustes is defined; of the others those that do not fit everything."""
    a, b = correlated(37, (50, 3))
    forward, backward = together(a, b), together(b, a)
    for name in ("cca", "cca squared", "pwcca"):
        assert np.isnan(forward[name])
        assert np.isnan(backward[name])
    assert np.isnan(forward["linear regression"])
    for name in ("procrustes", "svcca", "linear regression"):
        np.testing.assert_allclose(backward[name], ORACLES[name](centred(b), centred(a)), rtol=1e-4)
    np.testing.assert_allclose(forward["procrustes"], backward["procrustes"], rtol=1e-5)
    np.testing.assert_allclose(forward["svcca"], backward["svcca"], rtol=1e-5)
    state = embed(shape.PROCRUSTES, a)
    assert state.u.shape == (37, 37)
    other = a[:, ::-1] + a
    value = compare(shape.PROCRUSTES, state, embed(shape.PROCRUSTES, other))
    np.testing.assert_allclose(value, ORACLES["procrustes"](centred(a), centred(other)), rtol=1e-4)


def test_the_rank_from_which_any_representation_is_fitted():
    """N = 12: centred columns span at most 11 dimensions, columns as they are 12."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(12, 12)), rng.normal(size=(12, 12)) * (np.arange(12) < 2)
    for rank in (10, 11, 12):
        x = a * (np.arange(12) < rank)
        forward, backward = together(x, b), together(b, x)
        for name in ("cca", "cca squared", "pwcca", "linear regression"):
            assert np.isfinite(forward[name]) == (rank < 11)
            assert np.isfinite(backward[name]) == (rank < 11 or name == "linear regression")
        for name in ("procrustes", "svcca"):
            assert np.isfinite(forward[name])
        assert np.isfinite(cca(x, b, centered=False)) == (rank < 12)
    state = embed(shape.SVCCA, a * (np.arange(12) < 11))
    assert np.isnan(compare(shape.svcca_form(1.0), state, embed(shape.SVCCA, b)))


@pytest.mark.parametrize("name", MEASURES)
def test_rank_deficient(name):
    """Duplicated columns: as exact arithmetic has it."""
    a, b = correlated()
    a[:, 4], b[:, 5:] = a[:, 0], b[:, :3]
    np.testing.assert_allclose(together(a, b)[name], ORACLES[name](centred(a), centred(b)), rtol=1e-4)


def test_svcca_keeps_the_smallest_number_that_reaches_the_variance():
    """Orthogonal columns of variances 16 : 4 : 1 : 1e-10, the first reached by 16/21 = 0.762 and two by 0.952."""
    rng = np.random.default_rng(7)
    basis = np.linalg.qr(centred(rng.normal(size=(N, 8))))[0]
    a = basis[:, :4] * [4, 2, 1, 1e-5]
    # The i-th column has the correlation of its place with the i-th column of A, the first ones the largest.
    rho = np.array([0.9, 0.5, 0.2, 0.1])
    b = (basis[:, :4] * rho + basis[:, 4:] * np.sqrt(1 - rho**2)) * [4, 2, 1, 1e-5]
    states = [embed(shape.SVCCA, x) for x in (a, b)]
    for variance, kept in ((0.76, 1), (0.77, 2), (0.95, 2), (0.96, 3)):
        value = compare(shape.svcca_form(variance), *states)
        np.testing.assert_allclose(value, rho[:kept].mean(), atol=1e-4)
    a[:, 3] *= 100
    b[:, 3] *= 100
    states = [embed(shape.SVCCA, x) for x in (a, b)]
    np.testing.assert_allclose(compare(shape.svcca_form(1.0), *states), rho.mean(), atol=1e-4)


def test_forms_are_cached():
    assert shape.svcca_form(0.99) is shape.SVCCA
    assert inspect.signature(svcca).parameters["variance"].default == 0.99


ROTATION = {"rotation", "scale", "tiny", "huge", "translation"}
INVARIANCES = {  # under maps of A, of B
    "procrustes": (ROTATION, ROTATION),
    "procrustes distance": (ROTATION, ROTATION),
    "cca": (ROTATION | {"linear"}, ROTATION | {"linear"}),
    "cca squared": (ROTATION | {"linear"}, ROTATION | {"linear"}),
    "svcca": (ROTATION, ROTATION),
    "pwcca": (ROTATION - {"rotation"}, ROTATION | {"linear"}),
    "linear regression": (ROTATION | {"linear"}, ROTATION),
}
TRANSFORMS = {
    "rotation": lambda x, rng: x @ np.linalg.qr(rng.normal(size=(x.shape[1],) * 2))[0],
    "scale": lambda x, rng: 1e-3 * x,
    "tiny": lambda x, rng: 1e-30 * x,
    "huge": lambda x, rng: 1e30 * x,
    "translation": lambda x, rng: x + 1e3 * rng.normal(size=x.shape[1]),
    "linear": lambda x, rng: x @ rng.normal(size=(x.shape[1],) * 2) * np.linspace(1, 5, x.shape[1]),
}


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_invariance(name, transform):
    rng = np.random.default_rng(2)
    a, b = correlated()
    change, expected = TRANSFORMS[transform], float(together(a, b)[name])
    of_a, of_b = (transform in invariances for invariances in INVARIANCES[name])
    for value, invariant in ((together(change(a, rng), b), of_a), (together(a, change(b, rng)), of_b)):
        if invariant:
            np.testing.assert_allclose(value[name], expected, atol=3e-4)
        else:
            assert abs(value[name] - expected) > 1e-3


def test_zero_columns():
    a, b = correlated()
    padded = together(*(np.pad(x, [(0, 0), (0, 7)]) for x in (a, b)))
    for name, value in together(a, b).items():
        np.testing.assert_allclose(padded[name], value, rtol=1e-5)


@pytest.mark.parametrize("scale", [1, 300, 1000, 1e6])
def test_columns_of_very_different_scales(scale):
    """The many probes of the first must not hide the other columns either."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(20_000, 20))
    b = a @ rng.normal(size=(20, 20)) * 0.3 + rng.normal(size=a.shape)
    a[:, 0] *= scale
    b[:, 0] *= scale
    a, b = np.float32(a), np.float32(b)
    for measure, name in ((cca, "cca"), (linear_regression, "linear regression")):
        np.testing.assert_allclose(measure(a, b), ORACLES[name](centred(a), centred(b)), atol=1e-5)


def test_many_probes():
    a = np.random.default_rng(0).normal(size=(10**6, 2)).astype(np.float32)
    for value in (cca(a, a), cca(a, a, squared=True), linear_regression(a, a)):
        np.testing.assert_allclose(value, 1, atol=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_symmetry(name):
    a, b = correlated(widths=(8, 8))
    forward, backward = together(a, b)[name], together(b, a)[name]
    if name in DIRECTED:
        assert abs(forward - backward) > 1e-3
    else:
        np.testing.assert_allclose(forward, backward, rtol=1e-5)


def test_independent():
    """Sum of squares pq/(N - 1), regression p/(N - 1): exact for Gaussians, whose subspaces are uniform."""
    a, b = (np.random.default_rng(d).normal(size=(40, N, d)) for d in WIDTHS)
    p, q = WIDTHS
    results = batched(a, b)
    for name, expected in (("cca squared", q / (N - 1)), ("linear regression", p / (N - 1))):
        values = np.asarray(results[name])
        assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / np.sqrt(40)


def test_independent_in_many_dimensions():
    """The mean singular value of a square Gaussian matrix is 8/(3 pi) sqrt(D) for large D (Marchenko & Pastur)."""
    a, b = np.random.default_rng(0).normal(size=(2, 2000, 40))
    expected = 8 / (3 * np.pi) * np.sqrt(40 / 2000)
    values = together(a, b)
    np.testing.assert_allclose(values["cca"], expected, rtol=0.03)
    np.testing.assert_allclose(np.cos(values["procrustes"]), expected, rtol=0.05)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.integers(0, 3), st.integers(1, 3))
def test_small_integers_of_any_rank(seed, rank_a, rank_b):
    """N = 12 probes of few values: ties, dependent and dead columns."""
    rng = np.random.default_rng(seed)
    a, b = (
        (rng.integers(-3, 4, (12, rank)) @ rng.integers(-2, 3, (rank, d))).astype(np.float32)
        for rank, d in ((rank_a, 4), (rank_b, 4))
    )
    ranks = [np.linalg.matrix_rank(centred(x)) for x in (a, b)]
    for name, value in together(a, b).items():
        if min(ranks) == 0:
            assert np.isnan(value)
        elif name in ("svcca", "pwcca"):
            assert 0 <= value <= 1  # without the oracle: tied components, tied variates
        else:
            np.testing.assert_allclose(value, ORACLES[name](centred(a), centred(b)), rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.integers(0, 2**31))
def test_procrustes_is_a_metric(seed):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 12, 4))
    c = a + rng.uniform(0, 2) * b
    values = [together(x, y) for x, y in ((a, b), (a, c), (c, b))]
    for name, largest in (("procrustes", np.pi / 2), ("procrustes distance", np.sqrt(2))):
        ab, ac, cb = (value[name] for value in values)
        assert 0 <= ab <= min(ac + cb + 1e-5, largest + 1e-6)


@pytest.mark.parametrize("name", FORMS)
def test_permuted_state(name):
    form = FORMS[name]
    a, b = correlated()
    order = np.random.default_rng(4).permutation(N).astype(np.int32)
    state, other = embed(form, a), embed(form, b)
    permuted, both = (permute(form.permute, x, order) for x in (state, other))
    np.testing.assert_allclose(compare(form, state, other), together(a, b)[name], rtol=1e-5)
    np.testing.assert_allclose(compare(form, permuted, other), compare(form, embed(form, a[order]), other), rtol=1e-4)
    np.testing.assert_allclose(compare(form, permuted, both), compare(form, state, other), rtol=1e-4)
    assert abs(compare(form, permuted, other) - compare(form, state, other)) > 0.1


def test_jit_and_vmap():
    pairs = [correlated(seed=seed) for seed in range(40)]
    values = batched(*(np.stack(x) for x in zip(*pairs, strict=True)))
    for i in range(3):
        for name, measure in MEASURES.items():
            np.testing.assert_allclose(values[name][i], measure(*pairs[i]), rtol=1e-5)


@pytest.mark.parametrize("name", [*MEASURES, "uncentered"])
def test_undefined(name):
    def measure(a, b):
        return cca(a, b, centered=False) if name == "uncentered" else together(a, b)[name]

    a, b = correlated(widths=(8, 8))
    dead = np.full_like(a, 0.0 if name == "uncentered" else 0.1)
    broken, infinite = a.copy(), a.copy()
    broken[3, 1], infinite[3, 1] = np.nan, np.inf
    for x in (dead, broken, infinite):
        assert np.isnan(measure(x, b))
        assert np.isnan(measure(b, x))
    assert np.isnan(measure(dead, dead))


@pytest.mark.parametrize("name", MEASURES)
def test_bad_input(name):
    for b in (np.zeros((4, 2)), np.zeros((5, 2), complex), np.zeros(5), np.zeros((5, 0))):
        with pytest.raises(ValueError, match="b must be"):
            MEASURES[name](np.zeros((5, 2)), b)


@pytest.mark.parametrize("variance", [0.0, -0.1, 1.1, float("nan")])
def test_bad_variance(variance):
    with pytest.raises(ValueError, match="variance must be a finite number above 0 and at most 1"):
        svcca(np.zeros((5, 2)), np.zeros((5, 2)), variance=variance)
