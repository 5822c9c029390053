import json

import pytest

from jaxalign.report import words


def test_statement_of_solved_networks(solved):
    said = words.statement(solved, json.loads(solved.attrs["config"]))
    assert said.startswith(
        "Regression on a random linear teacher of 20 input dimensions and 1 output, with Gaussian noise on the targets,"
        " at signal-to-noise ratios (SNR) of 1 and 5. At every noise level and for 4 numbers of training samples from"
        " 10 to 60, 3 replicates of an ensemble of 4 networks of each kind: LinearNetwork(hidden=3, solver=MinNorm()) "
        "(63 parameters) and LinearNetwork(hidden=3, solver=Ridge(lam=0.1)) (63 parameters). In all these are 192"
        " networks. They were not trained but solved in closed form, by MinNorm() and Ridge(lam=0.1). The members of an"
        " ensemble share their training inputs and differ by their noise. A replicate is"
    )


def test_statement_of_trained_networks(digits):
    config = json.loads(digits.attrs["config"])
    said = words.statement(digits, config)
    assert "symmetric label noise of 20% and 60%." in said
    assert "trained by Adam for 150 steps on minibatches of 20, at the constant learning rate 0.01." in said
    assert "share their training inputs, initial weights and minibatches and differ by their noise." in said
    assert "by conditional copula entropy and information imbalance." in said
    config["shared_init"] = config["shared_batches"] = False
    said = words.statement(digits.drop_vars(["cce", "information_imbalance"]), config)
    assert "share their training inputs and differ by their noise, initial weights and minibatches." in said
    assert said.endswith("Representations were not compared.")
    config["shared_inputs"] = False
    assert "differ by their noise, training inputs, initial weights and minibatches; they" in words.statement(
        digits, config
    )


def test_statement_of_noise_on_the_inputs(digits):
    config = json.loads(digits.attrs["config"])
    config["task"] |= {"noise_process": "gaussian_inputs", "classes": [3, 5]}
    said = words.statement(digits.rename(label_noise="snr"), config)
    assert said.startswith(
        "Classification of the images digits, classes 3 and 5, with Gaussian noise on the training images, at"
        " signal-to-noise ratios (SNR) of 0.2 and 0.6."
    )


def test_title():
    task = {"type": "LinearTeacher"}
    assert words.title({"task": task}, ["MLP(hidden=3)"]) == "MLP(hidden=3) on a linear teacher: alignment under noise"
    names = ["MLP(hidden=3)", "MLP(hidden=4)", "LinearNetwork(hidden=3)"]
    assert words.title({"task": task}, names) == "MLP and LinearNetwork on a linear teacher: alignment under noise"
    assert words.title({"task": {"type": "ImageTask", "name": "mnist"}}, ["CNN(width=4)"]).startswith(
        "CNN(width=4) on mnist"
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (0.003, "0.003"),
        (True, "True"),
        ([1, 2.5], "1, 2.5"),
        ({"type": "Ridge", "lam": 0.1}, "Ridge(lam=0.1)"),
        (list(range(30)), ", ".join(map(str, range(24))) + ", ... (30 in all)"),
    ],
)
def test_values_are_written_as_in_python(value, text):
    assert words.called(value) == text


def test_words():
    assert words.listed(["a"]) == "a" and words.listed(["a", "b", "c"]) == "a, b and c"
    assert words.counted(1, "network") == "1 network" and words.counted(1200, "network") == "1,200 networks"
    assert words.level_name("snr", float("inf")) == "∞" and words.level_name("label_noise", 0.25) == "25%"
    assert words.direction("cce").startswith("lower") and words.direction("linear_cka").startswith("higher")
