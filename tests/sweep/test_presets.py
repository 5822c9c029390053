import dataclasses

import pytest

import jaxalign
from jaxalign.networks import n_parameters
from jaxalign.plots import X_AXES
from jaxalign.sweep import run

EVERY = [(name, scale) for name, entry in jaxalign.presets.entries.items() for scale in entry.scales]


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_every_scale_is_a_sweep_that_compares_members(name, scale):
    config = jaxalign.presets(name, scale=scale)
    assert isinstance(config, jaxalign.SweepConfig) and config is jaxalign.presets(name, scale)
    # Error bars over replicates cover all that is drawn; those over members of a single one their noise alone.
    assert config.metrics[0] == "cce" and config.members >= 4 and config.replicates >= 2
    assert len(config.n_train) >= 8 and list(config.n_train) == sorted(config.n_train)
    entry = jaxalign.presets.entries[name]
    assert entry.x in X_AXES and entry.about and "\n" not in entry.about


@pytest.mark.parametrize("name", jaxalign.presets)
def test_a_name_is_the_laptop_scale(name):
    assert jaxalign.presets[name] == jaxalign.presets(name) == jaxalign.presets(name, "laptop")


@pytest.mark.parametrize(("name", "data"), [("figure4", "mnist"), ("figure5", "cifar10")])
def test_figures_4_and_5_are_images_with_label_noise(name, data):
    laptop, paper = (jaxalign.presets(name, scale) for scale in ("laptop", "paper"))
    assert laptop.task == paper.task == jaxalign.ImageTask(data) and set(laptop.noise) <= set(paper.noise)
    assert max(laptop.n_train) < max(paper.n_train) == paper.task.n_train_available
    assert jaxalign.presets.entries[name].x == "n_parameters"


@pytest.mark.parametrize("name", ["figure1", "figure2", "figure3"])
def test_figures_1_to_3_are_regressions_on_both_sides_of_the_threshold(name):
    config, entry = jaxalign.presets[name], jaxalign.presets.entries[name]
    assert isinstance(config.task, jaxalign.LinearTeacher) and config.replicates >= 3
    solved = [network for network in config.networks if isinstance(network, jaxalign.LinearNetwork)]
    assert entry.theory == bool(solved) and entry.between == (len(config.networks) > 1)
    for network in config.networks:
        parameters = n_parameters(network, config.task.input_shape, config.task.n_outputs)
        threshold = config.task.dim if network in solved else parameters
        assert min(config.n_train) <= threshold / 2 and max(config.n_train) >= 4 * threshold
    if entry.theory:
        assert jaxalign.predict(config)["cce"].notnull().any()


def test_the_presets_are_a_mapping():
    assert set(jaxalign.presets) == {"quickstart", *(f"figure{i}" for i in range(1, 6))} and len(jaxalign.presets) == 6
    assert "figure4" in jaxalign.presets and "figure" not in jaxalign.presets


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("quickstart", "paper", r"scale \(of quickstart\) must be one of laptop; got 'paper'"),
        ("figure4", "papr", r"scale \(of figure4\) must be one of laptop, paper; got 'papr' \(did you mean 'paper'"),
        ("figure4", None, r"scale \(of figure4\) must be one of laptop, paper; got None"),
        ("figur4", "paper", r"preset must be one of figure1, .*, quickstart; got 'figur4' \(did you mean"),
    ],
)
def test_bad_input_is_named(name, scale, message):
    with pytest.raises(ValueError, match=message):
        jaxalign.presets(name, scale)


def test_run_sweep_takes_the_laptop_scale(monkeypatch):
    ran = []

    def engine(config, **_):
        ran.append(config)
        raise InterruptedError

    monkeypatch.setattr(run, "Engine", engine)
    with pytest.raises(InterruptedError):
        jaxalign.run_sweep("figure4")
    assert ran == [jaxalign.presets("figure4", "laptop")] and ran[0] != jaxalign.presets("figure4", "paper")


def test_what_is_known_of_a_preset_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        jaxalign.presets.entries["figure4"].x = "n_train"
