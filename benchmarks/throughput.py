"""Training ensembles: jaxalign against a PyTorch loop, torch.func, and a loop of jitted members, in one run.

    python benchmarks/throughput.py --network mlp
    python benchmarks/throughput.py --network cnn                # with and without batch normalization
    python benchmarks/throughput.py --network cnn --width 16 --no-batch-norm --steps 10 --repeats 3

Members differ by their label noise; inputs, initial weights and minibatches are shared. Everyone trains the same
architecture with the same optimizer from the same weights on the same minibatch rows, so the losses on the training
set after the last step differ by rounding alone, and by what training makes of it: "largest difference" is that of a
member's loss from jaxalign's, over members. Images are those of the data set where it is prepared (see
`jaxalign.ImageTask`), else, or with `--data random`, random ones of the same shape.

- ensemble: `jaxalign.ensemble.compile_group`, with the chunk that `choose_chunk` names and, as in a sweep on a CPU,
  the members in as many groups as there are cores, each on a thread of its own.
- jitted members: the same program for one member, called in a Python loop.
- PyTorch loop: autograd and torch.optim, member after member, torch's own number of threads; convolutions by oneDNN
  in both memory formats. Ratios are to the faster of the two.
- torch.func: vmap of the gradient over stacked weights. Its batch normalization has no running statistics.

Methods take turns, and medians over the repetitions are compared. Compilation is apart; a member is a whole training.
Our times include the initialization and an evaluation of the training set, which the peers' do not; the share is
measured with a program of one step. PyTorch gets standardized float32 images, ours are bytes that every step
standardizes. FLOPs: 2 x multiply-adds of the layers' products, the backward pass twice the forward pass less the
gradient with respect to the inputs of the first layer.

`GLIBC_TUNABLES=glibc.malloc.hugetlb=1` in the environment makes PyTorch faster (transparent huge pages).
"""

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_peers
from flax import nnx
from images import LossTask, image_task

from jaxalign import Training
from jaxalign.ensemble import GroupData, GroupSpec, choose_chunk, compile_group, draw_group
from jaxalign.networks import CNN, MLP

# What PyTorch's threads do after their work, spin, would be part of the next measurement.
_PAUSE = 0.3
_LABEL_NOISE = 0.2
ENSEMBLE, LOOP = "ensemble", "PyTorch loop"


@dataclasses.dataclass(frozen=True)
class Method:
    """One way to train all members; `losses` are those of the latest `run`, or None where there are none."""

    name: str
    run: Callable[[], Any]
    losses: Callable[[], np.ndarray | None]
    compile_seconds: float = 0.0


class Program:
    """Groups of members in the library's own compiled program, one after another or each on a thread."""

    def __init__(self, spec: GroupSpec, data: GroupData, groups: list[np.ndarray], threads: bool):
        self.threads = threads
        self.n_train = jnp.int32(data.targets.shape[1])
        start = time.perf_counter()
        self.groups = [_of_members(data, group) for group in groups]
        self.programs = [compile_group(spec, group) for group in self.groups]
        self.compile_seconds = time.perf_counter() - start

    def __call__(self) -> None:
        pairs = list(zip(self.programs, self.groups, strict=True))
        if self.threads:
            self.outcomes = common.on_threads([lambda p=p, g=g: p(g, self.n_train) for p, g in pairs])
        else:
            self.outcomes = [jax.block_until_ready(program(group, self.n_train)) for program, group in pairs]

    def losses(self) -> np.ndarray:
        return np.concatenate([outcome.train_error for outcome in self.outcomes])


def _of_members(data: GroupData, members: np.ndarray) -> GroupData:
    own = {"targets", "levels", "noise_keys", "init_keys"} & set(data._fields)
    return data._replace(**{name: getattr(data, name)[members] for name in own})


def main() -> None:
    options = parse()
    if options.torch_threads:
        torch.set_num_threads(options.torch_threads)
    task = image_task("mnist" if options.network == "mlp" else "cifar10", options.n_train, options.data == "random")
    header = common.environment("torch", "flax", "optax", "numpy")
    header |= {
        "torch": f"{torch.get_num_threads()} threads, oneDNN {torch.backends.mkldnn.is_available()}, "
        f"GLIBC_TUNABLES={os.environ.get('GLIBC_TUNABLES', '')}",
        "limit": f"{common.product_gflops():.0f} GFLOP/s, float32 matrix products",
        "data": f"{task.data}, {options.n_train} rows, label noise {_LABEL_NOISE}",
        "training": f"{options.members} members, {options.steps} steps of {options.batch} rows, {options.repeats} "
        "repetitions",
    }
    common.print_header(header)
    rows = []
    for network, training in settings(options):
        title = f"{network}, {training.optimizer} {training.learning_rate}"
        print(f"\n{title}\n", flush=True)
        measured, fixed = measure(network, training, task, options)
        print(common.table(columns(), measured))
        print(f"\ninitialization and evaluation: {fixed:.1%} of the time of the ensemble", flush=True)
        rows += [{"network": title, **row} for row in measured]
        rows[-len(measured)]["fixed_share"] = fixed
    common.save(options.out or common.RESULTS / f"throughput_{options.network}.json", header, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--width", type=int, help="hidden units (16) or channels of the first stage (4)")
    parser.add_argument("--batch-norm", action=argparse.BooleanOptionalAction, help="of a cnn; both without the option")
    parser.add_argument("--members", type=int, help="default: 32 perceptrons or 8 convolutional networks")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, help="default: 500 for perceptrons, 40 for convolutional networks")
    parser.add_argument("--n-train", type=int, help="training images, default: 1024 for perceptrons, else 256")
    parser.add_argument("--torch-threads", type=int, help="default: PyTorch's own choice")
    parser.add_argument("--data", choices=("auto", "random"), default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, help="default: results/throughput_<network>.json")
    options = parser.parse_args()
    perceptron = options.network == "mlp"
    options.width = options.width or (16 if perceptron else 4)
    options.members = options.members or (32 if perceptron else 8)
    options.steps = options.steps or (500 if perceptron else 40)
    # All of them are evaluated after training, which is to be little beside the steps.
    options.n_train = options.n_train or (1024 if perceptron else 256)
    return options


def settings(options: argparse.Namespace) -> list[tuple[MLP | CNN, Training]]:
    if options.network == "mlp":
        return [(MLP(options.width), Training("adam", 1e-3, steps=options.steps, batch_size=options.batch))]
    training = Training("sgd", 0.05, steps=options.steps, batch_size=options.batch)
    both = (False, True) if options.batch_norm is None else (options.batch_norm,)
    return [(CNN(options.width, batch_norm=batch_norm), training) for batch_norm in both]


def measure(
    network: MLP | CNN, training: Training, task: LossTask, options: argparse.Namespace
) -> tuple[list[dict], float]:
    """A row for each method, and the share of initialization and evaluation in the time of the first."""
    data = draw_group(
        task,
        seed=0,
        replicate=0,
        noise=(_LABEL_NOISE,),
        members=options.members,
        rows=options.n_train,
        probes=1,
        shared_inputs=True,
        shared_init=True,
        shared_batches=True,
    )
    spec = GroupSpec(
        network=network,
        task=task,
        training=training,
        layer="penultimate",
        probes=1,
        shared_inputs=True,
        shared_batches=True,
        chunk=choose_chunk(network, task, options.n_train),
    )
    groups = common.member_groups(options.members)
    one_step = Program(dataclasses.replace(spec, training=dataclasses.replace(training, steps=1)), data, groups, True)
    methods = [*our_methods(spec, data, groups), *torch_methods(problem(network, training, task, data))]
    for run in (one_step, *(method.run for method in methods)):
        run()
    seconds, fixed = {method.name: [] for method in methods}, []
    for _ in range(options.repeats):
        for method in methods:
            time.sleep(_PAUSE)
            seconds[method.name].append(common.seconds_of(method.run))
        fixed.append(common.seconds_of(one_step))
    rows = [report(method, seconds[method.name], spec, options) for method in methods]
    compare(rows, methods)
    return rows, min(fixed) / rows[0]["seconds"]


def our_methods(spec: GroupSpec, data: GroupData, groups: list[np.ndarray]) -> list[Method]:
    ensemble = Program(spec, data, groups, threads=True)
    members = [np.array([i]) for i in range(len(data.targets))]
    single = Program(dataclasses.replace(spec, chunk=None), data, members, threads=False)
    batched = "all" if spec.chunk is None else f"{spec.chunk}"
    return [
        Method(
            f"{ENSEMBLE}, {len(groups)} groups, {batched} at once", ensemble, ensemble.losses, ensemble.compile_seconds
        ),
        Method("jitted members", single, single.losses, single.compile_seconds),
    ]


def problem(network: MLP | CNN, training: Training, task: LossTask, data: GroupData) -> torch_peers.Problem:
    def rows(step):
        # As `jaxalign.ensemble.member` draws them.
        return jax.random.randint(jax.random.fold_in(data.batch_keys, step), (training.batch_size,), 0, len(data.drawn))

    return torch_peers.Problem(
        network=network,
        module=network.build(nnx.Rngs(data.init_keys[0]), task.input_shape, task.n_outputs),
        training=training,
        inputs=np.asarray(task.inputs(data.world, data.drawn)),
        targets=np.asarray(data.targets),
        batches=np.asarray(jax.vmap(rows)(jnp.arange(training.steps))),
    )


def torch_methods(problem: torch_peers.Problem) -> list[Method]:
    formats = {LOOP: False}
    if isinstance(problem.network, CNN):
        formats = {f"{LOOP}, default format": False, f"{LOOP}, channels_last": True}
    loops = {name: torch_peers.Loop(problem, channels_last) for name, channels_last in formats.items()}
    together = torch_peers.Together(problem)
    methods = [Method(name, loop, loop.losses) for name, loop in loops.items()]
    return [*methods, Method("torch.func", together, together.losses)]


def report(method: Method, seconds: list[float], spec: GroupSpec, options: argparse.Namespace) -> dict:
    median = statistics.median(seconds)
    task, steps = spec.task, spec.training.steps
    flops = common.step_flops(spec.network, task.input_shape, task.n_outputs, options.batch)
    return {
        "method": method.name,
        "seconds": median,
        "fastest_seconds": min(seconds),
        "slowest_seconds": max(seconds),
        "compile_seconds": method.compile_seconds,
        "members_per_second": options.members / median,
        "samples_per_second": options.members * steps * options.batch / median,
        "microseconds_per_step": 1e6 * median / steps,
        "gflops": options.members * steps * flops / median / 1e9,
    }


def compare(rows: list[dict], methods: list[Method]) -> None:
    """Adds to each row its speed over the faster PyTorch loop, and its final losses beside those of the first."""
    loop = min(row["seconds"] for row in rows if row["method"].startswith(LOOP))
    ours = methods[0].losses()
    assert ours is not None
    for row, method in zip(rows, methods, strict=True):
        row["speedup"] = loop / row["seconds"]
        losses = method.losses()
        if losses is not None:
            row["loss"] = float(losses.mean())
            row["loss_stderr"] = float(losses.std(ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else float("nan")
            if method is not methods[0]:
                row["largest_difference"] = float(np.abs(losses - ours).max())


def columns() -> dict[str, Callable[[dict], str]]:
    return {
        "method": lambda r: r["method"],
        "s (fastest to slowest)": lambda r: (
            f"{r['seconds']:.3g} ({r['fastest_seconds']:.3g} to {r['slowest_seconds']:.3g})"
        ),
        "compile, s": lambda r: f"{r['compile_seconds']:.1f}" if r["compile_seconds"] else "",
        "members/s": lambda r: f"{r['members_per_second']:.3g}",
        "samples/s": lambda r: f"{r['samples_per_second']:.3g}",
        "µs/step, all members": lambda r: f"{r['microseconds_per_step']:.0f}",
        "GFLOP/s": lambda r: f"{r['gflops']:.3g}",
        "x PyTorch loop": lambda r: f"{r['speedup']:.2f}",
        "final loss": lambda r: f"{r['loss']:.4f} ± {r['loss_stderr']:.4f}" if "loss" in r else "n/a",
        "largest difference": lambda r: f"{r['largest_difference']:.1e}" if "largest_difference" in r else "",
    }


if __name__ == "__main__":
    main()
