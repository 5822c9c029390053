import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxalign import MLP, LinearTeacher, SweepConfig, Training
from jaxalign.sweep.config import from_json, to_json


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"optimizer": "adma"}, "optimizer must be one of adam, adamw, sgd.*did you mean 'adam'"),
        ({"schedule": "cos"}, "schedule must be one of constant, cosine, inverse_sqrt"),
        ({"schedule_epochs": 0}, "schedule_epochs must be an integer of at least 1, got 0"),
        ({"learning_rate": 0.0}, "learning_rate must be .* above 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"learning_rate": ()}, "learning_rate must be a number, or a non-empty tuple of numbers"),
        ({"learning_rate": (0.1, -0.1)}, r"learning_rate\[1\] must be a finite number above 0, got -0.1"),
        ({"epochs": 2, "steps": 100}, "steps must be None where epochs are given, got 100"),
        ({"epochs": 0}, "epochs must be a finite number above 0, got 0"),
        ({"patience": 0}, "patience must be a finite number above 0, got 0"),
        ({"optimizer": "sgd", "momentum": 1.0}, "momentum must be below 1"),
        ({"optimizer": "adam", "momentum": 0.9}, "momentum .*sgd"),
        ({"steps": 0}, "steps must be an integer of at least 1, got 0"),
        ({"steps": 10.0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"weight_decay": -1e-4}, "weight_decay"),
        ({"clip": 0.0}, "clip"),
        ({"init_scale": 0.0}, "init_scale"),
        ({"tolerance": -0.1}, "tolerance"),
    ],
)
def test_bad_input_is_named(options, named):
    with pytest.raises(ValueError, match=named):
        Training(**options)


@pytest.mark.parametrize(
    ("training", "reference"),
    [
        (Training(optimizer="sgd", learning_rate=0.1), optax.sgd(0.1)),
        (Training(optimizer="sgd", learning_rate=0.1, momentum=0.9), optax.sgd(0.1, momentum=0.9)),
        (Training(optimizer="adam", learning_rate=0.01), optax.adam(0.01)),
        (
            Training(optimizer="adamw", learning_rate=0.01, weight_decay=0.1),
            optax.adamw(0.01, weight_decay=0.1),
        ),
        (
            Training(optimizer="sgd", learning_rate=0.1, weight_decay=0.2),
            optax.chain(optax.add_decayed_weights(0.2), optax.sgd(0.1)),
        ),
        (
            Training(optimizer="sgd", learning_rate=0.1, clip=0.5),
            optax.chain(optax.clip_by_global_norm(0.5), optax.sgd(0.1)),
        ),
        (
            Training(optimizer="sgd", learning_rate=0.1, schedule="cosine", steps=20),
            optax.sgd(optax.cosine_decay_schedule(0.1, 20)),
        ),
        (
            Training(optimizer="adam", learning_rate=0.1, schedule="cosine", epochs=4, batch_size=8),
            optax.adam(optax.cosine_decay_schedule(0.1, 4 * 3)),
        ),
        (
            Training.gu2024(epochs=9, batch_size=8, schedule_epochs=2),
            optax.sgd(lambda t: 0.05 / jnp.sqrt(1 + (t // 3) // 2)),
        ),
    ],
)
def test_steps_equal_those_of_optax(training, reference):
    def descend(optimizer):
        weights = jnp.array([1.0, -2.0, 3.0])
        state = optimizer.init(weights)
        for _ in range(10):
            change, state = optimizer.update(jax.grad(lambda w: jnp.sum(jnp.sin(w) * w))(weights), state, weights)
            weights = optax.apply_updates(weights, change)
        return weights

    rate = training.learning_rate
    traced = jax.jit(lambda n_train: descend(training.transformation(n_train, rate)))(jnp.int32(20))
    for weights in (descend(training.transformation(20, rate)), traced):
        np.testing.assert_allclose(weights, descend(reference), rtol=1e-6)


def test_a_number_of_steps_needs_no_epochs_and_the_other_way_round():
    assert Training() == Training(steps=5000) and Training().steps == 5000 and Training().epochs is None
    assert Training(epochs=200, batch_size=128).steps is None
    assert hash(Training(learning_rate=[0.1, 1])) and Training(learning_rate=[0.1, 1]).learning_rate == (0.1, 1.0)


@pytest.mark.parametrize(
    ("epochs", "batch_size", "n_train", "steps"),
    [
        (3, 8, 16, 6),
        (3, 8, 17, 9),
        (3, 8, 5, 3),
        (200, 128, 50_000, 78_200),
        (2.5, 8, 17, 8),  # 7.5, to the even neighbour
        (0.4, 8, 17, 1),
        (0.01, 8, 17, 1),
        (7, None, 17, 7),
        (0.1, None, 17, 1),
    ],
)
def test_an_epoch_is_as_many_minibatches_as_hold_the_training_set(epochs, batch_size, n_train, steps):
    training = Training(epochs=epochs, batch_size=batch_size)
    assert training.total_steps(n_train) == steps == int(training.total_steps(jnp.int32(n_train)))


@pytest.mark.parametrize("n_train", [5, 20])
def test_schedules_are_their_formulas(n_train):
    steps = np.arange(60)
    per_epoch = -(-n_train // 8)

    def factors(**options):
        training = Training(batch_size=8, **options)
        return jax.vmap(training.schedule_factor, in_axes=(0, None))(jnp.asarray(steps), jnp.int32(n_train))

    cosine = factors(schedule="cosine", epochs=20)
    np.testing.assert_allclose(cosine, (1 + np.cos(np.pi * steps / (20 * per_epoch))) / 2, atol=1e-6)
    expected = 1 / np.sqrt(1 + (steps // per_epoch) // 4)
    np.testing.assert_allclose(factors(schedule="inverse_sqrt", schedule_epochs=4), expected, rtol=1e-6)
    assert len(np.unique(expected)) == 60 // per_epoch // 4 + bool(60 % (4 * per_epoch))


def test_the_recipe_of_gu_et_al():
    recipe = Training.gu2024(epochs=200)
    assert (recipe.optimizer, recipe.momentum, recipe.batch_size, recipe.weight_decay) == ("sgd", 0.0, 128, 0.0)
    per_epoch = 391  # of 50,000 images
    for epoch, rate in ((0, 0.05), (49, 0.05), (50, 0.05 / 2**0.5), (199, 0.025)):
        for step in (epoch * per_epoch, (epoch + 1) * per_epoch - 1):
            np.testing.assert_allclose(recipe.learning_rate * recipe.schedule_factor(step, 50_000), rate, rtol=1e-6)
    assert Training.gu2024(epochs=2, clip=1.0) == dataclasses.replace(recipe, epochs=2, clip=1.0)


def test_a_sweep_refuses_what_cannot_be_trained():
    sweep = {"task": LinearTeacher(dim=4), "networks": (MLP(3),), "noise": (1.0,), "n_train": (5,), "members": 3}
    with pytest.raises(ValueError, match=r"learning_rate must be one number or 3 of them, .*got \(0.1, 0.2\)"):
        SweepConfig(**sweep, training=Training(learning_rate=(0.1, 0.2)))
    with pytest.raises(ValueError, match="tolerance must be above 0 for patience in regression, got None"):
        SweepConfig(**sweep, training=Training(patience=2))
    config = SweepConfig(
        **sweep, training=Training(learning_rate=(0.1, 0.2, 0.2), patience=2.5, tolerance=0.1, epochs=3)
    )
    assert from_json(to_json(config)) == config
