import dataclasses
import json

import numpy as np
import pytest
from tiny_sweep import TINY

import jaxalign
from jaxalign import MLP, Training, cli, presets
from jaxalign.sweep.config import from_json, to_json


def printed_configuration(capsys, *arguments):
    assert cli.main(["sweep", *arguments, "--print-config"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_sweep_writes_table_figure_and_store(folder, capsys):
    assert cli.main(["sweep", "quickstart", *TINY]) == 0
    out, err = capsys.readouterr()
    # Two sizes at a noise level have no correlation.
    assert "± is a standard error over 2 replicates" in out and "Spearman" not in out and "(label_noise 0.2)" in out
    assert "cce" in out and "MLP(hidden=12, activation='relu'), 910 parameters" in out and err == ""
    rows = [line for line in out.splitlines() if line.strip().startswith("0.2 ")]
    dataset = jaxalign.load_sweep(folder / "jaxalign-quickstart" / "sweep.zarr")
    summary = jaxalign.summarize(dataset)
    assert len(rows) == 2 and f"{float(summary['test_error'][0, 0, 0]):.4f}" in rows[0]
    assert (folder / "jaxalign-quickstart" / "sweep.png").read_bytes()[:4] == b"\x89PNG"

    assert cli.main(["sweep", "quickstart", "--resume", *TINY]) == 0
    assert cli.main(["sweep", "quickstart", *TINY, "--seed", "3"]) == 2
    assert "another configuration (seed: 0 there, 3 asked for)" in capsys.readouterr().err
    assert np.isfinite(dataset["cce"]).any()


PLAIN = {"metric": "cce", "x": "n_train", "theory": False, "between": False}


@pytest.mark.parametrize(
    ("arguments", "scale", "view", "out"),
    [
        (["quickstart"], "laptop", PLAIN, "jaxalign-quickstart"),
        (["figure1"], "laptop", PLAIN | {"x": "alpha", "theory": True}, "jaxalign-figure1"),
        (["figure3"], "laptop", PLAIN | {"theory": True, "between": True}, "jaxalign-figure3"),
        (["figure3", "--no-theory", "--no-between"], "laptop", PLAIN, "jaxalign-figure3"),
        (["figure4"], "laptop", PLAIN | {"x": "n_parameters"}, "jaxalign-figure4"),
        (["figure4", "--scale", "paper"], "paper", PLAIN | {"x": "n_parameters"}, "jaxalign-figure4-paper"),
        (["figure4", "--x", "n_train", "--out", "there"], "laptop", PLAIN, "there"),
    ],
)
def test_a_preset_chooses_its_scale_and_its_view(folder, swept, monkeypatch, capsys, arguments, scale, view, out):
    ran, drawn = [], []
    dataset = jaxalign.load_sweep(swept / "sweep.zarr")
    draw = jaxalign.plot_sweep
    monkeypatch.setattr(
        jaxalign, "run_sweep", lambda config, store, **_: ran.append((config, str(store))) or dataset.copy()
    )
    monkeypatch.setattr(
        jaxalign, "plot_sweep", lambda dataset, **options: drawn.append(options) or draw(dataset, metric="cce")
    )
    assert cli.main(["sweep", *arguments]) == 0, capsys.readouterr().err
    assert ran == [(presets(arguments[0], scale), f"{out}/sweep.zarr")] and drawn == [view]
    assert (folder / out / "sweep.png").read_bytes()[:4] == b"\x89PNG"


def test_help_lists_the_presets_with_one_line_each(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        cli.main(["sweep", "--help"])
    lines = [line.strip(" │") for line in capsys.readouterr().out.splitlines()]
    for name, entry in presets.entries.items():
        assert f"{name}: {entry.about} ({', '.join(entry.scales)})" in lines


def test_the_printed_configuration_is_that_of_the_preset_with_the_options(folder, capsys):
    options = ["--members", "20", "--noise", "0.1", "0.3", "--epochs", "2.5", "--learning-rate", "0.01", "--seed", "7"]
    printed = printed_configuration(capsys, "quickstart", *options)
    preset = presets["quickstart"]
    training = dataclasses.replace(preset.training, steps=None, epochs=2.5, learning_rate=0.01)
    expected = dataclasses.replace(preset, members=20, noise=(0.1, 0.3), seed=7, training=training)
    assert from_json(printed) == expected and printed == to_json(expected, readable=True) + "\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("preset", [*presets])
def test_a_printed_configuration_is_printed_the_same_again(folder, capsys, preset):
    printed = printed_configuration(capsys, preset, "--members", "20")
    (folder / "c.json").write_text(printed)
    assert printed_configuration(capsys, "--config", "c.json") == printed
    again = json.loads(printed_configuration(capsys, "--config", "c.json", "--members", "3", "--steps", "9"))
    assert again["members"] == 3 and (again["training"]["steps"], again["training"]["epochs"]) == (9, None)
    assert again == json.loads(printed) | {"members": 3, "training": again["training"]}


def test_a_configuration_file_is_swept_with_options_into_a_folder_of_its_name(folder, capsys):
    config = dataclasses.replace(presets["quickstart"], networks=(MLP(3),), training=Training(steps=7), metrics=())
    (folder / "mine.json").write_text(to_json(config))
    assert cli.main(["sweep", "--config", "mine.json", *TINY, "--seed", "5"]) == 0
    assert capsys.readouterr().out.endswith("\nwrote jaxalign-mine/sweep.zarr\n")
    dataset = jaxalign.load_sweep("jaxalign-mine/sweep.zarr")
    stored = from_json(dataset.attrs["config"])
    assert (stored.networks, stored.seed, stored.training.steps, stored.n_train) == ((MLP(3),), 5, 5, (20, 60))


def test_where_the_data_lies_is_an_option_and_not_in_the_file(folder, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(jaxalign, "run_sweep", lambda config, **_: ran.append(config) or exec("raise OSError('seen')"))
    (folder / "c.json").write_text(printed_configuration(capsys, "figure4"))
    assert cli.main(["sweep", "--config", "c.json", "--data-dir", "/data", "--download"]) == 2
    assert (ran[0].task.data_dir, ran[0].task.download) == ("/data", True)


def wrong(changes):
    """A configuration in JSON with entries that are not as they should be; None removes one."""
    encoded = json.loads(to_json(presets["quickstart"]))
    for name, value in changes.items():
        *path, last = name.split(".")
        entry = encoded
        for key in path:
            entry = entry[key]
        entry[last] = value
        if value is None:
            del entry[last]
    return json.dumps(encoded)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{'type'", "a configuration must be JSON"),
        ("\xff", "a configuration must be JSON"),
        ("[]", "a configuration must be a JSON object"),
        (wrong({"membrs": 3}), "a key of a configuration must be one of "),
        (wrong({"training.stepz": 3}), "a key of training must be one of "),
        (wrong({"noise": None}), "noise must be given"),
        (wrong({"task.type": "Digits"}), "task.type must be one of "),
        (wrong({"members": "few"}), "members must be an integer of at least 1, got 'few'"),
        (wrong({"task.data_dir": "/data"}), "a key of task must be one of "),
    ],
)
def test_an_error_in_a_file_names_it_and_the_key(folder, capsys, text, message):
    (folder / "wrong.json").write_text(text, encoding="utf-8")
    assert cli.main(["sweep", "--config", "wrong.json"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith(f"jaxalign: wrong.json: {message}"), err
    assert [path.name for path in folder.iterdir()] == ["wrong.json"]


def test_a_file_that_is_no_text_is_named(folder, capsys):
    (folder / "wrong.json").write_bytes(b"\xff\xfe")
    assert cli.main(["sweep", "--config", "wrong.json"]) == 2
    assert capsys.readouterr().err.startswith("jaxalign: wrong.json: ")


def test_images_options_are_refused_for_a_teacher(folder, capsys):
    config = jaxalign.SweepConfig(jaxalign.LinearTeacher(5), (jaxalign.LinearNetwork(2),), (1.0,), (5, 10))
    (folder / "teacher.json").write_text(to_json(config))
    assert cli.main(["sweep", "--config", "teacher.json", "--download"]) == 2
    assert "download are for images, not for LinearTeacher(dim=5" in capsys.readouterr().err


def test_theory_is_drawn_where_asked_for(folder, capsys):
    config = jaxalign.SweepConfig(
        jaxalign.LinearTeacher(8), (jaxalign.LinearNetwork(2),), (1.0,), (5, 20), members=2, probes=20
    )
    (folder / "teacher.json").write_text(to_json(config))
    arguments = ["sweep", "--config", "teacher.json", "--x", "alpha", "--no-progress"]
    assert cli.main([*arguments, "--theory"]) == 0, capsys.readouterr().err
    with_theory = (folder / "jaxalign-teacher/sweep.png").read_bytes()
    assert cli.main(arguments) == 0
    assert (folder / "jaxalign-teacher/sweep.png").read_bytes() != with_theory
