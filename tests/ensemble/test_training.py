import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxalign import Training


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"optimizer": "adma"}, "optimizer must be one of adam, adamw, sgd.*did you mean 'adam'"),
        ({"schedule": "cos"}, "schedule must be one of constant, cosine"),
        ({"learning_rate": 0.0}, "learning_rate must be .* above 0"),
        ({"learning_rate": float("nan")}, "learning_rate"),
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

    np.testing.assert_allclose(descend(training.transformation()), descend(reference), rtol=1e-6)
