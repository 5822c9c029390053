"""Training ensembles: jaxalign against PyTorch, plain vmap, and a loop of jitted members, in one run.

    python -m benchmarks.throughput --network mlp                # four settings of perceptrons
    python -m benchmarks.throughput --network mlp --setting 784-16 --repeats 9
    python -m benchmarks.throughput --network cnn                # with and without batch normalization
    python -m benchmarks.throughput --network cnn --width 16 --no-batch-norm --steps 10 --repeats 3

Members differ by the noise of their targets; inputs, initial weights and minibatches are shared. Everyone trains the
same architecture with the same optimizer from the same weights on the same minibatch rows, so the losses on the
training set after the last step differ by rounding alone, and by what training makes of it: "largest difference" is
that of a member's loss from jaxalign's, over members.

Perceptrons with ReLU learn a linear teacher (one output, signal-to-noise ratio 2). Settings are named by inputs and
hidden units. Convolutional networks learn CIFAR-10 with label noise 0.2 where it is prepared (see
`jaxalign.ImageTask`), else, or with `--data random`, random images of the same shape.

- ensemble: `jaxalign.ensemble.compile_group`, in the layout that `choose_layout` names and, as in a sweep on a CPU,
  the members in as many groups as there are cores, each on a thread of its own.
- jitted members: the same program for one member, called in a Python loop.
- vmap of nnx.Linear: the perceptron as one would write it, rows in the major axis, all members in one program.
- PyTorch loop: autograd and torch.optim, member after member, torch's own number of threads; convolutions by oneDNN
  in both memory formats. Ratios are to the faster of the two.
- batched PyTorch: torch.func, vmap of the gradient over stacked weights (its batch normalization has no running
  statistics), for perceptrons also with the fused optimizer, and the passes written by hand with the products of our
  layout. "The best batched PyTorch" is the fastest of them.

Methods take turns, and medians over the repetitions are compared. Compilation is apart; a member is a whole training.
Our times include the initialization and an evaluation of the training set, which the peers' do not; the share is
measured with a program of one step, of which that step is taken off. FLOPs: 2 x multiply-adds of the layers' products,
the backward pass twice the forward pass less the gradient with respect to the inputs of the first layer.

`GLIBC_TUNABLES=glibc.malloc.hugetlb=1` in the environment makes PyTorch faster (transparent huge pages).
"""

import argparse
import dataclasses
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import common, methods, reports
from benchmarks.images import image_task
from benchmarks.methods import BATCHED, ENSEMBLE, JITTED, LOOP, VMAP, Method, Program
from jaxalign import LinearTeacher, Training
from jaxalign.ensemble import GroupSpec, choose_layout, draw_group
from jaxalign.networks import CNN, MLP
from jaxalign.tasks import Task

# What PyTorch's threads do after their work, spin, would be part of the next measurement.
_PAUSE = 0.3
_LABEL_NOISE, _SNR = 0.2, 2.0
_QUICK_STEPS = {"mlp": 20, "cnn": 4}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is trained, on how many rows; `targets` are the speeds aimed at, over peers."""

    name: str
    network: MLP | CNN
    task: Task
    noise: float
    rows: int
    training: Training
    targets: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def title(self) -> str:
        training = f"{self.training.optimizer} {self.training.learning_rate}, {self.training.steps} steps"
        return f"{self.name}: {self.network}, {training} of {self.batches}"

    @property
    def label(self) -> str:
        """What is trained, for a reader who does not know the code."""
        if isinstance(self.network, MLP):
            network = f"perceptrons {self.name}-{self.task.n_outputs}"
        else:
            with_norm = "with" if self.network.batch_norm else "without"
            network = f"CNN({self.network.width}) on {self.name}, {with_norm} batch normalization"
        return f"{network}, {self.training.optimizer}, {self.batches}"

    @property
    def batches(self) -> str:
        size = self.training.batch_size
        return f"minibatches of {size}" if size else f"full batches of {self.rows}"


def perceptron(
    dim: int, hidden: int, rows: int, batch_size: int | None, steps: int, targets: tuple[float, float, float]
) -> Setting:
    training = Training("adam", 1e-3, steps=steps, batch_size=batch_size)
    aims = dict(zip((LOOP, BATCHED, VMAP), targets, strict=True))
    return Setting(f"{dim}-{hidden}", MLP(hidden), LinearTeacher(dim), _SNR, rows, training, aims)


# Steps are as many as make a loop of PyTorch take about three seconds, but enough to outweigh what is done once.
PERCEPTRONS = [
    perceptron(20, 20, 400, None, 500, (40, 4, 2.5)),
    perceptron(50, 50, 200, None, 400, (15, 2.4, 1.4)),
    perceptron(784, 16, 1024, 128, 300, (12, 2.2, 1.4)),
    perceptron(784, 128, 1000, None, 32, (2.2, 2.0, 1.3)),
]


def main() -> None:
    options = parse()
    if options.torch_threads:
        torch.set_num_threads(options.torch_threads)
    todo = perceptrons(options) if options.network == "mlp" else convolutions(options)
    header = reports.environment("torch", "flax", "optax", "numpy")
    header |= {
        "torch": f"{torch.get_num_threads()} threads, oneDNN {torch.backends.mkldnn.is_available()}, "
        f"GLIBC_TUNABLES={os.environ.get('GLIBC_TUNABLES', '')}",
        "limit": f"{common.product_gflops():.0f} GFLOP/s, float32 matrix products",
        "members": f"{options.members}, {options.repeats} repetitions",
    }
    reports.print_header(header)
    rows = []
    for setting in todo:
        print(f"\n{setting.title}\n", flush=True)
        measured, fixed = measure(setting, options)
        print(reports.table(columns(), measured))
        print(f"\ninitialization and evaluation: {fixed:.1%} of the time of the ensemble")
        measured[0] |= {"fixed_share": fixed, "ratios": ratios(measured), "targets": setting.targets}
        print(verdict(measured[0]), flush=True)
        same = {"network": setting.title, "label": f"{options.members} {setting.label}", "repeats": options.repeats}
        rows += [{**same, **row} for row in measured]
    reports.save(options.out, header, rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("mlp", "cnn"), default="mlp")
    names = [setting.name for setting in PERCEPTRONS]
    parser.add_argument("--setting", choices=names, nargs="+", default=names, help="of perceptrons; default: all")
    parser.add_argument("--width", type=int, default=4, help="channels of the first stage of a cnn")
    parser.add_argument("--batch-norm", action=argparse.BooleanOptionalAction, help="of a cnn; both without the option")
    parser.add_argument("--members", type=int, help="default: 32 perceptrons or 8 convolutional networks")
    parser.add_argument("--batch", type=int, default=128, help="rows of a minibatch of a cnn")
    parser.add_argument("--steps", type=int, help="default: 40 for a cnn, those of each setting for perceptrons")
    parser.add_argument("--n-train", type=int, default=256, help="training images of a cnn")
    parser.add_argument("--torch-threads", type=int, help="default: PyTorch's own choice")
    parser.add_argument("--data", choices=("auto", "random"), default="auto", help="of a cnn")
    parser.add_argument("--repeats", type=int, help="default: 5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="one repetition of few steps")
    parser.add_argument("--out", type=Path, help="default: results/throughput_<network>.json; quick: a temporary file")
    options = parser.parse_args()
    if options.quick:
        options.steps = options.steps or _QUICK_STEPS[options.network]
    options.repeats = options.repeats or (1 if options.quick else 5)
    options.out = options.out or reports.default_path(f"throughput_{options.network}", options.quick)
    options.members = options.members or (32 if options.network == "mlp" else 8)
    return options


def perceptrons(options: argparse.Namespace) -> list[Setting]:
    chosen = [setting for setting in PERCEPTRONS if setting.name in options.setting]
    if options.steps is None:
        return chosen
    return [dataclasses.replace(s, training=dataclasses.replace(s.training, steps=options.steps)) for s in chosen]


def convolutions(options: argparse.Namespace) -> list[Setting]:
    task = image_task("cifar10", options.n_train, options.data == "random")
    training = Training("sgd", 0.05, steps=options.steps or 40, batch_size=options.batch)
    both = (False, True) if options.batch_norm is None else (options.batch_norm,)
    networks = [CNN(options.width, batch_norm=batch_norm) for batch_norm in both]
    return [Setting(task.data, network, task, _LABEL_NOISE, options.n_train, training) for network in networks]


def measure(setting: Setting, options: argparse.Namespace) -> tuple[list[dict], float]:
    """A row for each method, and the share of initialization and evaluation in the time of the first."""
    shared = {"shared_inputs": True, "shared_batches": True}
    data = draw_group(
        setting.task,
        seed=0,
        replicate=0,
        noise=(setting.noise,),
        members=options.members,
        rows=setting.rows,
        probes=1,
        shared_init=True,
        **shared,
    )
    spec = GroupSpec(
        network=setting.network,
        task=setting.task,
        training=setting.training,
        layer="penultimate",
        probes=1,
        **shared,
    )
    groups = common.member_groups(options.members)
    layout = choose_layout(
        setting.network, setting.task, setting.rows, len(groups[0]), batch_size=setting.training.batch_size
    )
    single_step = dataclasses.replace(setting.training, steps=1)
    brief = dataclasses.replace(spec, training=single_step, chunk=layout.members_at_once)
    one_step = Program(brief, data, groups, threads=True)
    compared = [*methods.of_jax(spec, layout, data, groups), *methods.of_torch(spec, data)]
    for run in (one_step, *(method.run for method in compared)):
        run()
    seconds, once = {method.name: [] for method in compared}, []
    for _ in range(options.repeats):
        for method in compared:
            time.sleep(_PAUSE)
            seconds[method.name].append(common.seconds_of(method.run))
        once.append(common.seconds_of(one_step))
    rows = [report(method, seconds[method.name], setting, options.members) for method in compared]
    compare(rows, compared)
    whole, steps = rows[0]["seconds"], setting.training.steps or 1
    fixed = statistics.median(once)
    return rows, max(0.0, (fixed - (whole - fixed) / max(steps - 1, 1)) / whole)


def report(method: Method, seconds: list[float], setting: Setting, members: int) -> dict:
    median = statistics.median(seconds)
    task, steps = setting.task, setting.training.steps or 1
    batch = setting.training.batch_size or setting.rows
    flops = common.step_flops(setting.network, task.input_shape, task.n_outputs, batch)
    return {
        "kind": method.kind,
        "method": method.name,
        "seconds": median,
        "fastest_seconds": min(seconds),
        "slowest_seconds": max(seconds),
        "compile_seconds": method.compile_seconds,
        "members_per_second": members / median,
        "samples_per_second": members * steps * batch / median,
        "microseconds_per_step": 1e6 * median / steps,
        "gflops": members * steps * flops / median / 1e9,
    }


def compare(rows: list[dict], compared: list[Method]) -> None:
    """Adds to each row its speed over the faster PyTorch loop, and its final losses beside those of the first."""
    loop = min(row["seconds"] for row in rows if row["kind"] == LOOP)
    ours = compared[0].losses()
    assert ours is not None
    for row, method in zip(rows, compared, strict=True):
        row["speedup"] = loop / row["seconds"]
        losses = method.losses()
        if losses is not None:
            row["loss"] = float(losses.mean())
            row["loss_stderr"] = float(losses.std(ddof=1) / np.sqrt(len(losses))) if len(losses) > 1 else float("nan")
            if method is not compared[0]:
                row["largest_difference"] = float(np.abs(losses - ours).max())


def ratios(rows: list[dict]) -> dict[str, float]:
    """How many times as fast the first row is as the fastest of each kind of peer."""
    seconds = {kind: [row["seconds"] for row in rows if row["kind"] == kind] for kind in (LOOP, BATCHED, VMAP, JITTED)}
    return {kind: min(values) / rows[0]["seconds"] for kind, values in seconds.items() if values}


def verdict(row: dict) -> str:
    aims = {kind: f" (target {row['targets'][kind]:g})" for kind in row["targets"]}
    parts = [f"{ratio:.2f} x the best {kind}{aims.get(kind, '')}" for kind, ratio in row["ratios"].items()]
    return f"speed of the {ENSEMBLE}: " + ", ".join(parts)


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
