"""Regression on a random linear teacher."""

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxalign import checks
from jaxalign.streams import draw_rows
from jaxalign.tasks.base import Task

_MIN_TEST_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class LinearTeacher(Task):
    """y = B x + eps, with x ~ N(0, I) and a random B of orthonormal rows.

    The noise level is SNR = Var[teacher output] / Var[target noise], per output. Each output of the teacher has
    variance 1, so that eps ~ N(0, 1/SNR); an SNR of infinity means targets without noise. Errors are mean squared
    errors divided by the teacher's variance: a network that answers 0 has test error 1.

    Attributes:
      dim: the number d of input dimensions.
      outputs: the number of outputs C, at most `dim`. The rows of B are orthonormal, so that all outputs are
        learned with the same overlap.

    Raises:
      ValueError: if `dim` or `outputs` is not a positive integer, or if `outputs` is larger than `dim`.
    """

    dim: int
    outputs: int = 1

    noise_name: ClassVar[str] = "snr"
    output_layer: ClassVar[str] = "output"
    classification: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.integer("dim", self.dim)
        checks.integer("outputs", self.outputs, maximum=self.dim)

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def n_outputs(self) -> int:
        return self.outputs

    def check_noise(self, levels: Any) -> tuple[float, ...]:
        return checks.reals(
            "noise", levels, "signal-to-noise ratios", 0.0, math.inf, exclude_minimum=True, finite=False
        )

    def clean_train_error(self, level: float) -> float:
        return 1.0 / level

    def alpha(self, n_train: int) -> float:
        return n_train / self.dim

    def load(self, key: Key[Array, ""]) -> Float[Array, "outputs dim"]:
        gaussian = jax.random.normal(key, (self.dim, self.outputs))
        orthonormal, triangular = jnp.linalg.qr(gaussian)
        # With the signs of the diagonal the rows are uniform (Haar); the bare decomposition fixes a sign of its own.
        return (orthonormal * jnp.sign(jnp.diag(triangular))[None, :]).T

    def draw_inputs(self, world: Array, key: Key[Array, ""], n: int) -> Float[Array, "n dim"]:
        return draw_rows(key, n, lambda row_key: jax.random.normal(row_key, (self.dim,)))

    def inputs(self, world: Array, drawn: Float[Array, "rows dim"]) -> Float[Array, "rows dim"]:
        return drawn

    def clean_targets(self, world: Array, drawn: Float[Array, "rows dim"]) -> Float[Array, "rows outputs"]:
        return jnp.matmul(drawn, world.T, precision="highest")

    def corrupt(self, key: Key[Array, ""], clean: Array, level: float | Array) -> Float[Array, "rows outputs"]:
        noise = draw_rows(key, len(clean), lambda row_key: jax.random.normal(row_key, (self.outputs,)))
        return clean + noise * jax.lax.rsqrt(jnp.asarray(level, clean.dtype))

    def test_set(self, world: Array, key: Key[Array, ""], probes: int) -> tuple[Array, Array]:
        drawn = self.draw_inputs(world, key, max(probes, _MIN_TEST_ROWS))
        return drawn, self.clean_targets(world, drawn)

    def loss(self, output: Array, targets: Array) -> Float[Array, " rows"]:
        return jnp.mean(jnp.square(output - targets), axis=-1)

    def error(self, output: Array, targets: Array) -> Float[Array, " rows"]:
        return jnp.mean(jnp.square(output - targets), axis=-1)
