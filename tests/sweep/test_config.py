import dataclasses
import functools
import json
import math

import pytest
from flax import nnx

from jaxalign import (
    MLP,
    GradientDescent,
    GradientFlow,
    ImageTask,
    LinearNetwork,
    LinearTeacher,
    SweepConfig,
    Training,
    presets,
)
from jaxalign.sweep.config import from_json, to_json
from jaxalign.tasks import PowerLaw

REGRESSION = {"task": LinearTeacher(dim=10), "networks": (LinearNetwork(3),), "noise": (1.0,), "n_train": (5, 20)}
DIGITS = {"task": ImageTask("digits"), "networks": (MLP(4),), "noise": (0.2,), "n_train": (20,), "probes": 100}


@dataclasses.dataclass(frozen=True)
class Own:
    """A network of a user's own."""

    width: int = 2

    def build(self, rngs, input_shape, n_outputs):
        class Module(nnx.Module):
            def __init__(self):
                self.dense = nnx.Linear(input_shape[0], n_outputs, rngs=rngs)

            def __call__(self, x):
                return self.dense(x), {"inputs": x}

        return Module()


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (REGRESSION, {"n_train": (20, 0, 80)}, r"n_train must be positive integers, got \(20, 0, 80\)"),
        (REGRESSION, {"n_train": (20.5,)}, "n_train must be positive integers"),
        (REGRESSION, {"n_train": (True,)}, "n_train must be positive integers"),
        (REGRESSION, {"n_train": ()}, "n_train must be a non-empty sequence"),
        (REGRESSION, {"n_train": 20}, "n_train must be a non-empty sequence"),
        (REGRESSION, {"n_train": (20, 20)}, "n_train .*without repetitions"),
        (DIGITS, {"n_train": (20, 1398)}, "n_train must be positive integers of at most 1397"),
        (REGRESSION, {"noise": (-1.0,)}, r"noise\[0\] must be a number above 0"),
        (REGRESSION, {"noise": (1.0, 0)}, r"noise\[1\] must be a number above 0"),
        (REGRESSION, {"noise": (math.nan,)}, r"noise\[0\]"),
        (REGRESSION, {"noise": ()}, "noise must be a non-empty sequence"),
        (REGRESSION, {"noise": "high"}, "noise must be a non-empty sequence"),
        (DIGITS, {"noise": (1.5,)}, r"noise\[0\] must be .* at least 0 and at most 1, got 1.5"),
        (REGRESSION, {"members": 0}, "members must be an integer of at least 1, got 0"),
        (REGRESSION, {"members": 1}, "members must be at least 2 to compare pairs by cce, information_imbalance"),
        (REGRESSION, {"members": "10"}, "members must be an integer"),
        (REGRESSION, {"replicates": 0}, "replicates must be"),
        (REGRESSION, {"seed": -1}, "seed must be"),
        (REGRESSION, {"shared_init": 1}, "shared_init must be True or False"),
        (REGRESSION, {"probes": 9}, "probes must be an integer of at least 10, got 9"),
        (DIGITS, {"probes": 401}, "probes must be an integer of at least 10 and at most 400, got 401"),
        (
            REGRESSION,
            {"layer": "hiden"},
            "layer .* must be one of hidden, output, penultimate; got 'hiden' .did you mean 'hidden'",
        ),
        (DIGITS, {"layer": "logit"}, "hidden, logits, penultimate; .*did you mean 'logits'"),
        (REGRESSION, {"metrics": ("ccee",)}, "metrics must be one of cca, .*did you mean 'cce'"),
        (REGRESSION, {"metrics": "cce"}, "metrics must be a tuple"),
        (REGRESSION, {"metrics": ("cce", "cce")}, "metrics .*without repetitions"),
        (REGRESSION, {"networks": ()}, "networks must be a non-empty sequence"),
        (REGRESSION, {"networks": MLP(4)}, "networks must be a tuple of networks"),
        (REGRESSION, {"networks": ("MLP",)}, "networks must be a non-empty sequence of networks"),
        (REGRESSION, {"task": "teacher"}, "task must be a task such as"),
        (REGRESSION, {"training": {"steps": 5}}, r"training must be a Training\(...\)"),
        (DIGITS, {"networks": (LinearNetwork(3),)}, "networks must be trained for classification"),
    ],
)
def test_bad_input_is_named(base, changes, message):
    with pytest.raises(ValueError, match=message):
        SweepConfig(**(base | changes))


def test_lists_become_tuples():
    config = SweepConfig(**(REGRESSION | {"n_train": [5, 20], "noise": [1, 2], "metrics": ["cce"]}))
    assert config.n_train == (5, 20) and config.noise == (1.0, 2.0) and hash(config)


@pytest.mark.parametrize(
    "config",
    [
        SweepConfig(**(REGRESSION | {"noise": (0.5, math.inf), "training": Training(clip=1.0, batch_size=7)})),
        SweepConfig(
            **(REGRESSION | {"networks": (LinearNetwork(3, solver=GradientFlow(2.0)), LinearNetwork(3, None))})
        ),
        SweepConfig(**(REGRESSION | {"task": LinearTeacher(10, 2, strengths=(2, 1), spectrum=PowerLaw(1.2))})),
        SweepConfig(**(REGRESSION | {"task": LinearTeacher(2, spectrum=(1, 0.1), coefficients=(1e-3, 1))})),
        SweepConfig(**(REGRESSION | {"task": LinearTeacher(10, spectrum=PowerLaw(1), coefficients="leading")})),
        SweepConfig(**DIGITS),
        presets["quickstart"],
    ],
)
def test_json_round_trip(config):
    readable = to_json(config, readable=True)
    assert from_json(to_json(config)) == from_json(readable) == config
    assert json.loads(readable) == json.loads(to_json(config))


def test_readable_json_has_one_key_in_a_line_in_the_order_of_the_fields():
    lines = to_json(SweepConfig(**REGRESSION), readable=True).splitlines()
    assert lines[:4] == ["{", '  "type": "SweepConfig",', '  "task": {', '    "type": "LinearTeacher",']
    top = [line.split('"')[1] for line in lines if line.startswith('  "')]
    assert top == ["type", *(field.name for field in dataclasses.fields(SweepConfig))]
    assert '  "n_train": [5, 20],' in lines


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        (("membrs",), 3, r"a key of a configuration must be one of .*; got 'membrs' .did you mean 'members'"),
        (("training", "stepz"), 3, "a key of training must be one of .*; got 'stepz' .did you mean 'steps'"),
        (("networks", 0, "solver", "weight"), 3, r"a key of networks\[0\].solver must be one of "),
        (("task", "data_dir"), "/data", "a key of task must be one of .*; got 'data_dir'"),
        (("noise",), None, "noise must be given, as SweepConfig has no default for it"),
        (("networks", 0, "hidden"), None, r"networks\[0\].hidden must be given, as LinearNetwork has no default"),
        (("networks", 0, "hidden"), "wide", r"networks\[0\]: hidden must be an integer of at least 1, got 'wide'"),
        (("task", "type"), "Teacher", r"task.type must be one of .*; got 'Teacher' .did you mean 'LinearTeacher'"),
        (("task", "type"), None, "task.type must be one of .*; got None"),
        (("task", "type"), ["MLP"], r"task.type must be one of .*; got \['MLP'\]"),
        (("task",), 5, "task must be a task such as .*, got 5"),
        (("members",), 1, "^members must be at least 2"),
        (("type",), "MLP", '^a configuration must be a JSON object with "type": "SweepConfig"'),
    ],
)
def test_a_wrong_key_of_json_is_named(at, value, message):
    encoded = json.loads(to_json(SweepConfig(**REGRESSION)))
    *path, last = at
    entry = functools.reduce(lambda part, key: part[key], path, encoded)
    entry[last] = value
    if value is None:
        del entry[last]
    with pytest.raises(ValueError, match=message):
        from_json(json.dumps(encoded))


@pytest.mark.parametrize("text", ["", "{'type'", "[" * 100_000, "[1]", "3"])
def test_what_is_no_configuration_in_json_is_refused(text):
    with pytest.raises(ValueError, match="^a configuration must be"):
        from_json(text)


def test_json_leaves_out_where_the_data_lies():
    elsewhere = SweepConfig(**(DIGITS | {"task": ImageTask("digits", data_dir="/data")}))
    assert to_json(elsewhere) == to_json(SweepConfig(**DIGITS)) and elsewhere == SweepConfig(**DIGITS)


def test_a_network_of_ones_own_is_stored_but_not_imported_from_a_file():
    config = SweepConfig(**(REGRESSION | {"networks": (Own(),), "layer": "inputs"}))
    text = to_json(config)
    assert json.loads(text)["networks"][0]["type"].endswith(".Own")
    with pytest.raises(ValueError, match="type must be one of"):
        from_json(text)


def descent(learning_rate, **changes):
    network = LinearNetwork(3, solver=GradientDescent(learning_rate, 10))
    return SweepConfig(**(REGRESSION | {"networks": (MLP(4), network)} | changes))


def test_a_descent_that_must_diverge_is_refused():
    """At dim 10 and 5 rows the largest eigenvalue is (1 + sqrt(2))^2 = 5.83, whatever the other sample sizes."""
    message = r"learning_rate below 0.3431 .* at the smallest n_train, 5, got LinearNetwork\(hidden=3"
    for rate in (0.35, 1.0):
        with pytest.raises(ValueError, match=message):
            descent(rate)
    assert descent(0.34) and descent(0.35, n_train=(6, 20))
    assert descent(0.5, task=LinearTeacher(10, spectrum=PowerLaw(1.0))), "its largest eigenvalue is not known"
