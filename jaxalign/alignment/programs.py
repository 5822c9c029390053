"""Programs of measures, compiled in one way."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

# Full-width vectors, which the compiler avoids by itself, and products and sums by its own code: by the YNN library
# they take up to 1.5 times as long, and some programs never end (jax-ml/jax issue 39257).
_ON_CPU = {"xla_cpu_prefer_vector_width": 512, "xla_cpu_experimental_ynn_fusion_type": ""}
_STATIC = {"form", "neighbors", "squared", "correlation", "family", "plan", "blocks"}


@functools.cache
def program(function: Callable) -> Any:
    """The function compiled for this device; arguments of these names are static: "form", "family", "plan", ..."""
    return jax.jit(_narrow(function), static_argnames=_static(function), compiler_options=_options())


def run(function: Callable, *args: Any) -> Any:
    """The result of the program; within a program of the caller's, which has options of its own, a part of that."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(args)):
        return _part(function)(*args)
    return program(function)(*args)


@functools.cache
def _part(function: Callable) -> Any:
    return jax.jit(_narrow(function), static_argnames=_static(function))


def _narrow(function: Callable) -> Callable:
    """The function traced with 64-bit types disabled, whatever the caller has set."""

    @functools.wraps(function)
    def narrow(*args: Any) -> Any:
        with jax.enable_x64(False):
            return function(*args)

    return narrow


def _static(function: Callable) -> tuple[str, ...]:
    return tuple(sorted(_STATIC & {*inspect.signature(function).parameters}))


def _options() -> Any:
    return _ON_CPU if jax.default_backend() == "cpu" else None
