"""Sweeps that are known by name."""

import functools
from collections.abc import Callable, Iterator, Mapping

from jaxalign import checks
from jaxalign.ensemble.training import Training
from jaxalign.networks import MLP
from jaxalign.sweep.config import SweepConfig
from jaxalign.tasks import ImageTask


def _quickstart() -> SweepConfig:
    return SweepConfig(
        task=ImageTask("digits"),
        networks=(MLP(hidden=12),),
        noise=(0.2, 0.4, 0.6),
        n_train=(20, 40, 70, 100, 150, 220, 320, 500, 800, 1397),
        members=8,
        training=Training(optimizer="adam", learning_rate=3e-3, steps=5000, batch_size=128),
        probes=400,
    )


class Presets(Mapping[str, SweepConfig]):
    """The presets by name; each is made when it is asked for."""

    def __init__(self, makers: dict[str, Callable[[], SweepConfig]]):
        self._makers = {name: functools.cache(maker) for name, maker in makers.items()}

    def __getitem__(self, name: str) -> SweepConfig:
        return self._makers[checks.choice("preset", name, self._makers)]()

    def __contains__(self, name: object) -> bool:
        return name in self._makers

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


presets = Presets({"quickstart": _quickstart})
