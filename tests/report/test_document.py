import json
import os
import re

import numpy as np
import pytest
import xarray as xr
from report_page import Page

import jaxalign
from jaxalign import compare, predict, summarize
from jaxalign.report import write_report
from jaxalign.sweep.config import from_json


@pytest.fixture(scope="module")
def solved_page(solved, tmp_path_factory):
    return Page(write_report(solved, tmp_path_factory.mktemp("solved") / "report.html"))


@pytest.fixture(scope="module")
def digits_page(digits, tmp_path_factory):
    return Page(write_report(digits, tmp_path_factory.mktemp("digits") / "report.html"))


def value_and_error(text):
    return [float(part) for part in text.split("±")]


@pytest.mark.parametrize("name", ["solved", "digits"])
def test_the_table_is_the_summary(name, request):
    summary = summarize(request.getfixturevalue(name))
    noise = "snr" if name == "solved" else "label_noise"
    column, scale = ("SNR", 1) if name == "solved" else ("label noise", 0.01)
    records = request.getfixturevalue(f"{name}_page").records("results")
    assert len(records) == summary["test_error"].size
    seen = set()
    for record in records:
        level, n = scale * float(record[column].rstrip("%")), int(record["n_train"].replace(",", ""))
        seen.add((record["network"], level, n))
        cell = summary.sel(network=record["network"], n_train=n).sel({noise: level}, method="nearest", tolerance=1e-6)
        own = cell.sel(network_a=record["network"], network_b=record["network"])
        for variable in ("train_error", "test_error", "cce", "information_imbalance"):
            source = own if variable in ("cce", "information_imbalance") else cell
            expected = float(source[variable]), float(source[f"{variable}_stderr"])
            np.testing.assert_allclose(value_and_error(record[variable]), expected, atol=5.1e-5)
    assert len(seen) == len(records)


def test_alignment_between_networks_has_its_own_table(solved, solved_page):
    summary = summarize(solved)
    records = solved_page.records("between")
    assert len(records) == 2 * 2 * 4
    record = records[5]
    at = {"network_a": record["from"], "network_b": record["to"]}
    cell = summary.sel({**at, "snr": float(record["SNR"]), "n_train": int(record["n_train"])})
    expected = float(cell["cce"]), float(cell["cce_stderr"])
    np.testing.assert_allclose(value_and_error(record["cce"]), expected, atol=5.1e-5)
    assert record["from"] != record["to"]


def test_findings(solved, solved_page):
    summary = summarize(solved)
    records = solved_page.records("findings")
    assert [(record["network"], record["SNR"]) for record in records] == [
        (network, f"{level:g}") for network in summary["network"].values for level in (1.0, 5.0)
    ]
    thresholds = summary["interpolation_threshold"].values.ravel()
    assert np.isfinite(thresholds).any()
    for record, threshold in zip(records, thresholds, strict=True):
        if np.isfinite(threshold):
            assert value_and_error(record["interpolation threshold (n)"].partition(" (")[0])[0] == pytest.approx(
                threshold, abs=0.51
            )
            weakest = float(record["weakest cce (n)"].partition(",")[0])
            assert float(record["ratio"]) == pytest.approx(weakest / threshold, abs=0.0051)
        else:
            assert record["interpolation threshold (n)"] == "none in the sweep"
    for record, value, error in zip(
        records,
        summary["cce_error_spearman"].values.ravel(),
        summary["cce_error_spearman_stderr"].values.ravel(),
        strict=True,
    ):
        assert record["Spearman"] == f"{value:.2f} ± {error:.2f}"
    assert "Spearman's correlation of cce with the test error over the numbers of training samples is" in (
        solved_page.text
    )


def test_what_errors_cover_is_said(solved_page, digits_page):
    assert solved_page.text.count("over 3 replicates") >= 4
    assert digits_page.text.count("over members of one replicate, their noise alone") >= 4
    assert "another replicate may well lie outside" in digits_page.text
    assert "another replicate may well lie outside" not in solved_page.text


def test_check_against_theory(solved, solved_page):
    checked = compare(solved)
    points, inside = checked.attrs["points"], checked.attrs["points_within_95"]
    assert f"{inside} of {points} points ({100 * inside / points:.1f}%) lie inside" in solved_page.text
    deviations = np.concatenate([checked[name].values.ravel() for name in checked.data_vars if name.endswith("_z")])
    worst = [float(record["z"]) for record in solved_page.records("deviations")]
    expected = np.sort(np.abs(deviations[np.isfinite(deviations)]))[::-1][: len(worst)]
    np.testing.assert_allclose(np.abs(worst), expected, atol=0.0051)
    record = solved_page.records("deviations")[0]
    ratio = float(record["n / threshold"]) if record["n / threshold"] != "–" else np.nan
    assert record["near"] == ("yes" if 0.8 <= ratio <= 1.25 else "no")


def test_theory_may_be_given_or_left_out(solved, tmp_path):
    assert "table-deviations" not in Page(write_report(solved, tmp_path / "a.html", theory=False)).tables
    given = predict(from_json(solved.attrs["config"])).isel(snr=[1])
    with pytest.raises(ValueError, match="theory must be of the same snr as dataset"):
        write_report(solved, tmp_path / "a.html", theory=given)
    page = Page(write_report(solved.isel(snr=[1]), tmp_path / "a.html", theory=given))
    assert {record["SNR"] for record in page.records("deviations")} == {"5"}


def test_theory_of_one_replicate_is_drawn_and_not_compared(solved, tmp_path):
    page = Page(write_report(solved.isel(replicate=[0]), tmp_path / "a.html"))
    assert "takes at least 2 replicates" in page.text and "curves are theory" in page.text


def test_where_there_is_no_theory_it_is_only_missed_if_asked_for(digits, digits_page, tmp_path):
    assert "Check against theory" not in digits_page.text
    with pytest.raises(ValueError, match="task must be a LinearTeacher"):
        write_report(digits, tmp_path / "a.html", theory=True)
    with pytest.raises(ValueError, match="theory must be None, True, False or a Dataset"):
        write_report(digits, tmp_path / "a.html", theory="exact")


@pytest.mark.parametrize("name", ["solved", "digits"])
def test_nothing_is_loaded_from_elsewhere(name, request):
    page = request.getfixturevalue(f"{name}_page")
    assert len(page.all("img")) >= 4
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(key, "#").startswith(("#", "data:image/"))
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}


@pytest.mark.parametrize("name", ["solved", "digits"])
def test_names_are_unique_and_what_refers_to_them_finds_them(name, request):
    page = request.getfixturevalue(f"{name}_page")
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    referred = [attributes["aria-labelledby"] for _, attributes in page.elements if "aria-labelledby" in attributes]
    referred += [attributes["href"].removeprefix("#") for attributes in page.all("a")]
    assert set(referred) <= set(names)
    figures = [name for name in names if name.startswith("figure-")]
    assert len(figures) == len(page.all("img")) == len(page.all("figcaption"))
    assert all(len(attributes["alt"]) > 20 for attributes in page.all("img"))


def test_the_file_is_small_enough_to_be_sent(solved, tmp_path):
    assert write_report(solved, tmp_path / "a.html").stat().st_size < 2e6


def test_the_figures_of_a_sweep(solved_page, digits_page):
    figures = [attributes["id"] for attributes in solved_page.all("figure")]
    assert figures == [
        "figure-sweep-cce",
        "figure-between",
        "figure-decoupling",
        "figure-heatmap-0",
        "figure-heatmap-1",
        "figure-matrix",
        "figure-alignment-information_imbalance",
    ]
    assert "figure-between" not in [attributes["id"] for attributes in digits_page.all("figure")]


def test_configuration_is_whole_and_can_be_read_again(solved, tmp_path):
    page = Page(write_report(solved, tmp_path / "a.html"))
    start = page.text.index('{\n  "type": "SweepConfig"')
    config, _ = json.JSONDecoder().raw_decode(page.text[start:])
    assert from_json(json.dumps(config)) == from_json(solved.attrs["config"])
    values = {record["name"]: record["value"] for record in page.records("configuration")}
    assert values["dim"] == "20" and values["n_train"] == "60, 10, 16, 24" and values["solver"] == "Ridge(lam=0.1)"


def test_provenance(digits, digits_page):
    values = {record[""]: record["value"] for record in digits_page.records("provenance")}
    assert values["versions"] == digits.attrs["versions"] and values["device"] == digits.attrs["device"]
    assert values["seconds in all, by the clock"] == f"{digits.attrs['seconds_total']:,.1f}"
    assert f"jaxalign {jaxalign.__version__}" in digits_page.text and "arXiv:2605.26973" in digits_page.text


def test_a_preset_is_named(digits, tmp_path):
    quickstart = json.dumps(json.loads(jaxalign.sweep.config.to_json(jaxalign.presets["quickstart"])))
    page = Page(write_report(digits.assign_attrs(config=quickstart), tmp_path / "a.html"))
    assert "jaxalign sweep quickstart" in page.text


def test_networks_of_the_users_own(digits, tmp_path):
    config = json.loads(digits.attrs["config"])
    config["networks"] = [{"type": "mine.Net", "width": 3, "digest": "ab"}]
    page = Page(write_report(digits.assign_attrs(config=json.dumps(config)), tmp_path / "a.html"))
    assert "mine.Net, which no file can hold" in page.text
    assert {"part": "network 1", "name": "type", "value": "mine.Net"} in page.records("configuration")


def test_strings_of_the_dataset_are_escaped(digits, tmp_path):
    evil = "<script>alert('1')</script>&\""
    names = dict.fromkeys(("network", "network_a", "network_b"), [evil])
    config = json.dumps(json.loads(digits.attrs["config"]) | {"layer": evil})
    dataset = digits.assign_coords(names).assign_attrs(device=evil, versions=evil, config=config)
    page = Page(write_report(dataset, tmp_path / "a.html"))
    assert not page.all("script")
    assert {record["network"] for record in page.records("results")} == {evil}
    assert page.records("provenance")[1]["value"] == evil


def test_diverged_members_are_counted(digits, tmp_path):
    first = digits["test_error"].copy()
    first[0, 0, 1, 2, :2] = np.nan
    page = Page(write_report(digits.assign(test_error=first), tmp_path / "a.html"))
    assert "2 of 18 networks diverged and are left out of all means." in page.text
    assert [record["diverged"] for record in page.records("results")] == ["0", "0", "0", "0", "0", "2"]
    assert [attributes.get("class") for attributes in page.all("tr")].count("flagged") >= 1


def test_members_that_did_not_converge_are_counted(digits, digits_page):
    short = (digits["test_error"].notnull() & ~digits["converged"]).sum(("replicate", "member"))
    assert 0 < short.sum() < digits["test_error"].size
    counted = [int(record["not converged"]) for record in digits_page.records("results")]
    assert counted == short.transpose("network", "label_noise", "n_train").values.ravel().tolist()


def test_missing_cells_are_marked(digits, tmp_path):
    done = xr.full_like(digits["test_error"].isel(network=0, member=0, drop=True), 3, dtype=int)
    done[0, 1, 1] = 0
    there = (done > 0).broadcast_like(digits["test_error"])
    dataset = digits.assign(test_error=digits["test_error"].where(there), cce=digits["cce"].where(done > 0))
    page = Page(write_report(dataset.assign(members_done=done), tmp_path / "a.html"))
    assert "Incomplete: 3 of 18 networks are not computed yet, in 1 of 6 combinations" in page.text
    assert [record["missing"] for record in page.records("results")] == ["0", "0", "0", "0", "3", "0"]
    assert page.records("results")[4]["test_error"] == "–"


@pytest.mark.parametrize(
    "change",
    [
        lambda dataset: dataset.isel(snr=[0]),
        lambda dataset: dataset.isel(n_train=[2]),
        lambda dataset: dataset.isel(snr=[0], n_train=[2], replicate=[0], network=[0], network_a=[0], network_b=[0]),
        lambda dataset: dataset.drop_vars(["cce", "information_imbalance"]),
        lambda dataset: dataset.drop_vars("cce"),
        lambda dataset: dataset.where(dataset["n_train"] == 0).assign(converged=dataset["converged"] & False),
        lambda dataset: dataset.where(dataset["snr"] == 5.0).assign(converged=dataset["converged"]),
    ],
    ids=["one level", "one size", "one cell", "no measure", "one measure", "all diverged", "a level diverged"],
)
def test_every_sweep_has_a_report(solved, change, tmp_path):
    dataset = change(solved).assign_attrs(solved.attrs)
    page = Page(write_report(dataset, tmp_path / "a.html"))
    assert len(page.records("results")) == summarize(dataset)["test_error"].size
    figures = [attributes["id"] for attributes in page.all("figure")]
    if not any(name in dataset for name in ("cce", "information_imbalance")):
        assert figures == ["figure-error"]
    else:
        metric = "cce" if "cce" in dataset else "information_imbalance"
        assert {f"figure-sweep-{metric}", "figure-decoupling"} <= {*figures}


def test_the_file_is_replaced_when_it_is_complete(digits, tmp_path, monkeypatch):
    path = tmp_path / "deep" / "report.html"
    assert write_report(digits, str(path)) == path
    before = path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_report(digits, path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_bad_input(digits, tmp_path):
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep, got another Dataset"):
        write_report(xr.Dataset(), tmp_path / "a.html")
    with pytest.raises(ValueError, match="dataset must be the result of run_sweep with its attributes"):
        write_report(digits.drop_attrs(), tmp_path / "a.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=re.escape("path must be a file, not a folder, got")):
        write_report(digits, tmp_path / "folder.html")
    for path in (tmp_path / "report.pdf", 3):
        with pytest.raises(ValueError, match=r"path must be the path of a file that ends in \.html, got"):
            write_report(digits, path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["folder.html"]
