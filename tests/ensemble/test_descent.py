import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import Training
from jaxalign.ensemble.descent import descend

# Members whose minibatches have no error from this step on; the last never gets there.
LEARNED = jnp.array([0, 4, 7, 1000])
TRAINING = Training(epochs=10, batch_size=8, patience=1.5)
N_TRAIN = jnp.int32(15)  # an epoch is 2 steps, patience 3


def member(training, calls=None):
    def update(step, carry):
        if calls is not None:
            jax.debug.callback(lambda _: calls.append(1), step)
        count, learned = carry
        return (count + 1, learned), jnp.where(step >= learned, 0.0, 0.5)

    return lambda learned: descend(training, N_TRAIN, update, (jnp.int32(0), learned))


@pytest.mark.parametrize("layout", ["vmap", "map"])
def test_patience_stops_each_member_alone(layout):
    calls = []
    run = member(TRAINING, calls)
    batched = jax.vmap(run) if layout == "vmap" else lambda xs: jax.lax.map(run, xs, batch_size=1)
    (count, _), steps = jax.jit(batched)(LEARNED)
    np.testing.assert_array_equal(steps, [3, 7, 10, 20])
    np.testing.assert_array_equal(count, steps)
    jax.effects_barrier()
    # One after another they take no step too many; side by side they wait for the last.
    assert len(calls) == (40 if layout == "map" else 20)


def test_an_error_above_the_tolerance_ends_the_streak():
    def update(step, carry):
        return carry + 1, jnp.array([0.1, 0.1, 0.3, 0.1, 0.2, 0.0, 0.0, 0.0])[step]

    for tolerance, expected in ((0.2, 6), (0.3, 3), (None, 8), (0.05, 8)):
        training = Training(steps=20, batch_size=8, patience=1.5, tolerance=tolerance)
        count, steps = descend(training, N_TRAIN, update, jnp.int32(0))
        assert int(count) == int(steps) == expected


def test_members_share_the_count_of_steps():
    """Their predicate is one number, and without patience a known number of steps needs none."""
    assert "reduce_or" in str(jax.make_jaxpr(jax.vmap(member(TRAINING)))(LEARNED))
    assert "reduce_or" not in str(jax.make_jaxpr(jax.vmap(member(Training(epochs=3, batch_size=8))))(LEARNED))
    assert "while" not in str(jax.make_jaxpr(jax.vmap(member(Training(steps=3))))(LEARNED))
