"""How a sweep was made: its configuration, versions and times, how to repeat it, and what to cite."""

import json
from typing import Any

import xarray as xr

from jaxalign.alignment import METRICS
from jaxalign.report import words
from jaxalign.report.markup import Markup, bullets, code, element, joined, listing, paragraph, table
from jaxalign.sweep.config import to_json
from jaxalign.sweep.presets import LAPTOP, presets
from jaxalign.sweep.result import config_of

_PHASES = {
    "compile": "compiling, summed over threads",
    "train": "training or solving, summed over threads",
    "align": "comparing pairs, summed over threads",
    "write": "writing the store",
    "total": "in all, by the clock",
}


def measures(dataset: xr.Dataset) -> Markup:
    """How to read each measure of the sweep."""
    rows = [
        (code(name), METRICS[name].label, words.direction(name), _identical(dataset, name), METRICS[name].reference)
        for name in METRICS
        if name in dataset
    ]
    caption = "The measures of alignment. The value for identical representations is that at this number of probes."
    return table("measures", caption, ["name", "measure", "direction", "identical", "reference"], rows)


def readable_configuration(dataset: xr.Dataset) -> str:
    """The configuration of a sweep as JSON in several lines."""
    try:
        return to_json(config_of(dataset), readable=True)
    except ValueError:
        # Networks of the user's own are not made from their names.
        return json.dumps(json.loads(dataset.attrs["config"]), indent=2)


def configuration(config: dict[str, Any], text: str) -> Markup:
    """All of the configuration, as a table and as JSON."""
    parts = [("task", config["task"]), ("training", config["training"])]
    parts[1:1] = [(f"network {i}", network) for i, network in enumerate(config["networks"], 1)]
    rows = []
    for name, part in parts:
        rows.append((name, code("type"), code(part["type"])))
        rows += [("", code(key), code(words.called(value))) for key, value in part.items() if key != "type"]
    rest = [key for key in config if key not in {"task", "networks", "training", "type"}]
    rows += [("sweep" if key == rest[0] else "", code(key), code(words.called(config[key]))) for key in rest]
    caption = "The configuration, by the names that it has in Python."
    return joined(
        [
            table("configuration", caption, ["part", "name", "value"], rows, row_headers=2),
            element("details", element("summary", "The same as JSON"), listing(text)),
        ]
    )


def provenance(dataset: xr.Dataset) -> Markup:
    """Versions, device, seconds and memory."""
    attributes = dataset.attrs
    rows = [("versions", attributes.get("versions", "unknown")), ("device", attributes.get("device", "unknown"))]
    rows += [
        (f"seconds {words_of_phase}", f"{attributes[f'seconds_{phase}']:,.1f}")
        for phase, words_of_phase in _PHASES.items()
        if f"seconds_{phase}" in attributes
    ]
    if "peak_bytes" in attributes:
        rows.append(("peak memory, on a CPU of the process", f"{attributes['peak_bytes'] / 1e6:,.0f} MB"))
    caption = "Where it was computed. Of a sweep in several runs, seconds are added up."
    return table("provenance", caption, ["", "value"], rows)


def reproduction(config: dict[str, Any]) -> Markup:
    """How to run the same sweep again."""
    said = []
    if (preset := _preset(config)) is not None:
        name, scale = preset
        given = "" if scale == LAPTOP else f" --scale {scale}"
        said += [paragraph("This is a preset:"), listing(f"jaxalign sweep {name}{given}")]
    task, own = config["task"], [network["type"] for network in config["networks"] if "." in network["type"]]
    if own:
        said.append(
            paragraph(
                f"It has networks of the user's own, {words.listed(own)}, which no file can hold: make the"
                " configuration in Python, with the fields listed above."
            )
        )
    elif task.get("arrays") is not None:
        said.append(
            paragraph(
                "It has images of the user's own, of which the configuration keeps a digest alone: make the task from"
                " the arrays, with the fields listed above."
            )
        )
    else:
        program = (
            "import pathlib\n\nimport jaxalign\nfrom jaxalign.sweep.config import from_json\n\n"
            'config = from_json(pathlib.Path("sweep.json").read_text())\n'
            'dataset = jaxalign.run_sweep(config, store="sweep.zarr")'
        )
        said += [
            paragraph("With the JSON above saved as ", code("sweep.json"), ", by the command or in Python:"),
            listing("jaxalign sweep --config sweep.json"),
            listing(program),
        ]
    said.append(
        paragraph(
            "Every draw has a key of its own, made from seed, role, replicate and member, so that the same"
            " configuration draws the same numbers; what was trained agrees within the rounding of float32."
        )
    )
    return joined(said)


def citation(dataset: xr.Dataset, version: str) -> Markup:
    """What to cite."""
    references = dict.fromkeys(METRICS[name].reference for name in METRICS if name in dataset)
    phenomenon = "Umar & Laio 2026, arXiv:2605.26973"
    others = [f"{reference}, for a measure" for reference in references if reference != phenomenon]
    return bullets(
        [f"{phenomenon}, for the phenomenon and the measure", *others, f"jaxalign {version}, for the software"]
    )


def _identical(dataset: xr.Dataset, name: str) -> str:
    probes = dataset.attrs.get("probes")
    return "–" if probes is None else f"{METRICS[name].identical(probes):.4g}"


def _preset(config: dict[str, Any]) -> tuple[str, str] | None:
    """The preset that has this configuration, with its scale."""
    for name, entry in presets.entries.items():
        for scale in entry.scales:
            if json.loads(to_json(presets(name, scale))) == config:
                return name, scale
    return None
