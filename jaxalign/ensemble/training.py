"""How a network is trained."""

import dataclasses
import functools
import math
from typing import Any, Self

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxalign import checks

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine", "inverse_sqrt")
_DEFAULT_STEPS = 5000


@dataclasses.dataclass(frozen=True)
class Training:
    """How each member is trained; all members of a sweep are trained alike, but for learning rates of their own.

    An epoch is ceil(n_train / batch_size) steps, one with `batch_size=None`: as many minibatches as hold n_train rows,
    though they are drawn with replacement. Numbers of epochs need not be whole; E epochs are E times the steps of an
    epoch, rounded to the nearest whole number, at least 1.

    Attributes:
      optimizer: "sgd", "adam" or "adamw".
      learning_rate: the (initial) learning rate, above 0. A tuple gives member m of every ensemble its own, the same
        at all noise levels.
      momentum: of sgd, in [0, 1); 0 for plain sgd. The adams have their own and refuse it.
      schedule: the factor on the learning rate at step t = 0, 1, ... of T: 1 if "constant"; (1 + cos(pi t / T)) / 2,
        from 1 to 0, if "cosine"; (1 + epoch // schedule_epochs)^(-1/2) if "inverse_sqrt", where epoch counts the
        completed ones, from 0.
      schedule_epochs: the epochs between two changes of "inverse_sqrt".
      steps: the number of optimizer steps; 5000 if neither it nor `epochs` is given.
      epochs: the number of epochs instead of that of steps, above 0.
      batch_size: rows of a minibatch, drawn with replacement; None trains on all rows at every step.
      weight_decay: decoupled for adamw, added to the gradient for sgd and adam (L2), at least 0.
      clip: the largest norm of a member's gradient, above 0; None does not clip.
      init_scale: the factor on all initial weights, above 0.
      tolerance: the largest training error at which a member counts as converged; None asks only that it is finite.
      patience: stops a member once all minibatches of this many epochs in a row had a training error of at most
        `tolerance` (0 if that is None), each measured before the step that it was used for; the others go on as if
        nothing had happened. None trains all members to the end, which costs less per step.

    Raises:
      ValueError: if an argument lies outside its range, momentum is given to an adam, or both steps and epochs are
        given.

    Example:
      >>> from jaxalign import Training
      >>> training = Training(optimizer="sgd", learning_rate=0.05, schedule="cosine", epochs=20, batch_size=128)
      >>> training.total_steps(1000)  # 8 minibatches per epoch
      160
      >>> round(float(training.schedule_factor(80, 1000)), 3)  # on the learning rate, after half of the steps
      0.5
      >>> Training(optimizer="adm")
      Traceback (most recent call last):
          ...
      ValueError: optimizer must be one of adam, adamw, sgd; got 'adm' (did you mean 'adam' or 'adamw'?)
    """

    optimizer: str = "adam"
    learning_rate: float | tuple[float, ...] = 1e-3
    momentum: float = 0.0
    schedule: str = "constant"
    schedule_epochs: int = 50
    steps: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    weight_decay: float = 0.0
    clip: float | None = None
    init_scale: float = 1.0
    tolerance: float | None = None
    patience: float | None = None

    def __post_init__(self) -> None:
        checks.choice("optimizer", self.optimizer, OPTIMIZERS)
        self._check_learning_rate()
        checks.real("momentum", self.momentum, 0.0, 1.0)
        if self.momentum == 1.0 or (self.momentum and self.optimizer != "sgd"):
            checks.reject(
                "momentum", f"below 1, and 0 unless the optimizer is sgd (it is {self.optimizer})", self.momentum
            )
        checks.choice("schedule", self.schedule, SCHEDULES)
        checks.integer("schedule_epochs", self.schedule_epochs)
        if self.epochs is None:
            object.__setattr__(
                self, "steps", checks.integer("steps", _DEFAULT_STEPS if self.steps is None else self.steps)
            )
        elif self.steps is not None:
            checks.reject("steps", "None where epochs are given", self.steps)
        else:
            checks.real("epochs", self.epochs, 0.0, exclude_minimum=True)
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size)
        checks.real("weight_decay", self.weight_decay, 0.0)
        if self.clip is not None:
            checks.real("clip", self.clip, 0.0, exclude_minimum=True)
        checks.real("init_scale", self.init_scale, 0.0, exclude_minimum=True)
        if self.tolerance is not None:
            checks.real("tolerance", self.tolerance, 0.0)
        if self.patience is not None:
            checks.real("patience", self.patience, 0.0, exclude_minimum=True)

    def _check_learning_rate(self) -> None:
        rates = self.learning_rate
        if not isinstance(rates, (tuple, list)):
            checks.real("learning_rate", rates, 0.0, exclude_minimum=True)
            return
        if not rates:
            checks.reject("learning_rate", "a number, or a non-empty tuple of numbers, one per member", rates)
        named = [(f"learning_rate[{i}]", rate) for i, rate in enumerate(rates)]
        rates = tuple(checks.real(name, rate, 0.0, exclude_minimum=True) for name, rate in named)
        object.__setattr__(self, "learning_rate", rates)

    @classmethod
    def gu2024(cls, epochs: float, *, batch_size: int = 128, **changes: Any) -> Self:
        """The recipe of Gu et al.: sgd without momentum at 0.05 / sqrt(1 + epoch // 50), minibatches of 128.

        Args:
          epochs: the number of epochs.
          batch_size: rows of a minibatch.
          **changes: other attributes, in place of the recipe's.

        Reference:
          Gu, Zheng & Aste 2024, Unraveling the Enigma of Double Descent, ICLR.

        Example:
          >>> from jaxalign import Training
          >>> recipe = Training.gu2024(epochs=200, clip=1.0)
          >>> recipe.optimizer, recipe.learning_rate, recipe.schedule, recipe.total_steps(1280)
          ('sgd', 0.05, 'inverse_sqrt', 2000)
        """
        recipe = {"optimizer": "sgd", "learning_rate": 0.05, "schedule": "inverse_sqrt", "schedule_epochs": 50}
        return cls(**{**recipe, "epochs": epochs, "batch_size": batch_size, **changes})

    def steps_of(self, epochs: float, n_train: int | Int[Array, ""]) -> int | Int[Array, ""]:
        """How many steps some epochs are; traced if it depends on an `n_train` that is."""
        # -(-a // b) is ceil(a / b) in integers, exact for every n_train.
        per_epoch = 1 if self.batch_size is None else -(-n_train // self.batch_size)
        if float(epochs).is_integer():
            return int(epochs) * per_epoch
        if isinstance(per_epoch, int):
            return max(1, round(epochs * per_epoch))
        return jnp.maximum(1, jnp.round(epochs * per_epoch)).astype(jnp.int32)

    def total_steps(self, n_train: int | Int[Array, ""]) -> int | Int[Array, ""]:
        """The number of optimizer steps; a Python integer where it does not depend on a traced `n_train`."""
        if self.epochs is not None:
            return self.steps_of(self.epochs, n_train)
        assert self.steps is not None
        return self.steps

    def schedule_factor(self, step: int | Array, n_train: int | Int[Array, ""]) -> float | Array:
        """The factor on the learning rate at a step, counted from 0."""
        if self.schedule == "cosine":
            return 0.5 * (1.0 + jnp.cos(math.pi * step / self.total_steps(n_train)))
        if self.schedule == "inverse_sqrt":
            return 1.0 / jnp.sqrt(1.0 + step // self.steps_of(self.schedule_epochs, n_train))
        return 1.0

    def _rate(self, step: Array, n_train: int | Array, learning_rate: float | Array) -> float | Array:
        return learning_rate * self.schedule_factor(step, n_train)

    def transformation(
        self, n_train: int | Int[Array, ""], learning_rate: float | Float[Array, ""]
    ) -> optax.GradientTransformation:
        """The optimizer of one member as an optax gradient transformation; both arguments may be traced."""
        rate: Any = learning_rate
        if self.schedule != "constant":
            rate = functools.partial(self._rate, n_train=n_train, learning_rate=learning_rate)
        stages = []
        if self.clip is not None:
            stages.append(optax.clip_by_global_norm(self.clip))
        if self.weight_decay and self.optimizer != "adamw":
            stages.append(optax.add_decayed_weights(self.weight_decay))
        if self.optimizer == "sgd":
            stages.append(optax.sgd(rate, momentum=self.momentum or None))
        elif self.optimizer == "adam":
            stages.append(optax.adam(rate))
        else:
            stages.append(optax.adamw(rate, weight_decay=self.weight_decay))
        return optax.chain(*stages)
