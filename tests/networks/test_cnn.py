import dataclasses
import functools
import re

import jax
import network_oracles as oracle
import numpy as np
import pytest
from flax import nnx

from jaxalign import ImageTask, Training
from jaxalign.ensemble import GroupSpec, compile_group, draw_group
from jaxalign.networks import CNN, layers, n_parameters

SIGMAS = 4.5
# The programs are compiled once and run for milliseconds: without LLVM's passes they are there several times sooner.
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("k", [1, 2, 5, 64])
def test_n_parameters_is_that_of_the_docstring(k):
    assert n_parameters(CNN(k), (32, 32, 3), 10) == 378 * k**2 + 152 * k + 10
    assert n_parameters(CNN(k, batch_norm=False), (32, 32, 3), 10) == 378 * k**2 + 122 * k + 10


@pytest.mark.parametrize("lowering", ["lanes", "patches"])
@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        ((32, 32, 3), [(16, 16), (8, 8), (4, 4), (1, 1)]),
        ((28, 28, 1), [(14, 14), (7, 7), (3, 3), (1, 1)]),
        ((8, 8, 1), [(4, 4), (2, 2), (1, 1), (1, 1)]),
        ((9, 3, 2), [(4, 1), (4, 1), (4, 1), (4, 1)]),
    ],
)
def test_layers_have_the_shapes_that_pooling_leaves(images, sizes, lowering):
    network = CNN(3, lowering=lowering)
    names = ("stage_1", "stage_2", "stage_3", "stage_4", "penultimate")
    assert set(layers(network, images, 7)) == set(names)
    graph, state = nnx.split(nnx.eval_shape(lambda: network.build(nnx.Rngs(0), images, 7)))
    inputs = jax.ShapeDtypeStruct((16, *images), "float32")
    output, found = jax.eval_shape(lambda state, x: nnx.merge(graph, state, copy=True)(x), state, inputs)
    assert output.shape == (16, 7)
    shapes = [(16, *size, 3 * multiple) for size, multiple in zip(sizes, (1, 2, 4, 8), strict=True)]
    shapes.append((16, sizes[-1][0] * sizes[-1][1] * 24))
    assert [found[name].shape for name in names] == shapes


def test_running_statistics_are_the_members_own_and_used_in_evaluation():
    """Three calls in training, then evaluation, of two members under vmap, against NumPy stage by stage."""
    images, windows, members = (4, 5, 2), (2, 2, 1, 1), 2
    module = nnx.eval_shape(lambda: CNN(2).build(nnx.Rngs(0), images, 3))
    module.eval()
    evaluation = nnx.graphdef(module)
    module.train()
    graph, parameters, statistics = nnx.split(module, nnx.Param, ...)
    rng = np.random.default_rng(0)

    def normal(leaf):
        return rng.normal(size=(members, *leaf.shape)).astype(np.float32)

    # Random in all parameters: a bias and an offset of zero, and scales of one, would hide where they are used.
    parameters = jax.tree.map(normal, parameters)
    statistics = jax.tree.map(lambda leaf: 0.5 + np.abs(normal(leaf)), statistics)

    @jit
    @jax.vmap
    def train(parameters, statistics, x):
        def total(parameters):
            module = nnx.merge(graph, parameters, statistics, copy=True)
            output, representations = module(x)
            return output.std(), (nnx.state(module, nnx.BatchStat), output, representations)

        return jax.grad(total, has_aux=True)(parameters)

    @jit
    @jax.vmap
    def evaluate(parameters, statistics, x):
        return nnx.merge(evaluation, parameters, statistics, copy=True)(x)

    def check(member, x, returned, statistics, running):
        """Compares with NumPy; with `statistics` of the module after the call, the batch was normalized by itself."""
        output, representations = jax.tree.map(lambda leaf: leaf[member], returned)
        stages, classifier = (nnx.to_pure_dict(parameters)[part] for part in ("stages", "classifier"))
        for i, window in enumerate(windows):
            kernel, bias, scale, offset = (stages[i][name][member] for name in ("kernel", "bias", "scale", "offset"))
            normalization = running[i]
            if statistics is not None:
                z = oracle.convolve(x, kernel) + bias
                normalization = z.mean((0, 1, 2)), z.var((0, 1, 2))
                moved = (normalization[0], z.var((0, 1, 2), ddof=1))
                running[i] = tuple(0.9 * old + 0.1 * new for old, new in zip(running[i], moved, strict=True))
                found = nnx.to_pure_dict(statistics)["stages"][i]
                np.testing.assert_allclose(found["mean"][member], running[i][0], rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(found["variance"][member], running[i][1], rtol=1e-4)
            x = oracle.stage(x, kernel, bias, window, (*normalization, scale, offset))
            np.testing.assert_allclose(representations[f"stage_{i + 1}"], x, rtol=1e-3, atol=1e-4)
            # A step of the oracle starts from what the network made of the stages before.
            x = np.asarray(representations[f"stage_{i + 1}"])
        penultimate = x.reshape(len(x), -1)
        np.testing.assert_array_equal(representations["penultimate"], penultimate)
        expected = penultimate @ classifier["kernel"][member].T + classifier["bias"][member, :, 0]
        np.testing.assert_allclose(output, expected, rtol=1e-3, atol=1e-3)

    start = nnx.to_pure_dict(statistics)["stages"]
    running = [[(start[i]["mean"][m], start[i]["variance"][m]) for i in range(4)] for m in range(members)]
    batches = rng.normal(1.0, 1.0, (3, members, 16, *images)).astype(np.float32)
    for x in batches:
        gradient, (statistics, *returned) = train(parameters, statistics, x)
        for m in range(members):
            check(m, x[m], returned, statistics, running[m])
    for i, stage in nnx.to_pure_dict(gradient)["stages"].items():
        assert all(np.abs(stage[name]).max() > 0 for name in ("kernel", "scale", "offset")), i
        np.testing.assert_array_equal(stage["bias"], 0)

    x = batches[0]
    evaluated = evaluate(parameters, statistics, x)
    for m in range(members):
        check(m, x[m], evaluated, None, running[m])

    # The other rows of a batch matter to a row in training, and only there.
    other_rows = np.concatenate([x[:, :1], batches[1][:, 1:]], axis=1)
    again = evaluate(parameters, statistics, other_rows)
    np.testing.assert_allclose(again[0][:, 0], evaluated[0][:, 0], rtol=1e-5)
    outputs = [train(parameters, statistics, rows)[1][1][:, 0] for rows in (x, other_rows)]
    assert np.abs(outputs[0] - outputs[1]).max(-1).min() > 0.01


def test_weights_start_as_he_and_lecun_draws():
    values = nnx.to_pure_dict(jit(lambda: nnx.state(CNN(16).build(nnx.Rngs(0), (8, 8, 3), 50)))())
    fan_ins = [9 * channels for channels in (3, 16, 32, 64)]
    draws = [(values["stages"][i]["kernel"], 2 / fan_in) for i, fan_in in enumerate(fan_ins)]
    draws.append((values["classifier"]["kernel"], 1 / 128))
    for kernel, variance in draws:
        kernel = np.asarray(kernel, np.float64)
        np.testing.assert_allclose(kernel.var(), variance, rtol=SIGMAS * np.sqrt(2 / kernel.size))
        np.testing.assert_allclose(kernel.mean(), 0, atol=SIGMAS * np.sqrt(variance / kernel.size))
    for stage in values["stages"].values():
        for name, value in (("bias", 0), ("scale", 1), ("offset", 0), ("mean", 0), ("variance", 1)):
            np.testing.assert_array_equal(stage[name], value)
    np.testing.assert_array_equal(values["classifier"]["bias"], 0)


@pytest.mark.slow
def test_members_are_the_same_in_every_layout_lowering_and_order():
    """Trained together in lanes, and one after another in patches: the same members."""
    task, options = ImageTask("digits"), {"shared_inputs": True, "shared_batches": True}
    noise, members, rows = (0.0, 0.4), 2, 32
    data = draw_group(
        task, seed=0, replicate=0, noise=noise, members=members, rows=rows, probes=16, shared_init=False, **options
    )

    def run(data, lowering, chunk):
        spec = GroupSpec(
            network=CNN(2, lowering=lowering),
            task=task,
            training=Training("sgd", 0.1, steps=3, batch_size=16),
            layer="penultimate",
            probes=16,
            chunk=chunk,
            **options,
        )
        return jax.tree.map(np.asarray, compile_group(spec, data)(data, rows))

    together = run(data, "lanes", None)
    assert together.finite.all() and together.representation.shape == (4, 16, 16)
    # Other weights and other labels made other members.
    differences = together.representation[[0, 0, 1]] - together.representation[[1, 2, 3]]
    spread = together.representation.std()
    assert (np.abs(differences).max((1, 2)) > 0.1 * spread).all()

    order = np.array([2, 0, 3, 1])
    permuted = data._replace(targets=data.targets[order], levels=data.levels[order], init_keys=data.init_keys[order])
    reordered = jax.tree.map(lambda leaf: leaf[order], together)
    for outcome, expected in ((run(data, "patches", 1), together), (run(permuted, "lanes", None), reordered)):
        np.testing.assert_allclose(outcome.representation, expected.representation, rtol=0, atol=1e-4 * spread)
        # A row whose two largest outputs are close may be counted either way.
        np.testing.assert_allclose(outcome.train_error, expected.train_error, atol=1.1 / rows)
        np.testing.assert_allclose(outcome.test_error, expected.test_error, atol=2.1 / 400)


def test_bad_input_is_named():
    cases = [
        ({"width": 0}, "width must be an integer of at least 1, got 0"),
        ({"width": 2.0}, "width must be an integer of at least 1, got 2.0"),
        ({"batch_norm": 1}, "batch_norm must be True or False, got 1"),
        ({"lowering": "natve"}, "lowering must be one of canonical, lanes, native, patches; got 'natve' (did you mean"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            CNN(**{"width": 2, **arguments})
    for shape in ((64,), (8, 8)):
        message = f"input_shape (of a CNN) must be (height, width, channels), got {shape}"
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            CNN(2).build(nnx.Rngs(0), shape, 10)


def test_networks_are_values_and_the_lowering_is_not_shown():
    assert CNN(2) == CNN(2, True) != CNN(2, False)
    assert CNN(2) != CNN(2, lowering="native") and repr(CNN(2, lowering="native")) == repr(CNN(2))
    assert {field.name for field in dataclasses.fields(CNN) if not field.metadata.get("stored", True)} == {"lowering"}
    assert (CNN(2).members_at_once("cpu"), CNN(2).members_at_once("gpu")) == (1, None)
