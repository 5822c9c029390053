"""What a sweep is: its configuration, checked when it is made, and its form as JSON."""

import dataclasses
import json
from typing import Any

from jaxalign import checks
from jaxalign.alignment.registry import METRICS
from jaxalign.ensemble import Training, is_solved
from jaxalign.networks import (
    CNN,
    MLP,
    FlaxNetwork,
    LinearNetwork,
    Network,
    as_networks,
    digest,
    layers,
    normalizes_batches,
)
from jaxalign.tasks import ArraysInfo, ImageTask, LinearTeacher, PowerLaw, Task
from jaxalign.theory import filters

MIN_PROBES = 10


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """An ensemble for every (network, replicate, noise level, n_train).

    Attributes:
      task: what is learned; `LinearTeacher(...)` or `ImageTask(...)`.
      networks: the networks: ours, such as `MLP(hidden=16)`; classes of flax modules, made as
        `MyNet(input_shape, n_outputs, rngs=rngs)` and called to return (output, representations); or frozen dataclasses
        as `jaxalign.networks.Network` says. A class is put into a `jaxalign.networks.FlaxNetwork`.
      noise: the noise levels: SNR for regression, label-noise fractions for classification.
      n_train: the numbers of training samples.
      members: how many networks an ensemble has, at least 2 where a metric compares them.
      replicates: independent draws of the whole (teacher, inputs, initialization).
      seed: of all random draws, at least 0.
      shared_inputs: whether the members of an ensemble have the same training inputs.
      shared_init: whether they have the same initial weights.
      shared_batches: whether they have the same minibatches.
      training: how they are trained.
      probes: the number N of held-out inputs on which representations are compared, at least 10.
      layer: the name of the compared representation, in every network.
      metrics: the names of the measures.

    Raises:
      ValueError: if an argument is of the wrong type or outside its range, or a gradient descent of a solved network
        is certain to diverge; the message names it.

    Example:
      >>> import jaxalign
      >>> task, network = jaxalign.LinearTeacher(dim=10), jaxalign.LinearNetwork(hidden=5)
      >>> config = jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 10, 40), members=4, probes=100)
      >>> config.training.optimizer, config.metrics
      ('adam', ('cce', 'information_imbalance'))
      >>> jaxalign.SweepConfig(task, (network,), noise=(5.0,), n_train=(3, 0))
      Traceback (most recent call last):
          ...
      ValueError: n_train must be positive integers, got (3, 0)
    """

    task: Task
    networks: tuple[Network, ...]
    noise: tuple[float, ...]
    n_train: tuple[int, ...]
    members: int = 10
    replicates: int = 1
    seed: int = 0
    shared_inputs: bool = True
    shared_init: bool = True
    shared_batches: bool = True
    training: Training = Training()
    probes: int = 1000
    layer: str = "hidden"
    metrics: tuple[str, ...] = ("cce", "information_imbalance")

    def __post_init__(self) -> None:
        if not isinstance(self.task, Task):
            checks.reject("task", "a task such as LinearTeacher(dim=100) or ImageTask('digits')", self.task)
        self._set("networks", as_networks(self.networks))
        self._set("noise", self.task.check_noise(self.noise))
        self._set("n_train", checks.positive_integers("n_train", self.n_train, self.task.n_train_available))
        checks.integer("members", self.members)
        checks.integer("replicates", self.replicates)
        checks.integer("seed", self.seed, 0, 2**32 - 1)
        for name in ("shared_inputs", "shared_init", "shared_batches"):
            checks.boolean(name, getattr(self, name))
        if not isinstance(self.training, Training):
            checks.reject("training", "a Training(...)", self.training)
        self._check_training()
        checks.integer("probes", self.probes, MIN_PROBES, self.task.n_probes_available)
        self._check_metrics()
        self._check_layers()
        self._check_descent()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_training(self) -> None:
        rates = self.training.learning_rate
        if isinstance(rates, tuple) and len(rates) != self.members:
            checks.reject("learning_rate", f"one number or {self.members} of them, one per member", rates)
        if self.training.patience is not None and not self.task.classification and not self.training.tolerance:
            checks.reject("tolerance", "above 0 for patience in regression", self.training.tolerance)

    def _check_metrics(self) -> None:
        if isinstance(self.metrics, str) or not hasattr(self.metrics, "__iter__"):
            checks.reject("metrics", f"a tuple of names among {', '.join(sorted(METRICS))}", self.metrics)
        names = tuple(checks.choice("metrics", name, METRICS) for name in self.metrics)
        self._set("metrics", checks.sequence("metrics", names, "names of measures") if names else ())
        if self.metrics and self.members < 2:
            checks.reject("members", f"at least 2 to compare pairs by {', '.join(self.metrics)}", self.members)

    def _check_layers(self) -> None:
        for network in self.networks:
            if is_solved(network) and self.task.classification:
                checks.reject(
                    "networks",
                    "trained for classification: least squares solves regression, pass LinearNetwork(solver=None)",
                    network,
                )
            names = layers(network, self.task.input_shape, self.task.n_outputs)
            checks.choice(f"layer (of {network})", self.layer, (*names, self.task.output_layer))
            if self.training.batch_size is None and normalizes_batches(
                network, self.task.input_shape, self.task.n_outputs
            ):
                of = f"a number of rows for {network}: a full batch is padded, which would enter the batch statistics"
                checks.reject("batch_size", of, None)

    def _check_descent(self) -> None:
        """Refuses a solved gradient descent that is certain to diverge, before anything compiles.

        Only for isotropic inputs the largest eigenvalue, (1 + alpha^-1/2)^2, is known beforehand. Elsewhere the members
        that overflow are NaN and not `converged`, as those of a training that diverges.
        """
        if not isinstance(self.task, LinearTeacher) or self.task.spectrum != "isotropic":
            return
        alpha = self.task.alpha(min(self.n_train))
        stable = 2.0 / (1.0 + alpha**-0.5) ** 2
        for network in self.networks:
            solver = network.solver if is_solved(network) else None
            if isinstance(solver, filters.GradientDescent) and solver.learning_rate >= stable:
                checks.reject(
                    "networks",
                    f"solved by a gradient descent that converges, learning_rate below {stable:.4g} "
                    f"= 2 / (1 + (dim / n_train)^(1/2))^2 at the smallest n_train, {min(self.n_train)}",
                    network,
                )


def to_json(config: SweepConfig, *, readable: bool = False) -> str:
    """The configuration as JSON: what is computed, not where data lies on one machine.

    A network of the user's own is its class and fields, with a digest of what it computes.

    Args:
      config: the configuration.
      readable: indented and in the order in which configurations are written, for people and for files; otherwise one
        line with sorted keys, for attributes.
    """
    encoded = _encode(config)
    for network, entry in zip(config.networks, encoded["networks"], strict=True):
        if entry["type"] not in _TYPES:
            entry["digest"] = digest(network, config.task.input_shape, config.task.n_outputs)
    return _indented(encoded) if readable else json.dumps(encoded, sort_keys=True)


def from_json(text: str) -> SweepConfig:
    """The configuration that `to_json` wrote.

    Raises:
      ValueError: naming the key and what is allowed, if the text is no JSON, if a key is unknown or missing or has a
        wrong value, or if a type is not jaxalign's own: a network of the user's own is not imported from a file.
    """
    try:
        value = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"a configuration must be JSON, got an error: {error}") from None
    if not isinstance(value, dict) or value.get("type") != SweepConfig.__name__:
        checks.reject("a configuration", 'a JSON object with "type": "SweepConfig"', value)
    return _decode(value)


_TYPES = {
    kind.__name__: kind
    for kind in (
        SweepConfig,
        Training,
        LinearTeacher,
        PowerLaw,
        ImageTask,
        ArraysInfo,
        LinearNetwork,
        MLP,
        CNN,
        filters.MinNorm,
        filters.Ridge,
        filters.GradientFlow,
        filters.GradientDescent,
        filters.TunedRidge,
    )
}


def _stored_fields(of: Any) -> list[dataclasses.Field]:
    """The fields of a dataclass, or of an instance, that say what is computed."""
    return [field for field in dataclasses.fields(of) if field.compare and field.metadata.get("stored", True)]


def _encode(value: Any) -> Any:
    if isinstance(value, FlaxNetwork):
        return {"type": _qualified(value.module), **{name: _encode(option) for name, option in value.options}}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        name = kind.__name__ if _TYPES.get(kind.__name__) is kind else _qualified(kind)
        fields = {field.name: _encode(getattr(value, field.name)) for field in _stored_fields(value)}
        return {"type": name, **fields}
    if isinstance(value, (tuple, list)):
        return [_encode(item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    # Not the repr of a function, which has its address.
    return _qualified(value) if hasattr(value, "__qualname__") else repr(value)


def _qualified(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"


def _indented(value: Any, margin: str = "") -> str:
    """JSON with one key per line; lists without objects stay on one."""
    inner = margin + "  "
    if isinstance(value, dict):
        lines = [f"{inner}{json.dumps(name)}: {_indented(item, inner)}" for name, item in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{margin}}}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(inner + _indented(item, inner) for item in value) + f"\n{margin}]"
    return json.dumps(value)


def _decode(value: Any, where: str = "") -> Any:
    """What an object of JSON stands for; `where` leads to it, such as "networks[0].solver"."""
    if isinstance(value, list):
        return tuple(_decode(item, f"{where}[{i}]") for i, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    prefix = f"{where}." if where else ""
    kind = value.get("type")
    if isinstance(kind, str) and "." in kind:
        own = "one of jaxalign's own where a configuration is read from a file, which imports no code of yours"
        checks.reject(f"{prefix}type", own, kind)
    cls = _TYPES[checks.choice(f"{prefix}type", kind, _TYPES)]
    fields = {field.name: field for field in _stored_fields(cls)}
    given = {name: item for name, item in value.items() if name != "type"}
    for name in given:
        checks.choice(f"a key of {where or 'a configuration'}", name, fields)
    no_default = dataclasses.MISSING
    for name, field in fields.items():
        if name not in given and field.default is no_default and field.default_factory is no_default:
            raise ValueError(f"{prefix}{name} must be given, as {cls.__name__} has no default for it")
    arguments = {name: _decode(item, prefix + name) for name, item in given.items()}
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error
