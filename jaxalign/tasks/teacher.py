"""Regression on a linear teacher."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxalign import checks
from jaxalign.streams import draw_rows
from jaxalign.tasks.base import Task
from jaxalign.tasks.input_spectrum import ISOTROPIC, Spectrum, check_spectrum, eigenvalues, numbers

LEADING = "leading"
_MIN_TEST_ROWS = 1000


@dataclasses.dataclass(frozen=True)
class LinearTeacher(Task):
    """y = B x + eps, with x ~ N(0, Sigma) and a teacher B whose outputs are uncorrelated: B Sigma B^T = diag(b_j^2).

    By default Sigma is the identity and B has random orthonormal rows, b_j = 1. In general

        Sigma = diag(l_i),    mean_j b_j^2 = 1,    eps ~ N(0, 1 / SNR) on every output,

    so that the outputs are the singular modes of the teacher, b_j their singular values, and coordinate i of the
    inputs is the i-th eigenvector of Sigma: x_i = sqrt(l_i) z_i, with the same draws z ~ N(0, I) for every Sigma.

    The noise level is SNR = Var[teacher output] / Var[target noise]. Outputs of unequal strength have the same
    target noise, and the SNR is the ratio of the variances averaged over the outputs: output j alone has b_j^2 SNR.
    An SNR of infinity means targets without noise. Errors are mean squared errors over all outputs, divided by the
    teacher's mean variance, which is 1: a network that answers 0 has test error 1.

    Attributes:
      dim: the number d of input dimensions.
      outputs: the number of outputs C, at most `dim`.
      strengths: the relative singular values b_j of the outputs, C positive numbers, scaled to a mean square of 1.
        None makes all 1, so that all outputs are learned with the same overlap.
      spectrum: the eigenvalues l_i of Sigma: "isotropic" (all 1), `PowerLaw(exponent)`, or `dim` positive numbers,
        taken as they are. The filters measure eigenvalues (a ridge, a time) against a mean of 1.
      coefficients: how the teacher lies in the eigenvectors of Sigma. "isotropic": the rows of B span a subspace of
        uniformly random direction. "leading": row j is the eigenvector of the j-th largest eigenvalue (at equal ones
        the first), the same in all replicates. `dim` numbers: row 1 of a single output, up to its scale.

    Raises:
      ValueError: if `dim` or `outputs` is not a positive integer, or if `outputs` is larger than `dim`; if
        `strengths` are not C positive numbers; if `spectrum` is unknown or an eigenvalue is not positive (Sigma is not
        positive definite); if `coefficients` are unknown, all 0, not `dim` numbers, or given for several outputs.

    Example:
      >>> import jaxalign
      >>> import jax
      >>> task = jaxalign.LinearTeacher(dim=100, outputs=2, strengths=(2, 1), spectrum=jaxalign.PowerLaw(1.0))
      >>> world = task.load(jax.random.key(0))
      >>> x = task.inputs(world, task.draw_inputs(world, jax.random.key(1), 50))
      >>> x.shape, task.clean_targets(world, x).shape, task.noise_name, task.alpha(50)
      ((50, 100), (50, 2), 'snr', 0.5)
    """

    dim: int
    outputs: int = 1
    strengths: tuple[float, ...] | None = None
    spectrum: Spectrum = ISOTROPIC
    coefficients: str | tuple[float, ...] = ISOTROPIC

    output_layer: ClassVar[str] = "output"
    classification: ClassVar[bool] = False

    def __post_init__(self) -> None:
        checks.integer("dim", self.dim)
        checks.integer("outputs", self.outputs, maximum=self.dim)
        if self.strengths is not None:
            strengths = numbers("strengths", self.strengths, self.outputs, "None or singular values")
            self._set("strengths", strengths, minimum=0.0, exclude_minimum=True)
        object.__setattr__(self, "spectrum", check_spectrum(self.spectrum, self.dim))
        if isinstance(self.coefficients, str):
            checks.choice("coefficients", self.coefficients, (ISOTROPIC, LEADING))
            return
        of = f"{ISOTROPIC!r}, {LEADING!r} or the coefficients of a single output"
        coefficients = numbers("coefficients", self.coefficients, self.dim, of)
        self._set("coefficients", coefficients)
        if self.outputs > 1 or not any(self.coefficients):
            checks.reject("coefficients", f"{of}, not all 0 (outputs is {self.outputs})", coefficients)

    def _set(self, name: str, values: tuple, **allowed: Any) -> None:
        checked = (checks.real(f"{name}[{i}]", value, **allowed) for i, value in enumerate(values))
        object.__setattr__(self, name, tuple(checked))

    @property
    def eigenvalues(self) -> Float[np.ndarray, " dim"]:
        """The eigenvalues l_i of Sigma, float64, in the order of the input coordinates."""
        return eigenvalues(self.spectrum, self.dim)

    @property
    def singular_values(self) -> Float[np.ndarray, " outputs"]:
        """The standard deviations b_j of the teacher's outputs, float64, of mean square 1."""
        relative = np.ones(self.outputs) if self.strengths is None else np.array(self.strengths, np.float64)
        return relative / np.sqrt(np.mean((relative / relative.max()) ** 2)) / relative.max()

    @property
    def squared_coefficients(self) -> Float[np.ndarray, "outputs dim"]:
        """B_ji^2 in the eigenvectors of Sigma, float64; for "isotropic" ones the mean over draws as dim -> infinity."""
        fixed = self._fixed_coefficients()
        directions = np.ones((self.outputs, self.dim)) / self.eigenvalues.sum() if fixed is None else fixed**2
        return directions * self.singular_values[:, None] ** 2

    def _fixed_coefficients(self) -> Float[np.ndarray, "outputs dim"] | None:
        """The rows of B for outputs of variance 1, where they are not drawn."""
        if self.coefficients == ISOTROPIC:
            return None
        if self.coefficients == LEADING:
            order = np.argsort(-self.eigenvalues, kind="stable")[: self.outputs]
            return np.eye(self.dim)[order] / np.sqrt(self.eigenvalues)
        row = np.array(self.coefficients, np.float64)
        row = row / np.abs(row).max()
        return row[None, :] / np.sqrt(np.sum(self.eigenvalues * row**2))

    @property
    def noise_name(self) -> str:
        return "snr"

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def n_outputs(self) -> int:
        return self.outputs

    def check_noise(self, levels: Any) -> tuple[float, ...]:
        return checks.signal_to_noise_ratios("noise", levels)

    def clean_train_error(self, level: float) -> float:
        return 1.0 / level

    def alpha(self, n_train: int) -> float:
        return n_train / self.dim

    def load(self, key: Key[Array, ""]) -> Float[Array, "outputs dim"]:
        strengths = jnp.asarray(self.singular_values, jnp.float32)[:, None]
        fixed = self._fixed_coefficients()
        if fixed is not None:
            return strengths * jnp.asarray(fixed, jnp.float32)
        gaussian = jax.random.normal(key, (self.dim, self.outputs))
        # Random directions, orthonormal where Sigma is the metric: the columns of Sigma^(1/2) B^T are orthonormal.
        orthonormal, triangular = jnp.linalg.qr(self._standard_deviations()[:, None] * gaussian)
        # With the signs of the diagonal the rows are uniform (Haar); the bare decomposition fixes a sign of its own.
        rows = (orthonormal * jnp.sign(jnp.diag(triangular))[None, :]).T
        return strengths * (rows / self._standard_deviations()[None, :])

    def _standard_deviations(self) -> Float[Array, " dim"]:
        return jnp.asarray(np.sqrt(self.eigenvalues), jnp.float32)

    def draw_inputs(self, world: Array, key: Key[Array, ""], n: int) -> Float[Array, "n dim"]:
        standard = draw_rows(key, n, lambda row_key: jax.random.normal(row_key, (self.dim,)))
        return standard * self._standard_deviations()[None, :]

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
