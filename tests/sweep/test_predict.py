import dataclasses

import numpy as np
import pytest
from scipy.stats import t as student_t

import jaxalign
from jaxalign import (
    MLP,
    GradientDescent,
    GradientFlow,
    ImageTask,
    LinearNetwork,
    LinearTeacher,
    MinNorm,
    PowerLaw,
    Ridge,
    SweepConfig,
    TunedRidge,
    compare,
    predict,
    theory,
)

MEASURES = ("cce", "information_imbalance", "linear_cka")
CONFIG = SweepConfig(
    task=LinearTeacher(dim=20),
    networks=(LinearNetwork(4), LinearNetwork(5, Ridge(0.1)), LinearNetwork(6, GradientFlow(3.0))),
    noise=(0.5, 5.0),
    n_train=(40, 10, 20),
    members=3,
    replicates=3,
    probes=50,
    metrics=("cce", "linear_cka"),
)
SNR = np.array(CONFIG.noise)[:, None]
ALPHA = np.array(CONFIG.n_train) / 20


def replace(**changes):
    return dataclasses.replace(CONFIG, **changes)


@pytest.fixture(scope="module")
def dataset():
    return jaxalign.run_sweep(CONFIG, progress=False)


@pytest.mark.parametrize("shared", [True, False])
def test_it_is_the_theory_on_the_grid(shared):
    predicted = predict(replace(shared_inputs=shared))
    for i, network in enumerate(CONFIG.networks):
        options = {"filter": network.solver, "dim": 20 if i == 0 else None}
        rho = theory.overlap(ALPHA, SNR, shared_inputs=shared, **options)
        error = theory.generalization_error(ALPHA, SNR, **options)
        at = predicted.isel(network_a=i, network_b=i)
        np.testing.assert_allclose(predicted["test_error"][i], error, rtol=1e-12)
        np.testing.assert_allclose(at["overlap"], rho, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(at["linear_cka"], rho**2, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(at["cce"], theory.conditional_copula_entropy(rho, n_probes=50), rtol=1e-9)
        np.testing.assert_allclose(at["information_imbalance"], theory.information_imbalance(rho, n_probes=50))
    assert predicted.attrs["no_theory"] == []


def test_it_has_the_coordinates_of_the_summary(dataset):
    predicted, summary = predict(CONFIG), jaxalign.summarize(dataset)
    for name in ("test_error", "cce", "linear_cka"):
        assert predicted[name].dims == summary[name].dims
        for coordinate in summary[name].dims:
            np.testing.assert_array_equal(predicted[coordinate], summary[coordinate])
    np.testing.assert_array_equal(predicted["alpha"], summary["alpha"])
    assert predicted.attrs["config"] == dataset.attrs["config"]


def test_two_filters_without_a_difference_are_one():
    networks = (LinearNetwork(4, Ridge(0.3)), LinearNetwork(5, Ridge(0.3)))
    for shared in (True, False):
        overlap = predict(replace(networks=networks, shared_inputs=shared))["overlap"].values
        for pair in ((0, 1), (1, 0), (1, 1)):
            np.testing.assert_allclose(overlap[pair], overlap[0, 0], rtol=1e-12)


@pytest.mark.parametrize("shared", [True, False])
def test_two_filters_follow_a_simulation(shared):
    d, n, snr = 150, 100, 2.0
    networks = (LinearNetwork(1), LinearNetwork(1, Ridge(0.5)))
    task = LinearTeacher(dim=d)
    config = SweepConfig(task, networks, noise=(snr,), n_train=(n,), shared_inputs=shared)
    rng = np.random.default_rng(0)
    cosines = []
    for _ in range(60):
        beta = rng.standard_normal(d) / np.sqrt(d)
        x, z = rng.standard_normal((2, n, d))
        z = x if shared else z
        y, y2 = (inputs @ beta + rng.standard_normal(n) / np.sqrt(snr) for inputs in (x, z))
        a = np.linalg.pinv(x) @ y
        b = np.linalg.solve(z.T @ z / n + 0.5 * np.eye(d), z.T @ y2 / n)
        cosines.append(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    error = np.std(cosines, ddof=1) / np.sqrt(60)
    assert abs(np.mean(cosines) - float(predict(config)["overlap"][0, 1, 0, 0])) < 3.5 * error + 2.0 / d


@pytest.mark.parametrize(
    ("dim", "outputs", "n", "linear_cka", "cce", "information_imbalance"),
    [(100, 10, 120, 0.363, -0.245, 0.616), (250, 20, 75, 0.363, -0.350, 0.545)],
)
def test_several_outputs_are_sampled_at_the_size_of_the_sweep(dim, outputs, n, linear_cka, cce, information_imbalance):
    # What sweeps showed, with standard errors of 0.011 to 0.02; the limit of many dimensions has a CKA below 0.07.
    task, network = LinearTeacher(dim, outputs), LinearNetwork(outputs)
    predicted = predict(SweepConfig(task, (network,), noise=(0.5,), n_train=(n,), probes=400))
    measured = {"linear_cka": linear_cka, "cce": cce, "information_imbalance": information_imbalance}
    for name, expected in measured.items():
        assert 0 < float(predicted[f"{name}_stderr"].squeeze()) < 0.006
        assert abs(float(predicted[name].squeeze()) - expected) < 0.025
    assert float(predicted["test_error"].squeeze()) == pytest.approx(theory.generalization_error(n / dim, 0.5, dim=dim))


SEVERAL = SweepConfig(
    task=LinearTeacher(dim=20, outputs=4, strengths=(1.2, 0.9, 0.6, 0.3)),
    networks=(LinearNetwork(4, Ridge(0.1)), MLP(3), LinearNetwork(2)),
    noise=(0.5, np.inf),
    n_train=(10, 20, 30),
    members=4,
    replicates=8,
    probes=50,
)


def test_what_is_known_of_several_outputs_is_exact():
    predicted = predict(SEVERAL, draws=8)
    assert predicted.attrs["no_theory"] == ["MLP(hidden=3, activation='relu') is not a LinearNetwork"]
    assert np.isnan(predicted["cce"][1]).all() and np.isfinite(predicted["linear_cka"][[0, 2]][:, [0, 2]]).all()
    for name in ("overlap", "linear_cka"):
        np.testing.assert_allclose(predicted[name][0, 2], predicted[name][2, 0], rtol=1e-5)
    # Two hidden units say less of four than four of two.
    assert np.all(predicted["information_imbalance"][2, 0, 0] > predicted["information_imbalance"][0, 2, 0])
    # Without noise networks that share their inputs are the same.
    np.testing.assert_allclose(predicted["cce"][2, 2, 1], -np.log(49), rtol=1e-6)
    np.testing.assert_allclose(predicted["linear_cka"][0, 0, 1], 1.0, rtol=1e-5)
    # A narrow layer loses at least the weakest outputs, and has no finite error at the threshold.
    b = SEVERAL.task.singular_values
    error = predicted["test_error"][2]
    np.testing.assert_allclose(error[1, 2], np.sum(b[2:] ** 2) / 4, rtol=0.1)
    assert np.isinf(error[0, 1]) and np.all(predicted["test_error_stderr"][0] > 0)
    wide = predict(dataclasses.replace(SEVERAL, networks=(LinearNetwork(9), LinearNetwork(4))), draws=8)
    np.testing.assert_allclose(wide["cce"][0, 0], wide["cce"][1, 1], rtol=1e-5)
    np.testing.assert_allclose(
        wide["test_error"][0, 0], theory.generalization_error(np.array([0.5, 1, 1.5]), 0.5, dim=20)
    )


def test_the_layer_of_several_outputs_counts():
    hidden, output = (predict(dataclasses.replace(SEVERAL, layer=layer), draws=8) for layer in ("hidden", "output"))
    np.testing.assert_allclose(hidden["overlap"], output["overlap"])
    np.testing.assert_allclose(hidden["test_error"], output["test_error"])
    # In the outputs the strong modes outweigh the others by the square of what they do in the hidden layer.
    assert np.all(np.abs(output["linear_cka"] - hidden["linear_cka"])[0, 0, 0] > 0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"shared_inputs": False},
        {"layer": "output"},
        {"task": LinearTeacher(20, 4, spectrum=PowerLaw(1.0))},
        {"task": LinearTeacher(20, 4, spectrum=PowerLaw(1.0)), "shared_inputs": False},
        {"task": LinearTeacher(20, spectrum=PowerLaw(1.0)), "networks": (LinearNetwork(4, GradientFlow(3.0)),)},
        {"probes": 12},
    ],
)
def test_sweeps_of_several_outputs_follow_it(changes):
    networks = (LinearNetwork(4, Ridge(0.1)), LinearNetwork(2), LinearNetwork(3, GradientFlow(3.0)))
    options = {"networks": networks, "noise": (0.5, 5.0), "n_train": (10, 17, 40), "replicates": 30}
    config = dataclasses.replace(SEVERAL, metrics=MEASURES, **options | changes)
    compared = compare(jaxalign.run_sweep(config, progress=False))
    for name in ("test_error", *MEASURES):
        z = compared[f"{name}_z"].values
        # Student's t with 29 degrees of freedom beyond 4.5 has a probability of 1e-4.
        assert np.isfinite(z).all() and np.abs(z).max() < 4.5, (name, z)
    assert compared.attrs["points_within_95"] > 0.85 * compared.attrs["points"]


@pytest.mark.slow
def test_the_bias_of_few_probes_is_expected():
    config = replace(networks=(LinearNetwork(1),), n_train=(60,), noise=(50.0,), replicates=400, probes=20)
    compared = compare(jaxalign.run_sweep(config, progress=False))
    assert abs(compared["cce_z"].squeeze()) < 3.5
    # The law of the rank alone is far off.
    assert abs(compare(jaxalign.run_sweep(config, progress=False), predict(config))["cce_z"].squeeze()) > 4.5


def test_inputs_with_a_covariance():
    task = LinearTeacher(dim=20, spectrum=PowerLaw(1.0), coefficients="leading")
    networks = (LinearNetwork(4), LinearNetwork(4, Ridge(0.1)), LinearNetwork(4, TunedRidge()))
    predicted = predict(replace(task=task, networks=networks, n_train=(10, 60)))
    eigenvalues = task.eigenvalues
    beta = np.eye(20)[0] / np.sqrt(eigenvalues[0])
    for k, snr in enumerate(CONFIG.noise):
        m = theory.covariance_moments(eigenvalues, beta, [10, 60], 1 / snr, filter=Ridge(0.1))
        np.testing.assert_allclose(predicted["overlap"][1, 1, k], m.overlap_shared, rtol=1e-5)
        np.testing.assert_allclose(predicted["test_error"][1, k], m.error, rtol=1e-5)
        m = theory.covariance_moments(eigenvalues, beta, 60, 1 / snr, filter=Ridge(1 / (snr * 3.0)))
        np.testing.assert_allclose(predicted["overlap"][2, 2, k, 1], m.overlap_shared, rtol=1e-5)
        m = theory.covariance_moments(eigenvalues, beta, 10, 1 / snr)
        np.testing.assert_allclose(predicted["test_error"][0, k, 0], m.error, rtol=1e-5)
        np.testing.assert_allclose(predicted["test_error"][0, k, 1], 20 / 39 / snr, rtol=1e-5)
    assert np.isnan(predicted["overlap"][0, 1]).all()
    drawn = predict(replace(task=LinearTeacher(dim=20, spectrum=PowerLaw(1.0)), networks=networks[1:2]))
    assert np.isfinite(drawn["cce"]).all()


def test_filters_without_a_limit_are_sampled():
    task = LinearTeacher(dim=20, spectrum=PowerLaw(1.0))
    config = replace(task=task, networks=(LinearNetwork(4, GradientFlow(1.0)), LinearNetwork(4, Ridge(0.1))))
    predicted = predict(config)
    assert all(np.isfinite(predicted[name]).all() for name in ("test_error", "overlap", *MEASURES))
    assert "cce_stderr" in predicted
    limit = predict(replace(task=task, networks=config.networks[1:]))
    assert "cce_stderr" not in limit
    for name in ("test_error", "overlap"):
        at = (1,) * (predicted[name].ndim - 2)
        np.testing.assert_allclose(predicted[name][(*at, 1)], limit[name][(*(0 for _ in at), 1)], atol=0.1)


def test_limits():
    clean = predict(replace(noise=(np.inf,)))
    np.testing.assert_allclose(clean["overlap"][0, 0], 1.0)
    np.testing.assert_allclose(clean["cce"][0, 0], -np.log(49), rtol=1e-6)
    np.testing.assert_allclose(clean["test_error"][0, 0], [0.0, 0.5, 0.0])
    threshold = predict(CONFIG).sel(n_train=20).isel(network=0, network_a=0, network_b=0)
    assert np.isinf(threshold["test_error"]).all() and np.all(threshold["overlap"] == 0) and np.all(threshold.cce == 0)


def test_networks_without_a_theory_are_left_out():
    networks = (MLP(4), LinearNetwork(4), LinearNetwork(4, None))
    predicted = predict(replace(networks=networks))
    assert np.isnan(predicted["test_error"][[0, 2]]).all() and np.isnan(predicted["cce"][0]).all()
    assert np.isfinite(predicted["cce"][1, 1]).all()
    assert predicted.attrs["no_theory"] == [
        "MLP(hidden=4, activation='relu') is not a LinearNetwork",
        "LinearNetwork(hidden=4, solver=None) is trained: its hidden layer depends on its initialization",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": (MLP(4),)}, r"networks must be solved linear networks.*MLP\(.*\) is not a LinearNetwork"),
        ({"networks": (LinearNetwork(4, None),)}, "networks must be .*solver=None\\) is trained"),
    ],
)
def test_what_has_no_theory_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        predict(replace(**changes))


def test_other_refusals():
    digits = SweepConfig(task=ImageTask("digits"), networks=(MLP(4),), noise=(0.1,), n_train=(20,), probes=100)
    with pytest.raises(ValueError, match="task must be a LinearTeacher.*got ImageTask"):
        predict(digits)
    with pytest.raises(ValueError, match="task must be a LinearTeacher"):
        predict("quickstart")
    with pytest.raises(ValueError, match="config must be a SweepConfig or the name of a preset, got None"):
        predict(None)


def test_compare_counts_standard_errors(dataset):
    predicted = predict(CONFIG)
    compared = compare(dataset, predicted)
    off = ~np.eye(3, dtype=bool)
    pairs = dataset["cce"].isel(network_a=1, network_b=0).transpose("snr", "n_train", "replicate", "member_a", ...)
    errors = dataset["test_error"].isel(network=1).transpose("snr", "n_train", "replicate", "member")
    for name, values, where in (
        ("test_error", errors.values, {"network": 1}),
        ("cce", pairs.values[..., off], {"network_a": 1, "network_b": 0}),
    ):
        means = values.mean(-1, dtype=float)
        expected = predicted[name].isel(where).values
        z = (means.mean(-1) - expected) / (means.std(-1, ddof=1) / np.sqrt(3))
        np.testing.assert_allclose(compared[f"{name}_z"].isel(where), z, rtol=1e-3, atol=1e-3)
        inside = np.abs(z) <= student_t.ppf(0.975, 2)
        np.testing.assert_array_equal(compared[f"{name}_within_95"].isel(where), inside)
        assert np.all(compared[f"{name}_replicates"] == 3)
    # MinNorm at n_train = dim has no finite error to compare with.
    assert np.isnan(compared["test_error_z"].sel(n_train=20)[0]).all()
    z = [compared[name] for name in compared if name.endswith("_z")]
    assert compared.attrs["points"] == sum(int(np.isfinite(v).sum()) for v in z) > 0
    within = [compared[name] for name in compared if name.endswith("_within_95")]
    assert compared.attrs["points_within_95"] == sum(int(v.sum()) for v in within)
    assert "information_imbalance_z" not in compared
    np.testing.assert_array_equal(compare(dataset)["cce_z"], compare(dataset, predict(CONFIG, draws=256))["cce_z"])


def test_compare_takes_what_is_in_common(dataset):
    other = predict(replace(noise=(5.0, 1.0), n_train=(10, 30, 40)))
    compared = compare(dataset, other)
    assert compared["snr"].values.tolist() == [5.0] and sorted(compared["n_train"].values) == [10, 40]
    everything = compare(dataset, predict(CONFIG))["cce_z"]
    np.testing.assert_array_equal(compared["cce_z"].sortby("n_train"), everything.sel(snr=[5.0], n_train=[10, 40]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda ds: compare(ds.isel(replicate=[0])), "dataset must be of at least 2 replicates.*got 1"),
        (lambda ds: compare(None), "dataset must be the result of run_sweep"),
        (lambda ds: compare(ds, 3), "theory must be None or a Dataset"),
        (lambda ds: compare(ds, predict(CONFIG)[["overlap"]]), "theory must be a Dataset with one of test_error"),
        (lambda ds: compare(ds, predict(replace(noise=(3.0,)))), "theory must be of networks, noise levels and sample"),
    ],
)
def test_bad_comparisons_are_named(dataset, call, message):
    with pytest.raises(ValueError, match=message):
        call(dataset)


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_solved_sweeps_follow_it(shared):
    networks = tuple(LinearNetwork(1, f) for f in (MinNorm(), Ridge(0.1), TunedRidge(), GradientDescent(0.2, 50)))
    config = SweepConfig(
        task=LinearTeacher(dim=200),
        networks=networks,
        noise=(5.0,),
        n_train=(50, 100, 400),
        members=2,
        replicates=20,
        probes=500,
        shared_inputs=shared,
        metrics=("cce", "information_imbalance"),
    )
    compared = compare(jaxalign.run_sweep(config, progress=False), predict(config))
    for name in ("test_error_z", "cce_z", "information_imbalance_z"):
        z = compared[name].values
        # Student's t with 19 degrees of freedom beyond 4.5 has a probability of 2e-4. All networks share their draws,
        # so that the points are far from independent.
        assert np.isfinite(z).all() and np.abs(z).max() < 4.5


FINITE = SweepConfig(
    task=LinearTeacher(dim=12),
    networks=(LinearNetwork(2), LinearNetwork(2, solver=Ridge(0.3))),
    noise=(0.5, 4.0),
    n_train=(6, 12, 30),
    members=6,
    replicates=60,
    probes=250,
    metrics=MEASURES,
)


@pytest.mark.slow
@pytest.mark.parametrize("shared_inputs", [True, False])
def test_draws_are_the_theory_at_the_dimensions_of_the_sweep(shared_inputs):
    config = dataclasses.replace(FINITE, shared_inputs=shared_inputs)
    dataset = jaxalign.run_sweep(config, progress=False)
    compared = jaxalign.compare(dataset, predict(config, draws=400))
    for name in MEASURES:
        z = compared[f"{name}_z"].values
        assert np.isfinite(z).all() and np.abs(z).max() < 4.5, name
    z = compared["test_error_z"].values
    assert np.isnan(z[0, :, 1]).all() and np.isfinite(np.delete(z, 1, -1)).all() and np.nanmax(np.abs(z)) < 4.5
    # The limit of many dimensions is not what twelve show.
    assert np.abs(jaxalign.compare(dataset, predict(config))["cce_z"]).max() > 5


def test_a_sampled_theory_has_standard_errors():
    few, many = (predict(FINITE, draws=draws) for draws in (20, 320))
    for name in ("overlap", *MEASURES):
        assert few[f"{name}_stderr"].dims == few[name].dims
        ratio = few[f"{name}_stderr"] / many[f"{name}_stderr"]
        assert 2 < float(ratio.median()) < 8
    assert np.all(few["test_error_stderr"][0] == 0) and np.all(few["test_error_stderr"][1] > 0)


@pytest.mark.parametrize("draws", [1, 2.5, True, "many"])
def test_bad_draws_are_named(draws):
    with pytest.raises(ValueError, match="draws must be an integer of at least 2, got"):
        predict(FINITE, draws=draws)
