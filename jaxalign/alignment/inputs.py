"""Checks of the arrays and options that all measures take, before anything compiles."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import checks

# One probe has to leave, beside itself and its neighbour, a point that the neighbour can rank behind.
MIN_PROBES = 3


def representation(name: str, values: Any) -> jax.Array:
    """Returns `values` as a float32 array of shape (N, D).

    Raises:
      ValueError: if it is no real two-dimensional array of at least `MIN_PROBES` rows and one column.
    """
    return real_array(name, values, 2, f"a real array of shape (N, D) with N >= {MIN_PROBES} and D >= 1")


def real_array(name: str, values: Any, ndim: int, allowed: str) -> jax.Array:
    """Returns `values` as a float32 array of `ndim` axes, of which the last two are probes and units.

    Raises:
      ValueError: if it is anything else; `allowed` says what would do.
    """
    try:
        array = values if isinstance(values, jax.Array) else np.asarray(values)
    except ValueError:
        checks.reject(name, allowed, "a ragged sequence")
    kinds = (jnp.floating, jnp.integer, jnp.bool_)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in kinds):
        checks.reject(name, allowed, array.dtype)
    if array.ndim != ndim or array.shape[-2] < MIN_PROBES or 0 in array.shape:
        checks.reject(name, allowed, array.shape)
    if isinstance(array, np.ndarray):
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    return jnp.asarray(array, jnp.float32)


def pair(a: Any, b: Any, neighbors: Any) -> tuple[jax.Array, jax.Array, int]:
    """Returns two checked representations of the same probes, and the checked number of neighbours.

    Raises:
      ValueError: as `representation`, if the numbers of probes differ, or if `neighbors` is not an integer in
        [1, N - 2].
    """
    a, b = representation("a", a), representation("b", b)
    if a.shape[0] != b.shape[0]:
        checks.reject("b", f"an array of as many probes (rows) as a, {a.shape[0]}", b.shape)
    return a, b, checks.integer("neighbors", neighbors, 1, a.shape[0] - 2)
