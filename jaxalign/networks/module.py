"""Flax module classes of the user's own, given as they are."""

import dataclasses
import inspect
from typing import Any

from flax import nnx

from jaxalign import checks
from jaxalign.networks.base import Network

_ALLOWED = "networks such as MLP(hidden=16), or classes of flax nnx modules"


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class FlaxNetwork:
    """A class of flax modules as a network; `networks=(MyNet,)` is short for `networks=(FlaxNetwork(MyNet),)`.

    Modules are made as `MyNet(input_shape, n_outputs, rngs=rngs, **options)` and called as `jaxalign.networks.Network`
    says. It is named after the class: "MyNet", or "MyNet(width=8)" with options.

    Attributes:
      module: the class, a subclass of `flax.nnx.Module`.
      options: the keyword options as (name, value) pairs, sorted by name.

    Raises:
      ValueError: if `module` is no such class, its constructor cannot be called so, or an option is not hashable.

    Example:
      >>> from flax import nnx
      >>> class MyNet(nnx.Module):
      ...     def __init__(self, input_shape, n_outputs, width=16, *, rngs):
      ...         self.embed = nnx.Linear(input_shape[0], width, rngs=rngs)
      ...         self.readout = nnx.Linear(width, n_outputs, rngs=rngs)
      ...
      ...     def __call__(self, x):
      ...         hidden = nnx.relu(self.embed(x))
      ...         return self.readout(hidden), {"hidden": hidden}
      >>> FlaxNetwork(MyNet), FlaxNetwork(MyNet, width=8)
      (MyNet, MyNet(width=8))
    """

    module: type[nnx.Module]
    options: tuple[tuple[str, Any], ...]

    def __init__(self, module: type[nnx.Module], /, **options: Any):
        if not _is_module_class(module):
            checks.reject("module", "a class of flax nnx modules", module)
        call = ", ".join(["input_shape", "n_outputs", "rngs=rngs", *(f"{name}=..." for name in sorted(options))])
        # Of a class itself it is that of a metaclass.
        signature = inspect.signature(module.__init__)
        try:
            signature.bind(None, (), 1, rngs=None, **options)
        except TypeError as error:
            raise ValueError(
                f"networks must be flax modules that are made as {module.__name__}({call}), "
                f"got __init__{signature}: {error}"
            ) from error
        for name, value in options.items():
            try:
                hash(value)
            except TypeError:
                checks.reject(f"{name} (of {module.__name__})", "hashable, such as a tuple instead of a list", value)
        object.__setattr__(self, "module", module)
        object.__setattr__(self, "options", tuple(sorted(options.items())))

    def __repr__(self) -> str:
        # The address in the repr of a function would be another in every process.
        options = [
            f"{name}={value.__name__ if hasattr(value, '__name__') else repr(value)}" for name, value in self.options
        ]
        return f"{self.module.__name__}({', '.join(options)})" if options else self.module.__name__

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> nnx.Module:
        """Returns a freshly initialized module for inputs of `input_shape` and `n_outputs` outputs."""
        make: Any = self.module
        return make(input_shape, n_outputs, rngs=rngs, **dict(self.options))


def as_networks(values: Any) -> tuple[Network, ...]:
    """The `networks` of a configuration, with classes of flax modules put into a `FlaxNetwork`.

    Raises:
      ValueError: if they are no sequence, or one of them is no network, no value (frozen dataclass) or has the name of
        another.
    """
    if isinstance(values, (type, Network)):
        checks.reject("networks", "a tuple of networks, such as (MLP(hidden=16),)", values)
    items = checks.sequence("networks", values, _ALLOWED)
    networks = tuple(FlaxNetwork(item) if _is_module_class(item) else item for item in items)
    for network in networks:
        if isinstance(network, nnx.Module):
            name = type(network).__name__
            checks.reject("networks", f"classes such as {name}, not modules that are made", f"{name}(...)")
        if isinstance(network, type) or not isinstance(network, Network):
            checks.reject("networks", f"a non-empty sequence of {_ALLOWED}", items)
        if not dataclasses.is_dataclass(network) or network.__hash__ is None:
            checks.reject("networks", "frozen dataclasses with a build method, or classes of flax nnx modules", network)
    names = [str(network) for network in networks]
    if len({*names}) < len(names):
        checks.reject("networks", "told apart by their names", names)
    return networks


def _is_module_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, nnx.Module)
