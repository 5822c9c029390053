"""Sweeps that are known by name."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxalign import checks
from jaxalign.ensemble.training import Training
from jaxalign.networks import CNN, MLP, LinearNetwork
from jaxalign.sweep.config import SweepConfig
from jaxalign.tasks import ImageTask, LinearTeacher

LAPTOP, PAPER = "laptop", "paper"


@functools.cache
def _quickstart() -> SweepConfig:
    return SweepConfig(
        task=ImageTask("digits"),
        networks=(MLP(hidden=12),),
        noise=(0.2, 0.4, 0.6),
        n_train=(20, 40, 70, 100, 150, 220, 320, 500, 800, 1397),
        members=5,
        replicates=2,
        training=Training(optimizer="adam", learning_rate=3e-3, steps=5000, batch_size=128),
        probes=400,
    )


@functools.cache
def _figure1() -> SweepConfig:
    return SweepConfig(
        task=LinearTeacher(dim=200),
        # Of a wider hidden layer the other units would be silent, as the teacher has one output.
        networks=(LinearNetwork(hidden=1),),
        noise=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        # Denser around the interpolation threshold at 200.
        n_train=(
            *(10, 14, 20, 28, 40, 57, 80, 110, 140, 165, 180, 190, 200),
            *(210, 220, 240, 270, 310, 380, 480, 620, 820, 1100, 1500, 2000),
        ),
        members=50,
        replicates=10,
        # All points of a replicate share its teacher and probes, so how many of a sweep are within their errors of the
        # theory varies: 79 to 99% at the seeds 0 to 6, of which this one is the median.
        seed=2,
        probes=300,
        metrics=("cce",),
    )


@functools.cache
def _figure2() -> SweepConfig:
    return SweepConfig(
        task=LinearTeacher(dim=20),
        networks=(MLP(hidden=10),),
        noise=(0.5, 2.0, 8.0, 32.0),
        n_train=(10, 20, 40, 70, 110, 160, 220, 300, 400, 600, 1000, 2000, 3200),
        members=8,
        replicates=3,
        training=Training(optimizer="adam", learning_rate=1e-2, schedule="cosine", steps=10_000),
        probes=500,
    )


@functools.cache
def _figure3() -> SweepConfig:
    return dataclasses.replace(
        _figure2(),
        networks=(LinearNetwork(hidden=10), MLP(hidden=10)),
        noise=(1.0, 8.0),
        n_train=(8, 12, 16, 18, 22, 26, 34, 50, 80, 120, 180, 250, 350, 600, 1200, 2400),
    )


@functools.cache
def _figure4_laptop() -> SweepConfig:
    return SweepConfig(
        task=ImageTask("mnist"),
        networks=(MLP(hidden=16),),
        noise=(0.0, 0.1, 0.2, 0.4, 0.6),
        n_train=(100, 200, 400, 700, 1000, 1500, 2200, 3200, 4700, 7000, 11_000, 20_000),
        members=6,
        replicates=2,
        training=Training(optimizer="adam", learning_rate=1e-3, steps=6000, batch_size=128),
        layer="penultimate",
    )


@functools.cache
def _figure4_paper() -> SweepConfig:
    return dataclasses.replace(
        _figure4_laptop(),
        # Wider networks would fit the noise on all 60,000 images, and alignment could not recover within the data set.
        networks=(MLP(hidden=64),),
        members=10,
        n_train=(100, 250, 630, 1000, 1600, 2500, 4000, 6300, 10_000, 16_000, 25_000, 40_000, 60_000),
        training=Training(optimizer="adam", learning_rate=1e-3, steps=50_000, batch_size=128),
    )


@functools.cache
def _figure5_laptop() -> SweepConfig:
    return SweepConfig(
        task=ImageTask("cifar10"),
        networks=(CNN(width=4),),
        noise=(0.2, 0.4, 0.6),
        n_train=(60, 150, 350, 800, 1500, 2500, 4500, 8000),
        members=4,
        replicates=2,
        training=Training(optimizer="adam", learning_rate=3e-3, schedule="cosine", steps=2000, batch_size=64),
        layer="penultimate",
    )


@functools.cache
def _figure5_paper() -> SweepConfig:
    return dataclasses.replace(
        _figure5_laptop(),
        networks=(CNN(width=16),),
        noise=(0.0, 0.1, 0.2, 0.4, 0.6),
        n_train=(250, 500, 1000, 2000, 4000, 8000, 12_000, 16_000, 22_000, 30_000, 40_000, 50_000),
        members=10,
        training=Training.gu2024(epochs=1000),
    )


@dataclasses.dataclass(frozen=True)
class Preset:
    """A sweep at one or several scales.

    Attributes:
      about: what is trained on what, in a few words.
      scales: for each scale, by name, what makes the configuration.
      x: the horizontal axis on which `plot_sweep` shows it.
      theory: whether it is shown beside its theory.
      between: whether the alignment between its networks is shown too.
    """

    about: str
    scales: Mapping[str, Callable[[], SweepConfig]]
    x: str = "n_train"
    theory: bool = False
    between: bool = False


class Presets(Mapping[str, SweepConfig]):
    """The presets by name, at the laptop scale; called with a name and a scale, at any. Each is made when asked for.

    Attributes:
      entries: what is known of each preset before it is made.
    """

    def __init__(self, entries: Mapping[str, Preset]):
        self.entries = dict(entries)

    def __call__(self, name: str, scale: str = LAPTOP) -> SweepConfig:
        """The configuration of a preset at a scale.

        Args:
          name: of the preset.
          scale: "laptop", minutes on a few cores, which every preset has; "paper", about that of the publication.

        Raises:
          ValueError: if there is no such preset, or it has no such scale.
        """
        entry = self.entries[checks.choice("preset", name, self.entries)]
        return entry.scales[checks.choice(f"scale (of {name})", scale, entry.scales)]()

    def __getitem__(self, name: str) -> SweepConfig:
        return self(name)

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


presets = Presets(
    {
        "quickstart": Preset("MLP on digits, label noise", {LAPTOP: _quickstart}),
        "figure1": Preset("solved linear networks, SNR", {LAPTOP: _figure1}, x="alpha", theory=True),
        "figure2": Preset("ReLU networks on a linear teacher, SNR", {LAPTOP: _figure2}, x="n_parameters"),
        "figure3": Preset(
            "linear against ReLU networks, SNR",
            {LAPTOP: _figure3},
            theory=True,
            between=True,
        ),
        "figure4": Preset(
            "MLP on MNIST, label noise",
            {LAPTOP: _figure4_laptop, PAPER: _figure4_paper},
            x="n_parameters",
        ),
        "figure5": Preset(
            "CNN on CIFAR-10, label noise",
            {LAPTOP: _figure5_laptop, PAPER: _figure5_paper},
            x="n_parameters",
        ),
    }
)


def as_config(config: Any) -> SweepConfig:
    """The configuration itself, or that of the preset of this name at the laptop scale.

    Raises:
      ValueError: if it is neither.
    """
    if isinstance(config, str):
        return presets[config]
    if not isinstance(config, SweepConfig):
        checks.reject("config", "a SweepConfig or the name of a preset", config)
    return config
