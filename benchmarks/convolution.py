"""The lowerings of `jaxalign.networks.convolution` inside a training loop of the 5-layer CNN, members batched or not.

    python -m benchmarks.convolution [--width 4 16] [--members 4] [--lowerings patches lanes] [--batch-norm]

Every member of a `CNN` takes steps of plain gradient descent in a compiled loop, on random images of 32x32x3 that all
members share and labels of its own: batched by vmap, or one after another (lax.map). As in a sweep on a CPU, members
are in as many groups as there are cores, each on a thread of its own. Loops are a few steps long and repeated within
`--budget` seconds for each line; a convolution that vmap has made a grouped one may take seconds for a step, and is
then timed once.

"gradient": the largest difference of any entry from the gradient of the native lowering without vmap, at the initial
weights, over the largest entry of that parameter's gradient; the largest over parameters. With batch normalization
near-ties in the pools can fall either way. "of the limit": FLOPs as in `throughput.py`, over those of a large float32
matrix product with all cores, measured in the same run.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, PyTree

from benchmarks import common, reports
from jaxalign.networks import CNN
from jaxalign.networks.convolution import LOWERINGS

_SHAPE, _CLASSES = (32, 32, 3), 10
_BATCHES = 4
_LEARNING_RATE = 0.01
_NO_GRADIENT = 1e-6
_LARGEST_LOOP, _MOST_REPEATS = 20, 9


def main() -> None:
    options = parse()
    header = reports.environment("flax")
    header["training"] = f"{options.members} members, batch {options.batch}, batch_norm {options.batch_norm}"
    reports.print_header(header)
    # Before and after: on a shared machine a single measurement can miss the limit by a factor.
    limit = common.product_gflops()
    rows = []
    for width in options.width:
        native = reference(CNN(width, batch_norm=options.batch_norm, lowering="native"), options)
        for lowering in options.lowerings:
            network = CNN(width, batch_norm=options.batch_norm, lowering=lowering)
            for batching in ("vmap", "one by one"):
                start = time.perf_counter()
                row = {"width": width, "lowering": lowering, "batching": batching}
                row |= measure(network, batching, native, options)
                print(f"{width:3} {lowering:10}{batching:11}{time.perf_counter() - start:6.1f} s", flush=True)
                rows.append(row)
    limit = max(limit, common.product_gflops())
    header["limit"] = f"{limit:.0f} GFLOP/s, float32 matrix products"
    for row in rows:
        row["of_the_limit"] = row["gflops"] / limit
        fastest = min(other["milliseconds"] for other in rows if other["width"] == row["width"])
        row["slowdown"] = row["milliseconds"] / fastest
    print(f"\nlimit      {header['limit']}\n\n" + reports.table(columns(), rows))
    reports.save(options.out, header, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, nargs="+", default=[4, 16], help="channels of the first stage")
    parser.add_argument("--lowerings", nargs="+", choices=LOWERINGS, default=list(LOWERINGS))
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--batch", type=int, default=128, help="a multiple of 16, for the blocks of lanes")
    parser.add_argument("--batch-norm", action="store_true")
    parser.add_argument("--budget", type=float, default=2.0, help="seconds of measuring for each line of the table")
    parser.add_argument("--out", type=Path, default=reports.RESULTS / "convolution.json")
    return parser.parse_args()


def draw(options: argparse.Namespace) -> tuple[Float[Array, "batches rows ..."], Int[Array, "members batches rows"]]:
    rng = np.random.default_rng(0)
    images = rng.standard_normal((_BATCHES, options.batch, *_SHAPE)).astype(np.float32)
    labels = rng.integers(0, _CLASSES, (options.members, _BATCHES, options.batch)).astype(np.int32)
    return jnp.asarray(images), jnp.asarray(labels)


def member_gradient(network: CNN) -> tuple[PyTree[Array], Callable[..., PyTree[Array]]]:
    """The initial parameters, and the gradient of one member as a function of parameters, images and labels."""
    module = network.build(nnx.Rngs(0), _SHAPE, _CLASSES)
    module.train()
    graph, parameters, rest = nnx.split(module, nnx.Param, ...)

    def loss(parameters: PyTree, images: Array, labels: Array) -> Float[Array, ""]:
        member: Any = nnx.merge(graph, parameters, rest, copy=True)
        output, _ = member(images)
        return optax.softmax_cross_entropy_with_integer_labels(output, labels).mean()

    return parameters, jax.grad(loss)


def reference(network: CNN, options: argparse.Namespace) -> PyTree[Array]:
    """The gradients of all members at the initial weights, (members, ...), each computed alone and outside any loop."""
    images, labels = draw(options)
    parameters, gradient = member_gradient(network)
    compiled = jax.jit(gradient)
    members = [compiled(parameters, images[0], own[0]) for own in labels]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *members)


def measure(network: CNN, batching: str, native: PyTree[Array], options: argparse.Namespace) -> dict[str, float]:
    images, labels = draw(options)
    parameters, gradient = member_gradient(network)

    def train(labels: Int[Array, "batches rows"], images: Array, steps: Int[Array, ""]) -> PyTree[Array]:
        """The gradient of the last step."""

        def step(i: Int[Array, ""], carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            at = i % _BATCHES
            change = gradient(carry[0], images[at], labels[at])
            return jax.tree.map(lambda p, g: p - _LEARNING_RATE * g, carry[0], change), change

        return jax.lax.fori_loop(0, steps, step, (parameters, parameters))[1]

    def train_group(labels: Int[Array, "members batches rows"], images: Array, steps: Int[Array, ""]) -> PyTree[Array]:
        if batching == "vmap":
            return jax.vmap(train, (0, None, None))(labels, images, steps)
        return jax.lax.map(lambda own: train(own, images, steps), labels)

    groups = [labels[group] for group in common.member_groups(options.members)]
    start = time.perf_counter()
    compiled = {len(group): jax.jit(train_group).lower(group, images, jnp.int32(1)).compile() for group in groups}
    programs = [compiled[len(group)] for group in groups]
    compiling = time.perf_counter() - start

    def run(steps: int) -> list[PyTree[Array]]:
        pairs = zip(programs, groups, strict=True)
        return common.on_threads([lambda p=p, g=g: p(g, images, jnp.int32(steps)) for p, g in pairs])

    start = time.perf_counter()
    first = jax.tree.map(lambda *leaves: np.concatenate(leaves), *run(1))
    one = time.perf_counter() - start
    steps = int(np.clip(options.budget / one / 3, 1, _LARGEST_LOOP))
    seconds = [one] if one > options.budget else []
    while not seconds or (len(seconds) < _MOST_REPEATS and sum(seconds) < options.budget):
        seconds.append(common.seconds_of(lambda: run(steps)))
    median = statistics.median(seconds) / (steps * options.members)
    return {
        "milliseconds": 1e3 * median,
        "steps": steps,
        "repeats": len(seconds),
        "compile_seconds": compiling,
        "gflops": common.step_flops(network, _SHAPE, _CLASSES, options.batch) / median / 1e9,
        "gradient_difference": gradient_difference(first, native),
    }


def gradient_difference(gradient: PyTree[Array], native: PyTree[Array]) -> float:
    def relative(own: Array, other: Array) -> float:
        # A bias before a batch normalization has no gradient but rounding.
        scale = np.abs(other).max()
        return float(np.abs(own - other).max() / scale) if scale > _NO_GRADIENT else 0.0

    return max(jax.tree.leaves(jax.tree.map(relative, gradient, native)))


def columns() -> dict[str, Callable[[dict], str]]:
    return {
        "width": lambda r: f"{r['width']}",
        "lowering": lambda r: r["lowering"],
        "members": lambda r: r["batching"],
        "ms/step, per member": lambda r: f"{r['milliseconds']:.3g}",
        "x fastest": lambda r: f"{r['slowdown']:.1f}",
        "GFLOP/s": lambda r: f"{r['gflops']:.3g}",
        "of the limit": lambda r: f"{r['of_the_limit']:.1%}",
        "gradient": lambda r: f"{r['gradient_difference']:.1e}",
        "steps x repeats": lambda r: f"{r['steps']} x {r['repeats']}",
        "compile, s": lambda r: f"{r['compile_seconds']:.1f}",
    }


if __name__ == "__main__":
    main()
