"""The `jaxalign` command."""

import contextlib
import dataclasses
import io
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Annotated, NoReturn

import tyro
import xarray as xr

from jaxalign import checks
from jaxalign.alignment import DegenerateRepresentationWarning, align
from jaxalign.alignment.files import load_representations
from jaxalign.plots import X_AXES, plot_sweep
from jaxalign.selfcheck import selfcheck
from jaxalign.sweep import load_sweep, plan, predict, presets, run_sweep
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.presets import LAPTOP
from jaxalign.sweep.storage.results import write_store
from jaxalign.tables import matrices, table
from jaxalign.tasks import ImageTask

_INTERRUPTED, _TERMINATED = 130, 143

_PRESETS = "\n".join(f"  {name}: {entry.about} ({', '.join(entry.scales)})" for name, entry in presets.entries.items())


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Train every ensemble of a preset, compare all pairs, and write a table, a figure and a zarr store."""

    preset: Annotated[
        tyro.conf.Positional[str], tyro.conf.arg(help=f"The sweep, by name, with its scales:\n{_PRESETS}\n")
    ]
    scale: str = LAPTOP
    """Its size: laptop; or paper, about that of the publication, for a machine with an accelerator."""
    out: Path | None = None
    """The folder for sweep.zarr and sweep.png (default: ./jaxalign-PRESET; if not of laptop scale, -SCALE follows)."""
    resume: bool = True
    """Go on with what the store already holds of this sweep, or with --no-resume compute all of it again."""
    dry_run: bool = False
    """Print what the sweep would do, and the memory and time it would take, after a short probe."""
    noise: tuple[float, ...] | None = None
    """Noise levels: label-noise fractions, or SNR."""
    n_train: tuple[int, ...] | None = None
    """Numbers of training samples."""
    members: int | None = None
    """Networks in each ensemble."""
    replicates: int | None = None
    """Independent draws of the whole sweep."""
    seed: int | None = None
    """Of all random draws."""
    probes: int | None = None
    """Held-out inputs on which representations are compared."""
    layer: str | None = None
    """The representation that is compared."""
    metrics: tuple[str, ...] | None = None
    """Measures of alignment."""
    steps: int | None = None
    """Optimizer steps of each network."""
    epochs: float | None = None
    """Epochs of each network, instead of steps."""
    learning_rate: float | None = None
    """Learning rate."""
    data_dir: str | None = None
    """Folder of prepared TensorFlow Datasets."""
    download: bool = False
    """Download the data set into that folder if it is not there."""
    x: str | None = None
    """Horizontal axis of the figure: n_train, n_parameters or alpha, as in `plot` (default: the preset's own)."""
    theory: bool = False
    """Draw the theory of solved linear networks too."""
    memory_budget: int | None = None
    """Bytes of each device that may be used (default: half of what is free)."""
    save_representations: bool | None = None
    """Keep representations in the store, to add members later (default: up to 1 GB in all)."""
    save_parameters: bool = False
    """Keep trained weights beside the store."""
    compilation_cache: Path | None = None
    """A trusted folder where compiled programs are kept for the next run."""
    verbose: bool = False
    """Say what is being done."""
    progress: bool = True
    """Show a progress bar, or outside a terminal a line every minute."""

    def config(self) -> SweepConfig:
        """The preset with what was given in its place."""
        config = presets(self.preset, self.scale)
        training = _given({name: getattr(self, name) for name in ("steps", "epochs", "learning_rate")})
        if len({"steps", "epochs"} & {*training}) == 1:
            # One replaces the other of the preset.
            training = {"steps": None, "epochs": None, **training}
        changes = {
            name: getattr(self, name)
            for name in ("noise", "n_train", "members", "replicates", "seed", "probes", "layer", "metrics")
        }
        changes["training"] = dataclasses.replace(config.training, **training)
        if isinstance(config.task, ImageTask):
            changes["task"] = dataclasses.replace(config.task, data_dir=self.data_dir, download=self.download)
        return dataclasses.replace(config, **_given(changes))

    def run(self) -> None:
        """Runs the sweep; the table goes to the standard output."""
        config = self.config()
        # What cannot be drawn is refused before anything is trained.
        x = presets.entries[self.preset].x if self.x is None else self.x
        checks.choice("x", x, [name for name in X_AXES if name != "alpha" or config.task.alpha(1) is not None])
        if self.theory:
            predict(config)
        scale = "" if self.scale == LAPTOP else f"-{self.scale}"
        out = Path(f"jaxalign-{self.preset}{scale}") if self.out is None else self.out
        storing = {"memory_budget": self.memory_budget, "save_representations": self.save_representations}
        if self.dry_run:
            _write(str(plan(config, out / "sweep.zarr", **storing)))
            return
        dataset = run_sweep(
            config,
            store=out / "sweep.zarr",
            resume=self.resume,
            progress=self.progress,
            save_parameters=self.save_parameters,
            compilation_cache=self.compilation_cache,
            verbose=self.verbose,
            **storing,
        )
        _write(table(dataset))
        if config.metrics:
            _save_figure(dataset, out / "sweep.png", x, config.metrics[0], self.theory)
        _write(f"\nwrote {out / 'sweep.zarr'}" + (f" and {out / 'sweep.png'}" if config.metrics else ""))


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the figure of a sweep that was stored."""

    store: tyro.conf.Positional[Path]
    """The zarr store."""
    out: Path | None = None
    """The image to write, by its ending a PNG, PDF or SVG (default: beside the store, as sweep.png)."""
    x: str = "n_train"
    """Horizontal axis: n_train, n_parameters (samples per parameter) or alpha (samples per input dimension)."""
    metric: str = "cce"
    """Measure of alignment."""
    theory: bool = False
    """Draw the theory of solved linear networks too."""

    def run(self) -> None:
        """Draws the figure."""
        out = self.store.parent / "sweep.png" if self.out is None else self.out
        _save_figure(load_sweep(self.store), out, self.x, self.metric, self.theory)
        _write(f"wrote {out}")


@dataclasses.dataclass(frozen=True)
class Align:
    """Compare all pairs of representations in files: npy or npz, arrays (N, D) or (K, N, D), of the same N probes."""

    files: tyro.conf.Positional[tuple[Path, ...]]
    """The files; every layer of a npz file is a representation, unless one is chosen."""
    metrics: tuple[str, ...] = ("cce", "information_imbalance")
    """Measures of alignment."""
    layer: str | None = None
    """The array to take from each npz file."""
    neighbors: int | None = None
    """Nearest neighbours (default: as many as each measure's publication takes)."""
    null: int | None = None
    """Permutations of the null, for z and p."""
    seed: int = 0
    """Of the permutations."""
    out: Path | None = None
    """The zarr store to write, which must not exist."""
    progress: bool = True
    """Show a progress bar."""

    def run(self) -> None:
        """Prints one matrix for each measure, and the mean over pairs."""
        if not self.files:
            checks.reject("files", "at least one npy or npz file", "none")
        if self.out is not None and self.out.exists():
            checks.reject("out", "a path where nothing is yet", str(self.out))
        representations = load_representations(self.files, self.layer)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DegenerateRepresentationWarning)
            dataset = align(
                representations,
                self.metrics,
                neighbors=self.neighbors,
                null=self.null,
                seed=self.seed,
                progress=self.progress,
            )
        for warning in caught:
            for line in str(warning.message).splitlines():
                sys.stderr.write(f"jaxalign: warning: {line}\n")
        _write(matrices(dataset))
        if self.out is not None:
            write_store(dataset, self.out)
            _write(f"\nwrote {self.out}")


@dataclasses.dataclass(frozen=True)
class Selfcheck:
    """Compute analytic and published reference cases on this device, and print them beside what they should be."""

    def run(self) -> None:
        """Prints the table.

        Raises:
          CheckFailed: if a case is off.
        """
        failed = [check.name for check in selfcheck() if not check.passed]
        if failed:
            raise CheckFailed(f"{len(failed)} checks failed: {', '.join(failed)}")


class CheckFailed(Exception):
    """A measure differs from its reference value on this device."""


Command = (
    Annotated[Sweep, tyro.conf.subcommand("sweep", prefix_name=False)]
    | Annotated[Plot, tyro.conf.subcommand("plot", prefix_name=False)]
    | Annotated[Align, tyro.conf.subcommand("align", prefix_name=False)]
    | Annotated[Selfcheck, tyro.conf.subcommand("selfcheck", prefix_name=False)]
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Returns:
      0, 1 for a failed check, 2 for a wrong option or input, 130 after Ctrl-C, or 143 after SIGTERM.
    """
    try:
        _parse(arguments).run()
    except CheckFailed as error:
        sys.stderr.write(f"jaxalign: {error}\n")
        return 1
    except (ValueError, OSError) as error:
        sys.stderr.write(f"jaxalign: {error}\n")
        return 2
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"jaxalign: {str(interrupt) or 'interrupted'}\n")
        return _INTERRUPTED
    except SystemExit as end:
        if end.code != _TERMINATED:
            raise
        return _TERMINATED
    return 0


def script() -> NoReturn:
    """The command as a program of its own."""
    code = main()
    if code in (_INTERRUPTED, _TERMINATED):
        # Threads may be inside of an execution that cannot be interrupted, and need not be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _parse(arguments: list[str] | None) -> Sweep | Plot | Align | Selfcheck:
    """Reads the arguments.

    Raises:
      ValueError: with the parser's message on one line, where it would draw a box over several.
    """
    message = io.StringIO()
    try:
        with contextlib.redirect_stderr(message):
            return tyro.cli(Command, prog="jaxalign", description=__doc__, args=arguments)
    except SystemExit as exit_:
        if exit_.code in (0, None):
            raise
        plain = re.sub(r"\x1b\[[0-9;]*m|[─-╿]", " ", message.getvalue())
        raise ValueError(" ".join(plain.split())) from None


def _given(options: dict) -> dict:
    return {name: value for name, value in options.items() if value is not None}


def _save_figure(dataset: xr.Dataset, path: Path, x: str, metric: str, theory: bool) -> None:
    figure = plot_sweep(dataset, x=x, metric=metric, theory=theory)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
