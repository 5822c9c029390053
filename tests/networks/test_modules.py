"""Classes of flax modules, given as networks as they are."""

import re

import numpy as np
import pytest
from flax import nnx

from jaxalign import MLP, ImageTask, LinearTeacher, SweepConfig, Training, run_sweep
from jaxalign.networks import FlaxNetwork, digest, layer_units, n_parameters
from jaxalign.sweep.config import from_json, to_json


class Net(nnx.Module):
    def __init__(self, input_shape, n_outputs, width=8, activation=nnx.relu, *, rngs):
        self.embed = nnx.Linear(input_shape[0], width, rngs=rngs)
        self.readout = nnx.Linear(width, n_outputs, rngs=rngs)
        self.activation = activation

    def __call__(self, x):
        hidden = self.activation(self.embed(x))
        return self.readout(hidden), {"hidden": hidden, "square": hidden.reshape(len(x), 2, -1)}


class Stateful(nnx.Module):
    """With a dropout or a batch normalization."""

    def __init__(self, input_shape, n_outputs, rate=0.0, batch_norm=False, *, rngs):
        self.embed = nnx.Linear(input_shape[0], 16, rngs=rngs)
        self.between = nnx.BatchNorm(16, rngs=rngs) if batch_norm else nnx.Dropout(rate, rngs=rngs)
        self.readout = nnx.Linear(16, n_outputs, rngs=rngs)

    def __call__(self, x):
        hidden = self.between(nnx.relu(self.embed(x)))
        return self.readout(hidden), {"hidden": hidden}


def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 6))
    y = (x[:, 0] > 0).astype(int)
    return ImageTask.from_arrays(x[:100], y[:100], x[100:], y[100:])


def config(*networks, **changes):
    common = {"task": LinearTeacher(dim=5), "noise": (1.0,), "n_train": (10,), "members": 2, "probes": 50}
    return SweepConfig(networks=networks, **(common | {"training": Training(steps=30)} | changes))


def run(*networks, **changes):
    return run_sweep(config(*networks, task=arrays(), noise=(0.2,), n_train=(60,), **changes), progress=False)


def test_a_class_becomes_a_network_that_is_named_after_it():
    of_class, narrow = config(Net, FlaxNetwork(Net, width=4, activation=nnx.tanh)).networks
    assert of_class == FlaxNetwork(Net) and hash(of_class) == hash(FlaxNetwork(Net))
    assert (str(of_class), str(narrow)) == ("Net", "Net(activation=tanh, width=4)")
    assert narrow == FlaxNetwork(Net, activation=nnx.tanh, width=4) != FlaxNetwork(Net, width=4)
    assert n_parameters(narrow, (5,), 3) == 4 * 6 + 3 * 5


def test_representations_have_any_shape():
    assert layer_units(FlaxNetwork(Net), (5,), 3) == {"hidden": 8, "square": 8}
    ds = run(Net, MLP(8), layer="logits", metrics=("linear_cka",))
    assert ds["network"].values.tolist() == ["Net", "MLP(hidden=8, activation='relu')"]
    assert np.isfinite(run(Net, layer="square", metrics=("linear_cka",))["linear_cka"]).sum() == 2


class NoRngs(nnx.Module):
    def __init__(self, width):
        self.width = width


class ShapeAsNumber(nnx.Module):
    def __init__(self, input_shape, n_outputs, *, rngs):
        self.linear = nnx.Linear(input_shape, n_outputs, rngs=rngs)


class OutputAlone(Net):
    def __call__(self, x):
        return super().__call__(x)[0]


class TooWide(Net):
    def __init__(self, input_shape, n_outputs, *, rngs):
        super().__init__(input_shape, n_outputs + 1, rngs=rngs)


class Transposed(Net):
    def __call__(self, x):
        return super().__call__(x.T)


class OtherInEvaluation(Stateful):
    def __call__(self, x):
        output, representations = super().__call__(x)
        return output, {} if self.between.deterministic else representations


class DropoutWithoutRngs(Stateful):
    def __init__(self, input_shape, n_outputs, *, rngs):
        super().__init__(input_shape, n_outputs, rngs=rngs)
        self.between = nnx.Dropout(0.5)


PAIR = r"networks whose call returns \(output of shape \(rows, 1\), dict of representations \(rows, \.\.\.\)\)"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (NoRngs, r"made as NoRngs\(input_shape, n_outputs, rngs=rngs\), got __init__\(self, width\): too many"),
        (ShapeAsNumber, r"built for input_shape \(5,\) and n_outputs 1, got ShapeAsNumber, which raises TypeError: "),
        (OutputAlone, rf"{PAIR}, got OutputAlone, which for inputs of shape \(2, 5\) returns \(2, 1\)$"),
        (TooWide, rf"{PAIR}, got TooWide, .* returns \(\(2, 2\), {{'hidden': \(2, 8\), 'square': \(2, 2, 4\)}}\)$"),
        (Transposed, rf"{PAIR}, got Transposed, which for inputs of shape \(2, 5\) raises TypeError: "),
        (OtherInEvaluation, r"returns \(\(2, 1\), {'hidden': .*}\) in training, but \(\(2, 1\), {}\) in evaluation$"),
        (DropoutWithoutRngs, "got DropoutWithoutRngs, .* raises ValueError: .*no `rngs`"),
        (Net((5,), 1, rngs=nnx.Rngs(0)), r"classes such as Net, not modules that are made, got 'Net\(...\)'"),
        (MLP, "non-empty sequence of networks such as MLP.hidden=16., or classes of flax nnx modules, got"),
        (int, "non-empty sequence of networks"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_no_network_is_refused_with_what_is_expected(network, message):
    with pytest.raises(ValueError, match=f"(?s)^networks must be .*{message}"):
        config(network)


def test_a_class_alone_and_two_of_one_name_are_refused():
    with pytest.raises(ValueError, match="networks must be a tuple of networks"):
        SweepConfig(task=LinearTeacher(dim=5), networks=Net, noise=(1.0,), n_train=(10,))
    with pytest.raises(ValueError, match=r"networks must be told apart by their names, got \['Net', 'Net'\]"):
        config(Net, type("Net", (Net,), {}))


def test_options_are_checked():
    with pytest.raises(ValueError, match="got an unexpected keyword argument 'wdth'"):
        FlaxNetwork(Net, wdth=3)
    with pytest.raises(ValueError, match=r"width \(of Net\) must be hashable, such as a tuple .*, got \[3\]"):
        FlaxNetwork(Net, width=[3])
    with pytest.raises(ValueError, match="module must be a class of flax nnx modules, got 'Net'"):
        FlaxNetwork("Net")


def test_json_names_the_class_but_a_file_imports_none():
    text = to_json(config(FlaxNetwork(Net, width=4, activation=nnx.tanh)))
    assert re.search(r'"activation": "jax[\w.]*\.tanh", "digest": "\w{16}", "type": "[\w.]*test_modules\.Net"', text)
    with pytest.raises(ValueError, match=r"read from a file, which imports no code of yours, got '[\w.]*Net'"):
        from_json(text)


def test_a_digest_tells_apart_what_networks_compute():
    def variant(change):
        class Variant(Net):
            def __call__(self, x):
                return super().__call__(change(x))

        return digest(FlaxNetwork(Variant), (5,), 1)

    assert variant(lambda x: x) == digest(FlaxNetwork(Net), (5,), 1), "written differently, but the same"
    zero = FlaxNetwork(type("Zero", (Net,), {"__init__": _start_at_zero}))
    networks = [FlaxNetwork(Net), FlaxNetwork(Net, width=4), FlaxNetwork(Net, activation=nnx.tanh), zero]
    digests = [digest(network, (5,), 1) for network in networks]
    digests += [variant(lambda x: 2 * x), variant(lambda x: 3 * x), variant(nnx.relu)]
    for offset in (np.zeros((1, 5), "float32"), np.ones((1, 5), "float32")):
        digests.append(variant(lambda x, offset=offset: x + offset))
    assert len({*digests}) == len(digests)


def _start_at_zero(self, input_shape, n_outputs, *, rngs):
    Net.__init__(self, input_shape, n_outputs, rngs=rngs)
    self.readout.kernel[...] *= 0.0


def test_a_store_knows_the_class_again_and_refuses_another_of_its_name(tmp_path):
    def again(network, **changes):
        return run_sweep(config(network, **changes), tmp_path / "sweep.zarr", progress=False)

    first = again(Net)
    grown = again(Net, n_train=(10, 20))
    np.testing.assert_array_equal(grown["cce"].sel(n_train=[10]), first["cce"])

    class Other(Net):
        def __call__(self, x):
            return super().__call__(2 * x)

    Other.__name__, Other.__qualname__ = Net.__name__, Net.__qualname__
    with pytest.raises(ValueError, match="holds another configuration .networks: .*digest"):
        again(Other, n_train=(10, 20))


@pytest.mark.slow
def test_dropout_is_drawn_at_every_step_and_off_in_evaluation():
    """Without label noise members of equal initial weights are one network, if evaluation draws nothing."""
    common = {
        "noise": (0.0,),
        "training": Training(steps=60, batch_size=16, learning_rate=0.03),
        "n_train": (60,),
        "task": arrays(),
    }
    ds = run_sweep(config(Stateful, FlaxNetwork(Stateful, rate=0.5), **common), progress=False)
    within = ds["cce"].isel(member_a=0, member_b=1, replicate=0, label_noise=0, n_train=0).values
    np.testing.assert_allclose(np.diag(within), -np.log(49), rtol=1e-5)
    assert within[0, 1] > -np.log(49) + 0.1, "dropout changed nothing"
    own = run_sweep(config(FlaxNetwork(Stateful, rate=0.5), shared_init=False, **common), progress=False)
    assert own["cce"].isel(member_a=0, member_b=1).values.item() > -np.log(49) + 0.1


def test_batch_normalization_works_in_minibatches_and_is_refused_in_full_batches():
    normalized = FlaxNetwork(Stateful, batch_norm=True)
    ds = run(normalized, training=Training(steps=60, batch_size=16, learning_rate=0.01))
    assert ds["converged"].all() and (ds["test_error"] < 0.4).all()
    with pytest.raises(ValueError, match=r"batch_size must be a number of rows for Stateful\(batch_norm=True\)"):
        config(normalized)
