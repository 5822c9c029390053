"""`write_report`: the result of a sweep as one HTML file that needs nothing else."""

import datetime
import importlib.resources
import json
import os
import string
import tempfile
from pathlib import Path
from typing import Any

import xarray as xr

from jaxalign import checks, tables
from jaxalign._version import __version__
from jaxalign.alignment import METRICS
from jaxalign.report import figures, findings, record, words
from jaxalign.report.markup import Markup, bullets, element, joined, paragraph, section
from jaxalign.sweep import compare, predict, summarize
from jaxalign.sweep.predict import check_predictable, in_closed_form
from jaxalign.sweep.result import config_of, noise_dimension


def write_report(dataset: xr.Dataset, path: str | os.PathLike, *, theory: xr.Dataset | bool | None = None) -> Path:
    """Writes what a sweep did and found as one HTML file, with its figures inside: nothing is loaded from elsewhere.

    It holds the findings, the figures with their captions, the check against theory, all means with standard errors,
    the configuration, versions and times, and how to repeat and to cite it. Cells that are not computed yet, and
    members that diverged or did not converge, are counted and marked.

    Args:
      dataset: what `run_sweep` or `load_sweep` returned.
      path: the file to write, ending in .html. Folders that are missing are made; a file that is there is replaced
        when the new one is complete.
      theory: what to draw and compare with: None for that of `predict` where it knows one, True to insist on it, False
        for none, or a Dataset as `predict` returns it.

    Returns:
      The path of the file.

    Raises:
      ValueError: if `dataset` is not the result of a sweep, `path` is a folder or does not end in .html, or `theory` is
        not allowed, or True where there is none; as `predict`, `plot_sweep` and `compare`.
      OSError: if the file cannot be written.
    """
    noise_dimension(dataset)
    if "config" not in dataset.attrs:
        checks.reject("dataset", "the result of run_sweep with its attributes", f"one with {sorted(dataset.attrs)}")
    path = _checked_path(path)
    page = _page(dataset, theory)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        written = Path(scratch) / "written"
        written.write_text(page, encoding="utf-8")
        os.replace(written, path)
    return path


def _checked_path(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        checks.reject("path", "the path of a file that ends in .html", path)
    path = Path(path)
    if path.is_dir():
        checks.reject("path", "a file, not a folder", str(path))
    if path.suffix.lower() != ".html":
        checks.reject("path", "the path of a file that ends in .html", str(path))
    return path


def _page(dataset: xr.Dataset, theory: Any) -> str:
    text = record.readable_configuration(dataset)
    config = json.loads(text)
    summary = summarize(dataset).sortby("n_train")
    lines = _lines(dataset, theory)
    counts = findings.Counts.of(dataset, summary)
    drawn = figures.drawings(dataset, summary, lines, tables.findings(summary))
    pictures = [figures.shown(drawing, number) for number, drawing in enumerate(drawn, 1)]
    sections = [
        (
            "run",
            "What was run",
            [paragraph(words.statement(dataset, config)), _reading(summary, dataset.sizes["replicate"])],
        ),
        ("findings", "Findings", [findings.findings(summary)]),
        ("figures", "Figures", pictures),
    ]
    if lines is not None:
        sections.append(("theory", "Check against theory", [_theory(dataset, summary, theory)]))
    sections += [
        ("results", "Results", [findings.results(dataset, summary, counts)]),
        ("configuration", "Configuration", [record.configuration(config, text)]),
        ("provenance", "Versions, time and memory", [record.provenance(dataset)]),
        ("reproduce", "How to reproduce", [record.reproduction(config)]),
        ("cite", "How to cite", [record.citation(dataset, __version__)]),
    ]
    if any(name in dataset for name in METRICS):
        sections.insert(1, ("measures", "Measures", [record.measures(dataset)]))
    files = importlib.resources.files("jaxalign.report")
    return string.Template(files.joinpath("page.html").read_text("utf-8")).substitute(
        title=joined([words.title(config, dataset["network"].values.tolist())]),
        style=files.joinpath("page.css").read_text("utf-8"),
        version=__version__,
        date=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %z"),
        flags=joined(element("p", flag, class_="flag") for flag in counts.flags(dataset)),
        contents=bullets(element("a", heading, href=f"#{name}") for name, heading, _ in sections),
        body=Markup("\n".join(section(name, heading, *content) for name, heading, content in sections)),
    )


def _reading(summary: xr.Dataset, replicates: int) -> Markup:
    errors = f"Errors given as ± are standard errors {summary.attrs['standard_errors']}"
    if replicates < 2:
        errors += ", by the delete-one-member jackknife; another replicate may well lie outside of them"
    return paragraph(
        "The interpolation threshold is the number of training samples at which the training error leaves zero: beyond"
        " it members no longer fit their noise. It is read off where the training error reaches a tenth of that of a"
        f" network that answers all clean targets, or 0.01 with noise on inputs. {errors}."
    )


def _lines(dataset: xr.Dataset, theory: Any) -> xr.Dataset | bool | None:
    """The theory to draw, as `plot_sweep` takes it; None where there is none."""
    if theory is False or isinstance(theory, xr.Dataset):
        return None if theory is False else theory
    if theory not in (None, True):
        checks.reject("theory", "None, True, False or a Dataset that predict returned", theory)
    try:
        config = config_of(dataset)
        # Figures add sizes between those of a theory that samples nothing; another one is made once for all of them.
        return True if in_closed_form(config) else predict(config)
    except ValueError:
        if theory:
            raise
        return None


def _theory(dataset: xr.Dataset, summary: xr.Dataset, theory: Any) -> Markup:
    given = theory if isinstance(theory, xr.Dataset) else None
    unknown = given.attrs.get("no_theory", []) if given is not None else check_predictable(config_of(dataset)).reasons
    said = [paragraph(f"No theory: {reason}.") for reason in unknown]
    if dataset.sizes["replicate"] < 2:
        why = "How far measurement and theory are apart, in standard errors, takes at least 2 replicates."
        return joined([*said, paragraph(f"{why} The figures show both.")])
    return joined([*said, findings.theory_check(compare(dataset, given), summary)])
