"""Checks of arguments: every message names the argument, what was received and what is allowed."""

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any, NoReturn


def reject(name: str, allowed: str, received: Any) -> NoReturn:
    """Raises the ValueError that all checks share: ``NAME must be ALLOWED, got RECEIVED``."""
    raise ValueError(f"{name} must be {allowed}, got {received!r}")


def integer(name: str, value: Any, minimum: int = 1, maximum: int | None = None) -> int:
    """Returns `value` as an int in [minimum, maximum]; a float, a bool or a string is refused.

    Raises:
      ValueError: if `value` is not an integer or lies outside the range.
    """
    allowed = f"an integer of at least {minimum}"
    if maximum is not None:
        allowed += f" and at most {maximum}"
    if not _is_integer(value) or value < minimum or (maximum is not None and value > maximum):
        reject(name, allowed, value)
    return int(value)


def real(
    name: str,
    value: Any,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    exclude_minimum: bool = False,
    finite: bool = True,
) -> float:
    """Returns `value` as a float in [minimum, maximum], or in (minimum, maximum].

    Raises:
      ValueError: if `value` is not a real number, is NaN, lies outside the range, or is infinite where
        `finite` is set.
    """
    allowed = "a finite number" if finite else "a number"
    if minimum > -math.inf:
        allowed += f" {'above' if exclude_minimum else 'of at least'} {minimum:g}"
    if maximum < math.inf:
        allowed += f" and at most {maximum:g}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        reject(name, allowed, value)
    try:
        number = float(value)
    except OverflowError:
        reject(name, allowed, value)
    too_small = number <= minimum if exclude_minimum else number < minimum
    if math.isnan(number) or too_small or number > maximum or (finite and math.isinf(number)):
        reject(name, allowed, value)
    return number


def boolean(name: str, value: Any) -> bool:
    """Returns `value` if it is a bool.

    Raises:
      ValueError: if it is anything else.
    """
    if not isinstance(value, bool):
        reject(name, "True or False", value)
    return value


def choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Returns `value` if it is one of the names in `allowed`.

    Raises:
      ValueError: naming the nearest valid names where there are any, and all of them.
    """
    names = sorted(allowed)
    if isinstance(value, str) and value in names:
        return value
    near = difflib.get_close_matches(value, names, n=3, cutoff=0.5) if isinstance(value, str) else []
    hint = f" (did you mean {' or '.join(repr(n) for n in near)}?)" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(names)}; got {value!r}{hint}")


def sequence(name: str, values: Any, of: str) -> tuple:
    """Returns `values` as a tuple without repetitions and not empty; `of` says in words what the items are.

    Raises:
      ValueError: if `values` is a string or no iterable, is empty, or holds an item twice.
    """
    allowed = f"a non-empty sequence of {of}"
    if isinstance(values, str) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        reject(name, allowed, values)
    items = tuple(values)
    if not items:
        reject(name, allowed, values)
    if any(item in items[:i] for i, item in enumerate(items)):
        reject(name, f"{allowed} without repetitions", items)
    return items


def positive_integers(name: str, values: Any, maximum: int | None = None) -> tuple[int, ...]:
    """Returns `values` as a tuple of positive ints, none above `maximum`.

    Raises:
      ValueError: as `sequence`, or if an item is not a positive integer or is larger than `maximum`.
    """
    items = sequence(name, values, "positive integers")
    if not all(_is_integer(n) and n >= 1 for n in items):
        reject(name, "positive integers", items)
    if maximum is not None and max(items) > maximum:
        reject(name, f"positive integers of at most {maximum}", items)
    return tuple(int(n) for n in items)


def reals(name: str, values: Any, of: str, minimum: float, maximum: float, **options: bool) -> tuple[float, ...]:
    """Returns `values` as a tuple of floats in the range, as `real` reads it.

    Raises:
      ValueError: as `sequence` and `real`.
    """
    items = sequence(name, values, of)
    return tuple(real(f"{name}[{i}]", item, minimum, maximum, **options) for i, item in enumerate(items))


def signal_to_noise_ratios(name: str, values: Any) -> tuple[float, ...]:
    """Returns `values` as a tuple of positive floats; infinity is a ratio without noise.

    Raises:
      ValueError: as `reals`.
    """
    return reals(name, values, "signal-to-noise ratios", 0.0, math.inf, exclude_minimum=True, finite=False)


def instances(name: str, values: Any, kind: type | tuple[type, ...], of: str) -> tuple:
    """Returns `values` as a tuple of instances of `kind`.

    Raises:
      ValueError: as `sequence`, or if an item is of another type.
    """
    items = sequence(name, values, of)
    for item in items:
        if not isinstance(item, kind):
            reject(name, f"a non-empty sequence of {of}", items)
    return items


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
