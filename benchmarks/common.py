"""What the benchmarks share: the machine and its limit, timing, threads, FLOPs of a training step, and tables."""

import datetime
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxalign
from jaxalign.networks import CNN, MLP, Network

RESULTS = Path(__file__).parent / "results"


def environment(*packages: str) -> dict[str, str]:
    """The device, the versions of jaxalign, jax and further packages, and the date."""
    versions = [f"jaxalign {jaxalign.__version__}"] + [f"{name} {version(name)}" for name in ("jax", *packages)]
    kind = f"{jax.devices()[0].device_kind} ({jax.default_backend()}), {platform.machine()}"
    return {
        "device": f"{kind}, {os.cpu_count()} CPU cores",
        "versions": ", ".join(versions),
        "date": str(datetime.date.today()),
    }


def print_header(header: dict[str, Any]) -> None:
    for name, value in header.items():
        print(f"{name:11}{value}", flush=True)


def save(path: Path, header: dict[str, Any], rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"about": header, "rows": rows}, indent=1) + "\n")
    print(f"wrote {path}")


def table(columns: dict[str, Callable[[dict], str]], rows: list[dict]) -> str:
    """A Markdown table; each column is a function of the row."""
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(cell(row) for cell in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


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
