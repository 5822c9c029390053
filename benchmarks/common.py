"""What the benchmarks share: timing, the limit of the machine, threads, and FLOPs of a training step."""

import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.networks import CNN, MLP, Network


def seconds_of(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def timed(function: Callable[[], Any], repeats: int) -> float:
    """The median of the repeats, after one call that is not counted."""
    function()
    return statistics.median(seconds_of(function) for _ in range(repeats))


def product_gflops() -> float:
    """What the machine does at best: float32 matrix products, with all cores; the fastest of a few."""
    size = 2048
    x = jnp.ones((size, size))
    product = jax.jit(lambda x: x @ x)
    product(x).block_until_ready()
    return 2 * size**3 / 1e9 / min(seconds_of(lambda: product(x).block_until_ready()) for _ in range(7))


def member_groups(members: int) -> list[np.ndarray]:
    """The members that run in one execution each: a group for every core of a CPU, else one of all."""
    groups = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    return np.array_split(np.arange(members), min(groups, members))


def on_threads(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """The results of all calls, each made on a thread of its own, as a sweep does on a CPU."""
    with ThreadPoolExecutor(len(calls)) as executor:
        futures = [executor.submit(lambda call=call: jax.block_until_ready(call())) for call in calls]
        return [future.result() for future in futures]


def step_flops(network: Network, input_shape: tuple[int, ...], n_outputs: int, batch: int) -> int:
    """FLOPs of one training step of one member.

    A multiply-add counts as 2, and the backward pass as twice the forward pass, less the gradient of the first layer
    with respect to the inputs, which nobody needs. Activations, pooling, normalization and the optimizer count as 0.
    """
    products = _products(network, input_shape, n_outputs)
    return 2 * batch * (3 * sum(products) - products[0])


def _products(network: Network, input_shape: tuple[int, ...], n_outputs: int) -> list[int]:
    """Multiply-adds of each layer in a forward pass of one sample."""
    if isinstance(network, MLP):
        hidden = (network.hidden,) if isinstance(network.hidden, int) else network.hidden
        widths = (math.prod(input_shape), *hidden, n_outputs)
        return [before * after for before, after in zip(widths[:-1], widths[1:], strict=True)]
    assert isinstance(network, CNN)
    height, width, channels = input_shape
    products = []
    for multiple, largest in ((1, 2), (2, 2), (4, 2), (8, 4)):
        outputs, window = multiple * network.width, min(largest, height, width)
        products.append(height * width * 9 * channels * outputs)
        height, width, channels = height // window, width // window, outputs
    return [*products, height * width * channels * n_outputs]
