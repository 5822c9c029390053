"""`jaxalign sweep`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

import jaxalign
from jaxalign import checks
from jaxalign.cli.options import Flag, given, save_figure, shown, write

_LAPTOP = "laptop"
_PRESET = "the preset's"


def _list_presets(_: str) -> str:
    entries = jaxalign.presets.entries.items()
    return "\n" + "\n".join(f"{name}: {entry.about} ({', '.join(entry.scales)})" for name, entry in entries)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Train every ensemble of a preset, compare all pairs, and write a table, a figure and a zarr store."""

    preset: Annotated[
        tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[PRESET]", help_behavior_hint=_list_presets)
    ] = None
    """The sweep, by name, with its scales:"""
    config: Annotated[Path | None, shown("FILE", "none")] = None
    """A configuration in JSON in place of a preset."""
    print_config: Flag = False
    """Print what is configured, as such a FILE."""
    scale: Annotated[str, shown("SCALE")] = _LAPTOP
    """Size of the preset: laptop or paper."""
    out: Annotated[Path | None, shown("DIR", "./jaxalign-NAME[-SCALE]")] = None
    """Folder for sweep.zarr and sweep.png."""
    resume: bool = True
    """Go on with what the store holds, or compute it again."""
    dry_run: Flag = False
    """Print cells, memory and time, after a short probe."""
    x: Annotated[str | None, shown("AXIS", _PRESET)] = None
    """Of the figure: n_train, n_parameters, alpha."""
    theory: Annotated[bool | None, shown(default=_PRESET)] = None
    """Draw the theory of linear networks."""
    between: Annotated[bool | None, shown(default=_PRESET)] = None
    """Draw alignment between networks too."""
    noise: Annotated[tuple[float, ...] | None, shown("LEVEL ...", _PRESET)] = None
    """SNR = Var[teacher]/Var[noise], or fractions."""
    n_train: Annotated[tuple[int, ...] | None, shown("N ...", _PRESET)] = None
    """Numbers of training samples."""
    members: Annotated[int | None, shown("N", _PRESET)] = None
    """Networks in each ensemble."""
    replicates: Annotated[int | None, shown("N", _PRESET)] = None
    """Independent draws of the whole sweep."""
    seed: Annotated[int | None, shown("N", _PRESET)] = None
    """Of all random draws."""
    probes: Annotated[int | None, shown("N", _PRESET)] = None
    """Held-out inputs for the comparison."""
    layer: Annotated[str | None, shown("NAME", _PRESET)] = None
    """The representation that is compared."""
    metrics: Annotated[tuple[str, ...] | None, shown("NAME ...", _PRESET)] = None
    """Measures of alignment; cce is in nats."""
    steps: Annotated[int | None, shown("N", _PRESET)] = None
    """Optimizer steps of each network."""
    epochs: Annotated[float | None, shown("N", _PRESET)] = None
    """Passes over n_train, instead of steps."""
    learning_rate: Annotated[float | None, shown("RATE", _PRESET)] = None
    """Of the optimizer."""
    data_dir: Annotated[str | None, shown("DIR", "$JAXALIGN_TFDS_DIR or ~/tensorflow_datasets")] = None
    """Data sets."""
    download: Flag = False
    """Download the data set into it if it is not there."""
    memory_budget: Annotated[int | None, shown("BYTES", "half of what is free")] = None
    """Of each device that may be used."""
    save_representations: Annotated[bool | None, tyro.conf.FlagConversionOff, shown("", "if up to 1 GB")] = None
    """True or False: keep them in the store."""
    save_parameters: Flag = False
    """Keep trained weights beside the store."""
    compilation_cache: Annotated[Path | None, shown("DIR", "none")] = None
    """Trusted folder that keeps compiled programs."""
    verbose: Flag = False
    """Say what is being done."""
    progress: Annotated[Flag, shown(default="shown")] = True
    """No progress bar, nor lines in its place."""

    def configuration(self) -> "jaxalign.SweepConfig":
        """The configuration of the preset or file with what was given in its place.

        Raises:
          ValueError: if there is no such preset, if the file is not a configuration, or if an option does not fit it.
          OSError: if the file cannot be read.
        """
        config = self._base()
        training = given({name: getattr(self, name) for name in ("steps", "epochs", "learning_rate")})
        if len({"steps", "epochs"} & {*training}) == 1:
            # One replaces the other of the preset.
            training = {"steps": None, "epochs": None, **training}
        changes = {
            name: getattr(self, name)
            for name in ("noise", "n_train", "members", "replicates", "seed", "probes", "layer", "metrics")
        }
        changes["training"] = dataclasses.replace(config.training, **training)
        if isinstance(config.task, jaxalign.ImageTask):
            changes["task"] = dataclasses.replace(config.task, data_dir=self.data_dir, download=self.download)
        elif self.data_dir is not None or self.download:
            raise ValueError(f"data_dir and download are for images, not for {config.task}")
        return dataclasses.replace(config, **given(changes))

    def _base(self) -> "jaxalign.SweepConfig":
        from jaxalign.sweep.config import from_json

        if self.config is None:
            if self.preset is None:
                names = ", ".join(jaxalign.presets)
                raise ValueError(f"a PRESET is required, one of {names}; or a configuration, as --config FILE")
            return jaxalign.presets(self.preset, self.scale)
        if self.preset is not None or self.scale != _LAPTOP:
            raise ValueError("a preset or its scale cannot be given together with --config")
        text = self.config.read_bytes()
        try:
            return from_json(text.decode())
        except ValueError as error:
            raise ValueError(f"{self.config}: {error}") from None

    def _folder(self) -> Path:
        if self.out is not None:
            return self.out
        name = self.preset if self.config is None else self.config.stem
        return Path(f"jaxalign-{name}" + ("" if self.scale == _LAPTOP else f"-{self.scale}"))

    def run(self) -> None:
        """Runs the sweep; the table goes to the standard output."""
        from jaxalign.sweep.config import to_json
        from jaxalign.tables import table

        config = self.configuration()
        if self.print_config:
            write(to_json(config, readable=True))
            return
        # What cannot be drawn is refused before anything is trained.
        view = self._view()
        _check_view(config, **view)
        out = self._folder()
        storing = {"memory_budget": self.memory_budget, "save_representations": self.save_representations}
        if self.dry_run:
            write(str(jaxalign.plan(config, out / "sweep.zarr", **storing)))
            return
        dataset = jaxalign.run_sweep(
            config,
            store=out / "sweep.zarr",
            resume=self.resume,
            progress=self.progress,
            save_parameters=self.save_parameters,
            compilation_cache=self.compilation_cache,
            verbose=self.verbose,
            **storing,
        )
        write(table(dataset))
        if config.metrics:
            save_figure(jaxalign.plot_sweep(dataset, metric=config.metrics[0], **view), out / "sweep.png")
        write(f"\nwrote {out / 'sweep.zarr'}" + (f" and {out / 'sweep.png'}" if config.metrics else ""))

    def _view(self) -> dict[str, Any]:
        """How the figure is drawn: as was asked for, or else as the preset says."""
        if self.preset is None:
            view = {"x": "n_train", "theory": False, "between": False}
        else:
            entry = jaxalign.presets.entries[self.preset]
            view = {"x": entry.x, "theory": entry.theory, "between": entry.between}
        return view | given({name: getattr(self, name) for name in view})


def _check_view(config: "jaxalign.SweepConfig", x: str, theory: bool, between: bool) -> None:
    from jaxalign.networks import n_parameters
    from jaxalign.plots import X_AXES
    from jaxalign.sweep.predict import check_predictable

    checks.choice("x", x, [name for name in X_AXES if name != "alpha" or config.task.alpha(1) is not None])
    if theory:
        check_predictable(config)
    if between and len(config.networks) < 2:
        checks.reject("between", "False for a single network", between)
    sizes = {n_parameters(network, config.task.input_shape, config.task.n_outputs) for network in config.networks}
    if between and x == "n_parameters" and len(sizes) > 1:
        checks.reject("x", "n_train or alpha for alignment between networks of other numbers of parameters", x)
