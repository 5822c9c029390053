import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxalign import MLP, ImageTask, LinearNetwork, LinearTeacher, Training
from jaxalign.ensemble import GroupSpec, arguments, compile_group, draw_group, draw_initial, run_members
from jaxalign.ensemble.batch import batch_members

TASK = LinearTeacher(dim=6)
OPTIONS = {"shared_inputs": True, "shared_init": True, "shared_batches": True}
DRAW = {"seed": 0, "replicate": 0, "noise": (0.5, 5.0), "members": 3, "rows": 24, "probes": 10}


def draw(task=TASK, **changes):
    return draw_group(task, **(DRAW | OPTIONS | changes))


def spec(
    network=None, task=TASK, steps=30, batch_size=8, chunk=None, shared_inputs=True, shared_batches=True, **training
):
    return GroupSpec(
        network=network or MLP(hidden=4),
        task=task,
        training=Training(optimizer="sgd", learning_rate=0.05, steps=steps, batch_size=batch_size, **training),
        layer="hidden",
        probes=10,
        shared_inputs=shared_inputs,
        shared_batches=shared_batches,
        chunk=chunk,
    )


def run(spec, data, n_train=20):
    return jax.tree.map(np.asarray, compile_group(spec, data)(data, jnp.int32(n_train)))


def leaves(*outcomes):
    return zip(*(jax.tree.leaves(outcome) for outcome in outcomes), strict=True)


def pure(spec, data):
    """What is compiled, as a function of the draws and the number of training samples."""
    initial = draw_initial(spec.network, spec.task, data.init_keys)
    return lambda d, n: run_members(spec, *arguments(spec, d, initial), n)


@dataclasses.dataclass(frozen=True)
class Normalized:
    def build(self, rngs, input_shape, n_outputs):
        class Module(nnx.Module):
            def __init__(self):
                self.norm = nnx.BatchNorm(input_shape[0], momentum=0.5, rngs=rngs)
                self.dense = nnx.Linear(input_shape[0], n_outputs, rngs=rngs)

            def __call__(self, x):
                hidden = self.norm(x)
                return self.dense(hidden), {"hidden": hidden}

        return Module()


@pytest.mark.parametrize(
    ("options", "optimizer"),
    [
        ({}, optax.sgd(0.05)),
        (
            {"clip": 0.3, "weight_decay": 0.1},
            optax.chain(optax.clip_by_global_norm(0.3), optax.add_decayed_weights(0.1), optax.sgd(0.05)),
        ),
    ],
)
def test_a_member_equals_plain_gradient_descent(options, optimizer):
    """The whole path against a loop over one network with NumPy's mean over the first n rows."""
    data, n = draw(), 20
    outcome = run(spec(batch_size=None, steps=25, **options), data, n)
    for g in (0, 5):
        module = MLP(hidden=4).build(nnx.Rngs(data.init_keys), (6,), 1)
        graph, parameters = nnx.split(module)
        state = optimizer.init(parameters)

        def loss(parameters, g=g, graph=graph):
            output, _ = nnx.merge(graph, parameters)(data.drawn[:n])
            return jnp.mean((output - data.targets[g, :n]) ** 2)

        gradient = jax.jit(jax.grad(loss))
        for _ in range(25):
            change, state = optimizer.update(gradient(parameters), state, parameters)
            parameters = optax.apply_updates(parameters, change)
        output, representations = nnx.merge(graph, parameters)(data.test.inputs)
        np.testing.assert_allclose(outcome.train_error[g], loss(parameters), rtol=1e-5)
        np.testing.assert_allclose(outcome.test_error[g], jnp.mean((output - data.test.targets) ** 2), rtol=1e-5)
        np.testing.assert_allclose(outcome.representation[g], representations["hidden"][:10], rtol=1e-4, atol=1e-6)


def test_clipping_looks_at_one_member_alone():
    data = draw()
    steep = data._replace(targets=data.targets.at[1].multiply(100.0))
    a, b = (run(spec(batch_size=None, steps=25, clip=0.3, weight_decay=0.1), d) for d in (data, steep))
    others = [0, 2, 3, 4, 5]
    np.testing.assert_array_equal(a.representation[others], b.representation[others])
    assert b.finite.all() and np.abs(a.representation[1] - b.representation[1]).max() > 0.01


@pytest.mark.parametrize("shared_inputs", [True, False])
@pytest.mark.parametrize("shared_batches", [True, False])
def test_layouts_agree(shared_inputs, shared_batches):
    data = draw(shared_inputs=shared_inputs, shared_batches=shared_batches)
    options = {"shared_inputs": shared_inputs, "shared_batches": shared_batches}
    whole = run(spec(**options), data)
    for chunk in (1, 4):
        chunked = run(spec(chunk=chunk, **options), data)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5), whole, chunked)


def test_batch_members_covers_a_remainder():
    members = {"x": jnp.arange(7.0)}
    for chunk in (None, 1, 3, 7, 9):
        np.testing.assert_array_equal(batch_members(lambda m: m["x"] ** 2, members, chunk), np.arange(7.0) ** 2)


@pytest.mark.parametrize("batch_size", [8, None])
def test_padding_rows_are_never_learned(batch_size):
    data = draw()
    poisoned = data._replace(drawn=data.drawn.at[20:].set(1e3), targets=data.targets.at[:, 20:].set(-1e3))
    for x, y in leaves(run(spec(batch_size=batch_size), data), run(spec(batch_size=batch_size), poisoned)):
        np.testing.assert_array_equal(x, y)


def test_what_is_shared_is_shared():
    data = draw(shared_init=False)
    keys = jax.random.key_data(data.init_keys).reshape(2, 3, -1)
    np.testing.assert_array_equal(keys[0], keys[1])
    assert len(np.unique(keys[0], axis=0)) == 3
    assert draw().init_keys.shape == ()
    assert draw(shared_inputs=False).drawn.shape == (6, 24, 6)
    np.testing.assert_allclose(draw(shared_inputs=False).drawn[0], draw().drawn, atol=1e-6)
    assert draw(shared_batches=False).batch_keys.shape == (6,)


def test_growing_leaves_the_draws_as_they_are():
    small, large = draw(), draw(noise=(0.5, 5.0, 9.0), members=5, rows=40, probes=2000)
    np.testing.assert_array_equal(small.drawn, large.drawn[:24])
    targets = large.targets.reshape(3, 5, 40, 1)[:2, :3, :24]
    np.testing.assert_array_equal(small.targets.reshape(2, 3, 24, 1), targets)
    np.testing.assert_array_equal(small.test.inputs[:10], large.test.inputs[:10])


def test_permuted_members_give_permuted_outcomes():
    data = draw(shared_init=False)
    order = np.array([4, 0, 5, 2, 1, 3])
    permuted = data._replace(targets=data.targets[order], levels=data.levels[order], init_keys=data.init_keys[order])
    for x, y in leaves(run(spec(), data), run(spec(), permuted)):
        np.testing.assert_allclose(x[order], y, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [8, None])
def test_a_diverging_member_is_nan_and_harms_no_other(batch_size):
    data = draw()
    poisoned = data._replace(targets=data.targets.at[1].multiply(1e30))
    healthy, mixed = run(spec(batch_size=batch_size), data), run(spec(batch_size=batch_size), poisoned)
    others = [0, 2, 3, 4, 5]
    assert not mixed.finite[1] and mixed.finite[others].all()
    assert all(np.isnan(x[1]).all() for x in (mixed.train_error, mixed.test_error, mixed.representation))
    np.testing.assert_array_equal(healthy.representation[others], mixed.representation[others])


def test_a_diverging_classifier_has_no_accuracy():
    task = ImageTask("digits")
    data = draw(task, noise=(0.2,), rows=40)
    outcome = run(dataclasses.replace(spec(task=task), training=Training("sgd", 1e30, steps=20, batch_size=8)), data)
    assert not outcome.finite.any() and np.isnan(outcome.test_error).all() and np.isnan(outcome.train_error).all()


def test_init_scale_scales_the_initial_weights():
    data = draw()
    reference = run(spec(LinearNetwork(4, solver=None), steps=1, init_scale=1.0), data)
    tiny = run(
        dataclasses.replace(
            spec(LinearNetwork(4, solver=None)), training=Training("sgd", 1e-12, steps=1, init_scale=1e-2)
        ),
        data,
    )
    ratio = np.linalg.norm(tiny.representation) / np.linalg.norm(reference.representation)
    assert 0.005 < ratio < 0.02


def test_trained_linear_network_reaches_the_solved_one():
    """From a small initialization full-batch descent ends at the balanced minimum-norm solution."""
    data = draw()
    trained = GroupSpec(
        network=LinearNetwork(hidden=4, solver=None),
        task=TASK,
        training=Training("sgd", 0.1, momentum=0.9, steps=4000, init_scale=1e-3),
        layer="output",
        probes=10,
        shared_inputs=True,
        shared_batches=True,
    )
    solved = dataclasses.replace(trained, network=LinearNetwork(hidden=4))
    a, b = run(trained, data), run(solved, data)
    np.testing.assert_allclose(a.representation, b.representation, atol=2e-3)
    np.testing.assert_allclose(a.train_error, b.train_error, atol=1e-4)


def test_state_beside_the_parameters_is_kept():
    """Running statistics of a normalization belong to the member, and evaluation uses them."""

    data = draw()
    outcome = run(spec(Normalized(), batch_size=None, steps=30), data, n_train=24)
    x = np.asarray(data.drawn)
    expected = (np.asarray(data.test.inputs[:10]) - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    # The scale and the bias are trained, so each unit is an affine function of the standardized input.
    for unit in range(6):
        assert abs(np.corrcoef(outcome.representation[0, :, unit], expected[:, unit])[0, 1]) > 0.9999
    assert outcome.finite.all()


def test_run_members_is_pure_and_traceable():
    data = draw()
    shapes = jax.eval_shape(pure(spec(), data), data, jnp.int32(20))
    assert shapes.representation.shape == (6, 10, 4) and shapes.train_error.shape == (6,)


def test_one_program_serves_all_sample_sizes_in_epochs():
    built = []

    @dataclasses.dataclass(frozen=True)
    class Counting:
        def build(self, rngs, input_shape, n_outputs):
            built.append(1)
            return MLP(hidden=4).build(rngs, input_shape, n_outputs)

    data, epochs = draw(), spec(Counting(), steps=None, epochs=10)
    run(epochs, data, 2)
    traces = len(built)
    for n_train in (1, 8, 9, 20, 24):
        outcome = run(epochs, data, n_train)
        np.testing.assert_array_equal(outcome.steps, 10 * -(-n_train // 8))
        if n_train == 20:
            for x, y in leaves(outcome, run(spec(), data)):
                np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    assert len(built) == traces


def test_members_that_stop_leave_the_others_as_they_are():
    """Without noise the linear teacher is learned; at SNR 0.5, with more rows than dimensions, nobody gets there."""
    patient = spec(LinearNetwork(4, solver=None), steps=None, epochs=200, patience=2, tolerance=1e-2)
    data = draw(noise=(0.5, 1e6), shared_init=False)
    outcome = run(patient, data)
    noisy, learned = slice(0, 3), slice(3, 6)
    assert (outcome.steps[noisy] == 600).all() and (outcome.steps[learned] < 600).all()
    assert len(set(outcome.steps[learned].tolist())) > 1 and (outcome.train_error[learned] < 1e-2).all()

    nobody = run(patient, data._replace(targets=data.targets.at[learned].set(data.targets[noisy])))
    assert (nobody.steps == 600).all()
    for x, y in leaves(outcome, nobody):
        np.testing.assert_array_equal(x[noisy], y[noisy])

    g = 3 + int(np.argmin(outcome.steps[learned]))
    stopped = run(spec(LinearNetwork(4, solver=None), steps=int(outcome.steps[g])), data)
    np.testing.assert_allclose(outcome.representation[g], stopped.representation[g], rtol=1e-4, atol=1e-5)
    alone = run(dataclasses.replace(patient, chunk=1), data)
    np.testing.assert_array_equal(alone.steps, outcome.steps)
    np.testing.assert_allclose(alone.representation, outcome.representation, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("shared_batches", [True, False])
def test_patience_leaves_shared_minibatches_shared(shared_batches):
    data = draw(shared_batches=shared_batches)
    patient = spec(batch_size=7, patience=2, shared_batches=shared_batches)
    program = str(jax.make_jaxpr(pure(patient, data))(data, jnp.int32(20)))
    assert ("f32[6,7,6]" in program) is not shared_batches


def test_learning_rates_of_ones_own():
    data, rates = draw(), (0.01, 0.05, 0.1)
    outcome = run(dataclasses.replace(spec(), training=Training("sgd", rates, steps=30, batch_size=8)), data)
    for m, rate in ((1, 0.05), (2, 0.1)):
        each = run(dataclasses.replace(spec(), training=Training("sgd", rate, steps=30, batch_size=8)), data)
        for x, y in leaves(outcome, each):
            np.testing.assert_allclose(x[[m, 3 + m]], y[[m, 3 + m]], rtol=1e-5, atol=1e-6)


def test_evaluation_in_blocks_equals_evaluation_at_once(monkeypatch):
    """With running statistics, which a block must not replace by its own."""
    data = draw()

    def evaluated():
        return jax.jit(pure(spec(Normalized()), data))(data, jnp.int32(20))

    whole = evaluated()
    monkeypatch.setattr("jaxalign.ensemble.blocks._BLOCK_VALUES", 7 * 6)
    for x, y in leaves(whole, evaluated()):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


@dataclasses.dataclass(frozen=True)
class NoisyInputs(LinearTeacher):
    noise_on_inputs = True

    def noisy_inputs(self, world, drawn, key, level):
        return drawn + jax.random.normal(key, drawn.shape) / level


@pytest.mark.parametrize("batch_size", [8, None])
def test_noise_on_inputs_is_learned(batch_size):
    """As if the noisy inputs of each member had been drawn for it."""
    data, task = draw(), NoisyInputs(dim=6)
    noisy = run(spec(task=task, batch_size=batch_size, chunk=3), data)
    drawn = jax.vmap(task.noisy_inputs, in_axes=(None, None, 0, 0))(None, data.drawn, data.noise_keys, data.levels)
    own = run(spec(batch_size=batch_size, shared_inputs=False), data._replace(drawn=drawn))
    for x, y in leaves(noisy, own):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-5)
    assert (np.abs(noisy.train_error - run(spec(batch_size=batch_size), data).train_error) > 1e-3).all()


def test_noise_keys_are_the_members_at_every_level():
    keys = jax.random.key_data(draw().noise_keys).reshape(2, 3, -1)
    np.testing.assert_array_equal(keys[0], keys[1])
    assert len(np.unique(keys[0], axis=0)) == 3
