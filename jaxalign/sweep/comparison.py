"""What is compared in a cell, and how: all pairs of all its networks, within a budget of memory."""

import logging
from collections.abc import Sequence

import jax
import numpy as np

from jaxalign.alignment.pairs import all_pairs
from jaxalign.ensemble import Outcome
from jaxalign.sweep.config import SweepConfig
from jaxalign.sweep.representations import compared_units

logger = logging.getLogger("jaxalign")

_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


def is_out_of_memory(error: Exception | None) -> bool:
    """Whether an error is that of a device whose memory is full."""
    return isinstance(error, jax.errors.JaxRuntimeError) and _OUT_OF_MEMORY in str(error)


def by_level(outcomes: Sequence[Outcome], levels: int) -> np.ndarray:
    """The representations of all networks of one replicate, (level, network, member, probe, unit).

    Narrower representations are widened by zeros, which change no distance between probes.
    """
    width = max(outcome.representation.shape[-1] for outcome in outcomes)
    widened = [
        np.pad(x, ((0, 0), (0, 0), (0, width - x.shape[-1])))
        for x in (np.asarray(outcome.representation) for outcome in outcomes)
    ]
    return np.stack([x.reshape(levels, -1, *x.shape[1:]) for x in widened], axis=1)


def example(config: SweepConfig, members: int) -> np.ndarray:
    """Noise of the shape of what is compared of a cell, (network, member, probe, unit)."""
    shape = (len(config.networks), members, config.probes, compared_units(config))
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def compare(config: SweepConfig, representations: np.ndarray, budget: int) -> dict[str, np.ndarray]:
    """Every measure for all pairs of a cell, (network, member, network, member); the diagonal is NaN.

    Args:
      config: names the measures.
      representations: of the cell, (network, member, probe, unit).
      budget: bytes; half of it after each time that the device runs out of memory.

    Raises:
      ValueError: if the budget is too small.
      MemoryError: if the device has no memory for any.
    """
    networks, members = representations.shape[:2]
    compared = representations[..., : compared_units(config)]
    flat = compared.reshape(-1, *compared.shape[2:])
    budget, found = max(1, budget), None
    while found is None:
        try:
            found = all_pairs(flat, config.metrics, memory_budget=budget, workers=1)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if budget == 1:
                raise MemoryError(f"the device has no memory to compare pairs: {error}") from error
            budget //= 2
            logger.warning("out of memory comparing pairs: going on with a budget of %d bytes", budget)
    diagonal = np.eye(len(flat), dtype=bool)
    return {
        name: np.where(diagonal, np.nan, matrix).astype(np.float32).reshape(networks, members, networks, members)
        for name, matrix in found.items()
    }
