import math
import re
from fractions import Fraction

import numpy as np
import pytest

from jaxalign import checks

INF, NAN = math.inf, math.nan


def assert_same(result, expected):
    assert result == expected
    assert type(result) is type(expected)


def refuses(message, check, *args, **kwargs):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check(*args, **kwargs)


@pytest.mark.parametrize(
    "value, limits, expected",
    [
        (1, {}, 1),
        (0, {"minimum": 0}, 0),
        (np.int64(7), {}, 7),
        (np.uint8(3), {"maximum": 3}, 3),
        (-2, {"minimum": -2}, -2),
        (10**30, {}, 10**30),
    ],
)
def test_integer_accepts(value, limits, expected):
    assert_same(checks.integer("steps", value, **limits), expected)


@pytest.mark.parametrize(
    "value, limits, allowed",
    [
        (0, {}, "an integer of at least 1"),
        (-1, {"minimum": 0}, "an integer of at least 0"),
        (5, {"maximum": 4}, "an integer of at least 1 and at most 4"),
        (2.0, {}, "an integer of at least 1"),
        (np.float32(2), {}, "an integer of at least 1"),
        (True, {}, "an integer of at least 1"),
        (np.True_, {}, "an integer of at least 1"),
        ("2", {}, "an integer of at least 1"),
        (None, {}, "an integer of at least 1"),
        ([2], {}, "an integer of at least 1"),
    ],
)
def test_integer_refuses(value, limits, allowed):
    refuses(f"steps must be {allowed}, got {value!r}", checks.integer, "steps", value, **limits)


@pytest.mark.parametrize(
    "value, options, expected",
    [
        (1, {}, 1.0),
        (-2.5, {}, -2.5),
        (0.0, {"minimum": 0}, 0.0),
        (1, {"maximum": 1}, 1.0),
        (np.float32(0.25), {"minimum": 0, "maximum": 1}, 0.25),
        (Fraction(1, 4), {}, 0.25),
        (1e-300, {"minimum": 0, "exclude_minimum": True}, 1e-300),
        (INF, {"minimum": 0, "finite": False}, INF),
        (-INF, {"finite": False}, -INF),
    ],
)
def test_real_accepts(value, options, expected):
    assert_same(checks.real("rate", value, **options), expected)


@pytest.mark.parametrize(
    "value, options, allowed",
    [
        (NAN, {}, "a finite number"),
        (NAN, {"finite": False}, "a number"),
        (INF, {}, "a finite number"),
        (-INF, {}, "a finite number"),
        (-0.1, {"minimum": 0}, "a finite number of at least 0"),
        (0, {"minimum": 0, "exclude_minimum": True}, "a finite number above 0"),
        (1.1, {"minimum": 0, "maximum": 1}, "a finite number of at least 0 and at most 1"),
        (INF, {"minimum": 0, "maximum": 1.5, "finite": False}, "a number of at least 0 and at most 1.5"),
        (True, {}, "a finite number"),
        ("0.5", {}, "a finite number"),
        (1j, {}, "a finite number"),
        (None, {}, "a finite number"),
    ],
)
def test_real_refuses(value, options, allowed):
    refuses(f"rate must be {allowed}, got {value!r}", checks.real, "rate", value, **options)


@pytest.mark.parametrize("value", [True, False])
def test_boolean_accepts(value):
    assert checks.boolean("resume", value) is value


@pytest.mark.parametrize("value", [0, 1, None, "True", np.True_])
def test_boolean_refuses(value):
    refuses(f"resume must be True or False, got {value!r}", checks.boolean, "resume", value)


@pytest.mark.parametrize("allowed", [["tanh", "relu"], {"relu": 0, "tanh": 1}, iter(("tanh", "relu"))])
def test_choice_accepts(allowed):
    assert checks.choice("activation", "relu", allowed) == "relu"


@pytest.mark.parametrize(
    "value, hint",
    [
        ("rleu", " (did you mean 'relu' or 'relu6'?)"),
        ("tanh_like", " (did you mean 'tanh'?)"),
        ("relu7", " (did you mean 'relu' or 'relu6'?)"),
        ("swish", ""),
        ("", ""),
        (3, ""),
        (None, ""),
    ],
)
def test_choice_refuses_with_the_nearest_names(value, hint):
    message = f"activation must be one of relu, relu6, tanh; got {value!r}{hint}"
    refuses(message, checks.choice, "activation", value, ["tanh", "relu6", "relu"])


@pytest.mark.parametrize(
    "values, expected",
    [([1], (1,)), ((2, 1), (2, 1)), (iter("ab"), ("a", "b")), (np.array([3, 1]), (3, 1)), ([{}, []], ({}, []))],
)
def test_sequence_accepts_and_keeps_the_order(values, expected):
    assert_same(checks.sequence("items", values, "things"), expected)


@pytest.mark.parametrize(
    "values, suffix",
    [("ab", ""), ("", ""), (3, ""), (None, ""), ([], ""), ((), ""), ((1, 2, 1), " without repetitions")],
)
def test_sequence_refuses(values, suffix):
    message = f"items must be a non-empty sequence of things{suffix}, got {values!r}"
    refuses(message, checks.sequence, "items", values, "things")


@pytest.mark.parametrize(
    "values, maximum, expected",
    [([3, 1], None, (3, 1)), (range(1, 4), 3, (1, 2, 3)), (np.array([5, 2]), None, (5, 2))],
)
def test_positive_integers_accepts(values, maximum, expected):
    result = checks.positive_integers("n_train", values, maximum)
    assert_same(result, expected)
    assert all(type(n) is int for n in result)


@pytest.mark.parametrize(
    "values, maximum, allowed",
    [
        (5, None, "a non-empty sequence of positive integers"),
        ((), None, "a non-empty sequence of positive integers"),
        ((2, 2), None, "a non-empty sequence of positive integers without repetitions"),
        ((2, 2.0), None, "a non-empty sequence of positive integers without repetitions"),
        ((1, 0), None, "positive integers"),
        ((-1,), None, "positive integers"),
        ((1.5,), None, "positive integers"),
        ((True,), None, "positive integers"),
        (("3",), None, "positive integers"),
        ((1, 11), 10, "positive integers of at most 10"),
    ],
)
def test_positive_integers_refuses(values, maximum, allowed):
    message = f"n_train must be {allowed}, got {values!r}"
    refuses(message, checks.positive_integers, "n_train", values, maximum)


def test_reals_accepts():
    result = checks.reals("noise", [1, np.float32(0.5), INF], "levels", 0.0, INF, finite=False)
    assert result == (1.0, 0.5, INF)
    assert all(type(x) is float for x in result)


@pytest.mark.parametrize(
    "values, message",
    [
        (0.5, "noise must be a non-empty sequence of levels, got 0.5"),
        ([], "noise must be a non-empty sequence of levels, got []"),
        ([1, 1.0], "noise must be a non-empty sequence of levels without repetitions, got (1, 1.0)"),
        ([0.5, 0], "noise[1] must be a finite number above 0 and at most 1, got 0"),
        ([0.5, 0.6, 2], "noise[2] must be a finite number above 0 and at most 1, got 2"),
        (["x"], "noise[0] must be a finite number above 0 and at most 1, got 'x'"),
    ],
)
def test_reals_refuses_naming_the_item(values, message):
    refuses(message, checks.reals, "noise", values, "levels", 0.0, 1.0, exclude_minimum=True)


@pytest.mark.parametrize("values, kind", [([1, 2], int), ([1, "a"], (int, str))])
def test_instances_accepts(values, kind):
    assert_same(checks.instances("networks", values, kind, "networks"), tuple(values))


@pytest.mark.parametrize("values", [3, (), (1, "a"), (None,)])
def test_instances_refuses(values):
    message = f"networks must be a non-empty sequence of ints, got {values!r}"
    refuses(message, checks.instances, "networks", values, int, "ints")
