"""What a sweep did, in sentences, from its configuration as JSON: networks of the user's own cannot be made from it."""

import math
from collections.abc import Sequence
from typing import Any

import xarray as xr

from jaxalign.alignment import METRICS
from jaxalign.sweep.result import noise_dimension

NOISE_NAMES = {"snr": "SNR", "label_noise": "label noise"}
_OPTIMIZERS = {"sgd": "stochastic gradient descent", "adam": "Adam", "adamw": "AdamW"}
_SHARED = {"shared_inputs": "training inputs", "shared_init": "initial weights", "shared_batches": "minibatches"}


def title(config: dict[str, Any], networks: Sequence[str]) -> str:
    """The title of a report."""
    if len(networks) > 1:
        networks = list(dict.fromkeys(name.partition("(")[0] for name in networks))
    return f"{listed(networks)} on {_task_name(config['task'])}: alignment under noise"


def statement(dataset: xr.Dataset, config: dict[str, Any]) -> str:
    """One paragraph: the task, the noise, the networks, how many there are, and how they are compared."""
    noise = noise_dimension(dataset)
    levels = [level_name(noise, level) for level in dataset[noise].values.tolist()]
    sizes = sorted(dataset["n_train"].values.tolist())
    members, replicates = dataset.sizes["member"], dataset.sizes["replicate"]
    networks = [
        f"{name} ({number:,} parameters)"
        for name, number in zip(
            dataset["network"].values.tolist(), dataset["n_parameters"].values.tolist(), strict=True
        )
    ]
    of_sizes = f"{len(sizes)} numbers of training samples from {sizes[0]:,} to {sizes[-1]:,}"
    if len(sizes) == 1:
        of_sizes = f"{sizes[0]:,} training samples"
    sentences = [
        f"{_task(config['task'])} with {_noise(config['task'], noise)} {listed(levels)}.",
        f"At every noise level and for {of_sizes}, {counted(replicates, 'replicate')} of an ensemble of"
        f" {counted(members, 'network')} of each kind: {listed(networks)}.",
        f"In all these are {dataset['test_error'].size:,} networks.",
        *_training(config),
        _differences(config),
    ]
    if replicates > 1:
        sentences.append("A replicate is an independent draw of the whole experiment.")
    metrics = [metric_name(name) for name in METRICS if name in dataset]
    if metrics:
        sentences.append(
            f"All pairs of networks of a cell were compared in the layer {config['layer']}, on {config['probes']:,}"
            f" inputs that none was trained on, by {listed(metrics)}."
        )
    else:
        sentences.append("Representations were not compared.")
    return " ".join(sentences)


def metric_name(name: str) -> str:
    """A measure in words, without its unit."""
    return METRICS[name].label.removesuffix(f" ({METRICS[name].unit})")


def direction(name: str) -> str:
    """Which values of a measure mean more aligned, in words."""
    larger = METRICS[name].larger_is_more_similar
    return "a diagnostic, no similarity" if larger is None else f"{'higher' if larger else 'lower'} means more aligned"


def level_name(noise: str, level: float) -> str:
    """A noise level, without its name."""
    if noise == "label_noise":
        return f"{100 * level:g}%"
    return "∞" if math.isinf(level) else f"{level:g}"


def listed(items: Sequence[str]) -> str:
    """A list in a sentence."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(number: int, of: str) -> str:
    """A number of things."""
    return f"{number:,} {of}{'' if number == 1 else 's'}"


def called(value: Any) -> str:
    """A value of a configuration as one would write it in Python, long lists shortened."""
    if isinstance(value, dict):
        given = ", ".join(f"{name}={called(item)}" for name, item in value.items() if name != "type")
        return f"{value['type']}({given})"
    if isinstance(value, list):
        shown = [called(item) for item in value[:24]]
        return ", ".join(shown) + (f", ... ({len(value)} in all)" if len(value) > len(shown) else "")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _task_name(task: dict[str, Any]) -> str:
    return {"LinearTeacher": "a linear teacher"}.get(task["type"], str(task.get("name", task["type"])))


def _task(task: dict[str, Any]) -> str:
    if task["type"] == "LinearTeacher":
        outputs = counted(task["outputs"], "output")
        inputs = "" if task["spectrum"] == "isotropic" else ", with a covariance"
        return (
            f"Regression on a random linear teacher of {counted(task['dim'], 'input dimension')}{inputs} and {outputs},"
        )
    if task["type"] == "ImageTask":
        classes = task["classes"]
        kept = "" if classes is None else f", classes {listed([str(c) for c in classes])},"
        return f"Classification of the images {task['name']}{kept}"
    return f"The task {called(task)},"


def _noise(task: dict[str, Any], noise: str) -> str:
    process = task.get("noise_process")
    if noise == "label_noise":
        return f"{process} label noise of" if process else "label noise of"
    of = "training images" if process == "gaussian_inputs" else "targets"
    return f"Gaussian noise on the {of}, at signal-to-noise ratios (SNR) of"


def _training(config: dict[str, Any]) -> list[str]:
    training, networks = config["training"], config["networks"]
    solved = [network for network in networks if network.get("solver") is not None]
    sentences = []
    if solved:
        which = "Linear networks were" if len(solved) < len(networks) else "They were"
        solvers = sorted({called(network["solver"]) for network in solved})
        sentences.append(f"{which} not trained but solved in closed form, by {listed(solvers)}.")
    if len(solved) < len(networks):
        which = "The others were" if solved else "They were"
        length = f"{training['steps']:,} steps"
        if training["steps"] is None:
            length = f"{training['epochs']:g} epochs"
        rows = "the full batch" if training["batch_size"] is None else f"minibatches of {training['batch_size']:,}"
        how = _OPTIMIZERS.get(training["optimizer"], training["optimizer"])
        sentences.append(
            f"{which} trained by {how} for {length} on {rows}, at the {training['schedule'].replace('_', ' ')} learning"
            f" rate {called(training['learning_rate'])}."
        )
    return sentences


def _differences(config: dict[str, Any]) -> str:
    # A network that is solved has no initial weights and no minibatches.
    solved = all(network.get("solver") is not None for network in config["networks"])
    of_them = {"shared_inputs": _SHARED["shared_inputs"]} if solved else _SHARED
    shared = [words for name, words in of_them.items() if config[name]]
    own = [words for name, words in of_them.items() if not config[name]]
    differing = listed(["their noise", *own])
    if not shared:
        return f"The members of an ensemble differ by {differing}; they share the clean task."
    return f"The members of an ensemble share their {listed(shared)} and differ by {differing}."
