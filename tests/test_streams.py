import itertools

import jax
import numpy as np
import pytest

from jaxalign.streams import Role, draw_rows, member_streams, stream


def data(key):
    return np.asarray(jax.random.key_data(key))


def normal(key):
    return jax.random.normal(key, (3,))


def test_keys_are_distinct_per_seed_role_replicate_and_member():
    coordinates = list(itertools.product((0, 1, 2**31 - 1), Role, range(3), range(3)))
    keys = {tuple(data(stream(*coordinate)).tolist()) for coordinate in coordinates}
    assert len(keys) == len(coordinates)


@pytest.mark.parametrize("coordinate", [(0, Role.TEACHER), (7, Role.BATCHES, 2), (7, Role.PROBES, 2, 5)])
def test_keys_are_the_same_under_repetition_and_compilation(coordinate):
    expected = data(stream(*coordinate))
    np.testing.assert_array_equal(data(stream(*coordinate)), expected)
    np.testing.assert_array_equal(data(jax.jit(lambda: stream(*coordinate))()), expected)


def test_role_numbers_are_as_promised():
    assert [(role.name, int(role)) for role in Role] == [
        ("TEACHER", 0),
        ("INPUTS", 1),
        ("TARGET_NOISE", 2),
        ("INITIALIZATION", 3),
        ("BATCHES", 4),
        ("PROBES", 5),
    ]


def test_a_stream_folds_in_role_replicate_and_member():
    key = jax.random.key(11)
    for part in (2, 3, 4):
        key = jax.random.fold_in(key, part)
    np.testing.assert_array_equal(data(stream(11, Role.TARGET_NOISE, 3, 4)), data(key))


def test_replicate_and_member_default_to_0():
    np.testing.assert_array_equal(data(stream(5, Role.INPUTS)), data(stream(5, Role.INPUTS, 0, 0)))


@pytest.mark.parametrize("members", [1, 2, 5])
def test_member_streams_are_the_streams_of_the_members(members):
    keys = member_streams(3, Role.TARGET_NOISE, 1, members)
    assert keys.shape == (members,)
    expected = np.stack([data(stream(3, Role.TARGET_NOISE, 1, m)) for m in range(members)])
    np.testing.assert_array_equal(data(keys), expected)


@pytest.mark.parametrize("m, n", [(1, 20), (7, 20), (20, 20)])
def test_the_first_rows_do_not_depend_on_the_number_of_rows(m, n):
    key = stream(0, Role.INPUTS)
    rows = draw_rows(key, n, normal)
    assert rows.shape == (n, 3)
    np.testing.assert_array_equal(draw_rows(key, m, normal), rows[:m])


def test_rows_are_distinct_and_depend_on_the_key():
    rows = np.asarray(draw_rows(stream(0, Role.INPUTS), 200, normal))
    other = np.asarray(draw_rows(stream(0, Role.PROBES), 200, normal))
    assert len(np.unique(np.concatenate([rows, other]).ravel())) == 1200


def test_draw_rows_keeps_the_structure_of_the_draw():
    def draw(key):
        return {"u": jax.random.uniform(key), "n": normal(key)}

    rows = draw_rows(stream(0, Role.BATCHES), 4, draw)
    assert {name: leaf.shape for name, leaf in rows.items()} == {"u": (4,), "n": (4, 3)}
