"""How a network is trained."""

import dataclasses

import optax

from jaxalign import checks

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "cosine")


@dataclasses.dataclass(frozen=True)
class Training:
    """How each member is trained; all members of a sweep are trained alike.

    Attributes:
      optimizer: "sgd", "adam" or "adamw".
      learning_rate: the (initial) learning rate, above 0.
      momentum: of sgd, in [0, 1); 0 for plain sgd. The adams have their own and refuse it.
      schedule: "constant", or "cosine": from `learning_rate` to 0 over `steps`.
      steps: the number of optimizer steps.
      batch_size: rows of a minibatch, drawn with replacement; None trains on all rows at every step.
      weight_decay: decoupled for adamw, added to the gradient for sgd and adam (L2), at least 0.
      clip: the largest norm of a member's gradient, above 0; None does not clip.
      init_scale: the factor on all initial weights, above 0.
      tolerance: the largest training error at which a member counts as converged; None asks only that it is finite.

    Raises:
      ValueError: if an argument lies outside its range, or momentum is given to an adam.
    """

    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    schedule: str = "constant"
    steps: int = 5000
    batch_size: int | None = None
    weight_decay: float = 0.0
    clip: float | None = None
    init_scale: float = 1.0
    tolerance: float | None = None

    def __post_init__(self) -> None:
        checks.choice("optimizer", self.optimizer, OPTIMIZERS)
        checks.real("learning_rate", self.learning_rate, 0.0, exclude_minimum=True)
        checks.real("momentum", self.momentum, 0.0, 1.0)
        if self.momentum == 1.0 or (self.momentum and self.optimizer != "sgd"):
            checks.reject(
                "momentum", f"below 1, and 0 unless the optimizer is sgd (it is {self.optimizer})", self.momentum
            )
        checks.choice("schedule", self.schedule, SCHEDULES)
        checks.integer("steps", self.steps)
        if self.batch_size is not None:
            checks.integer("batch_size", self.batch_size)
        checks.real("weight_decay", self.weight_decay, 0.0)
        if self.clip is not None:
            checks.real("clip", self.clip, 0.0, exclude_minimum=True)
        checks.real("init_scale", self.init_scale, 0.0, exclude_minimum=True)
        if self.tolerance is not None:
            checks.real("tolerance", self.tolerance, 0.0)

    def transformation(self) -> optax.GradientTransformation:
        """The optimizer as an optax gradient transformation."""
        rate = self.learning_rate
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(self.learning_rate, self.steps)
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
