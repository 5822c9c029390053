"""What every task gives: data drawn for one member, noise put on it, a loss and an error."""

import abc
from typing import Any, ClassVar

from jaxtyping import Array, Float, Int, Key, PyTree


class Task(abc.ABC):
    """A task to learn, with a noise that can be turned up.

    Subclasses are frozen dataclasses: hashable, so that a compiled program belongs to them, and comparable. All
    methods that take keys or arrays are pure, speak of ONE member, and are batched by `jaxalign.ensemble`.

    Attributes:
      output_layer: the name under which the network's output can be compared as a representation.
      classification: whether targets are classes.
    """

    output_layer: ClassVar[str]
    classification: ClassVar[bool]

    @property
    @abc.abstractmethod
    def noise_name(self) -> str:
        """The name of the noise level in configurations and results: "snr" or "label_noise"."""

    @property
    def noise_on_inputs(self) -> bool:
        """Whether the noise is put on the training inputs, by `noisy_inputs`; the targets then stay clean."""
        return False

    @property
    @abc.abstractmethod
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input."""

    @property
    @abc.abstractmethod
    def n_outputs(self) -> int:
        """The number of regression outputs or of classes."""

    @property
    def n_train_available(self) -> int | None:
        """How many training samples there are; None where they are drawn without limit."""
        return None

    @property
    def n_probes_available(self) -> int | None:
        """How many held-out inputs there are; None where they are drawn without limit."""
        return None

    @abc.abstractmethod
    def check_noise(self, levels: Any) -> tuple[float, ...]:
        """Returns the noise levels as floats.

        Raises:
          ValueError: if one of them is not a level of this noise.
        """

    @abc.abstractmethod
    def clean_train_error(self, level: float) -> float:
        """The expected training error, on noisy targets, of a network that answers every clean target."""

    def alpha(self, n_train: int) -> float | None:
        """n_train per input dimension, where that ratio has a meaning."""
        return None

    @abc.abstractmethod
    def load(self, key: Key[Array, ""]) -> PyTree[Array]:
        """What all members of a replicate share: the teacher drawn from `key`, or the data set.

        Raises:
          FileNotFoundError: if the data set is not there and cannot be had.
        """

    def check_available(self, world: PyTree[Array], n_train: int, probes: int) -> None:
        """Checks that what was loaded has `n_train` training samples and `probes` held-out inputs.

        `n_train_available` and `n_probes_available` are only upper bounds, known before anything is loaded.

        Raises:
          ValueError: if it has fewer.
        """
        return None

    @abc.abstractmethod
    def draw_inputs(self, world: PyTree[Array], key: Key[Array, ""], n: int) -> Array:
        """Draws which `n` inputs are trained on; the first rows do not depend on `n`."""

    @abc.abstractmethod
    def inputs(self, world: PyTree[Array], drawn: Array) -> Float[Array, "rows ..."]:
        """The inputs (rows, *input_shape) that some rows of `draw_inputs` stand for, as the networks see them."""

    def noisy_inputs(
        self,
        world: PyTree[Array],
        drawn: Array,
        key: Key[Array, ""],
        level: float | Float[Array, ""],
        rows: Int[Array, " rows"] | None = None,
    ) -> Float[Array, "rows ..."]:
        """The training inputs of one member as its network sees them, where `noise_on_inputs`.

        Args:
          world: what `load` returned.
          drawn: rows of `draw_inputs`.
          key: of the member's noise, the one that `corrupt` gets.
          level: the noise level; every level scales the same draws.
          rows: which rows of `draw_inputs` these are, so that a minibatch gets the noise of its rows. None means the
            first ones.
        """
        return self.inputs(world, drawn)

    @abc.abstractmethod
    def clean_targets(self, world: PyTree[Array], drawn: Array) -> Array:
        """The targets without noise: (rows, n_outputs), or classes (rows,)."""

    @abc.abstractmethod
    def corrupt(self, key: Key[Array, ""], clean: Array, level: float | Float[Array, ""]) -> Array:
        """The noisy targets of one member; every level uses the same random draws."""

    @abc.abstractmethod
    def test_set(self, world: PyTree[Array], key: Key[Array, ""], probes: int) -> tuple[Array, Array]:
        """Held-out inputs and clean targets, at least `probes` of them; the probes are the first rows."""

    @abc.abstractmethod
    def loss(self, output: Float[Array, "rows outputs"], targets: Array) -> Float[Array, " rows"]:
        """The training loss of each row."""

    @abc.abstractmethod
    def error(self, output: Float[Array, "rows outputs"], targets: Array) -> Float[Array, " rows"]:
        """The error of each row, as it is reported."""
