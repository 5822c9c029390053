"""The layout of an ensemble in a program: how many of its members are batched, chosen by a model of the cache."""

import dataclasses
import math
from typing import Any, Protocol, runtime_checkable

import jax

from jaxalign.ensemble.closed_form import is_solved
from jaxalign.networks import MLP, LinearNetwork, Network, layer_units, n_parameters
from jaxalign.tasks import Task

STACKED, VMAP, LOOP = "stacked", "vmap", "loop"

_CPU_NUMBERS = 2**19
_NOISY_INPUT_BYTES = 2**30
# Products by Eigen instead of the YNN library: on two cores sweeps are up to 1.4 times as fast. With
# that library a program with a long loop also keeps 2.4 kB per product until it ends, unless a thread is idle, and some
# programs never end (jax-ml/jax issue 39257).
_ON_CPU = {"xla_cpu_experimental_ynn_fusion_type": ""}
# Full AVX-512 vectors, which the compiler avoids by itself.
_STACKED_ON_CPU = {"xla_cpu_prefer_vector_width": 512}


@runtime_checkable
class _KnowsItsLayout(Protocol):
    """A network with the optional method that `choose_layout` asks."""

    def members_at_once(self, backend: str) -> int | None: ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the members of a group are computed; printed as in "stacked, all 15 members at once".

    Attributes:
      name: "stacked" batches perceptrons on rows that all members share: rows lie in the minor axis, and the first
        layers of all members are one matrix product; "vmap" batches any other network, or members with rows of their
        own; "loop" computes one member after another.
      members: the number of members of the group.
      members_at_once: how many of them are batched, and batches follow one another; None for all.
    """

    name: str
    members: int
    members_at_once: int | None = None

    def __str__(self) -> str:
        if self.name == LOOP:
            return f"{LOOP}, one member after another"
        if self.members_at_once is None:
            return f"{self.name}, all {self.members} members at once"
        return f"{self.name}, {self.members_at_once} of {self.members} members at once"


def choose_layout(
    network: Network,
    task: Task,
    rows: int,
    members: int,
    *,
    batch_size: int | None = None,
    shared_rows: bool = True,
    backend: str | None = None,
) -> Layout:
    """Chooses the layout of a group by a model.

    - A network with a method `members_at_once(backend) -> int | None` knows best; `backend` is "cpu", "gpu" or "tpu".
    - Otherwise all members are computed at once on an accelerator, and on a CPU as many as keep

          members at once * (parameters + rows of a step * units of the representations) <= 2^19 numbers,

      at least one. More of them make larger products, but leave the cache between one operation and the next. Where
      members have rows of their own, their inputs count as well.
    - Noise on inputs gives each member training inputs of its own, of which a batch of members holds at most 1 GiB, or
      those of one member; programs that run at the same time hold that much each.
    - Members that are solved instead of trained are all solved at once.

    The bound was measured on two cores of an AMD EPYC of family 26 (1 MiB of L2 cache each), for 32 perceptrons (adam,
    shared inputs and minibatches, products by Eigen), 16 in each of two threads; microseconds per step, the choice of
    the model starred:

        inputs, hidden, rows | numbers of a member |   all 16 |       8 |       4 |       2 |       1
        20, 20, 400          |               8,441 |    *109  |     105 |     111 |     127 |     147
        784, 16, 128         |              14,625 |    *599  |     611 |     761 |     966 |    1190
        784, 32, 1024        |              57,921 |    8070  |   *8336 |    8845 |   10652 |   13897
        784, 64, 128         |              58,497 |    2437  |   *2215 |    2286 |    2515 |    2971
        784, 64, 1024        |             115,841 |   16860  |   16384 |  *16649 |   17901 |   21019
        784, 128, 128        |             116,993 |    5262  |    4938 |   *4429 |    4635 |    5089
        784, 128 + 128, 128  |             149,889 |    7297  |    6598 |    6074 |   *6209 |    6547
        100, 500, 256        |             179,001 |    5694  |    5111 |    4784 |   *4717 |    4631
        784, 128, 1024       |             231,681 |   33597  |   35752 |   32890 |  *31700 |   35591
        20, 1000, 400        |             422,001 |   10754  |   11630 |    8043 |    5713 |   *5383
        784, 512, 128        |             467,969 |   20016  |   21449 |   20558 |   20980 |  *19191

    and, with inputs of its own for each member (products by the default library),

        784, 16, 128         |             114,977 |    3017  |         |   *1811 |         |    2469

    A network with rows in the major axis (`flax.nnx.Linear`) has its crossovers in the same places.

    Args:
      network: of the members.
      task: what they learn.
      rows: how many rows their training sets are padded to.
      members: how many members one program computes, at all noise levels together.
      batch_size: rows of a minibatch; None trains on all rows at every step.
      shared_rows: whether all members see the same inputs at every step, before noise is put on them.
      backend: None for the present one.
    """
    backend = backend or jax.default_backend()
    shared_rows = shared_rows and not task.noise_on_inputs
    if is_solved(network):
        return _layout(network, shared_rows, members, members)
    if isinstance(network, _KnowsItsLayout):
        known = network.members_at_once(backend)
        at_once = members if known is None else known
    elif backend == "cpu":
        numbers = _numbers(network, task, batch_size or rows, shared_rows)
        at_once = _equal_batches(members, _CPU_NUMBERS // numbers)
    else:
        at_once = members
    if task.noise_on_inputs:
        at_once = min(at_once, max(1, _NOISY_INPUT_BYTES // (4 * rows * math.prod(task.input_shape))))
    return _layout(network, shared_rows, members, at_once)


def compiler_options(network: Network, task: Task, *, shared_rows: bool, chunk: int | None) -> dict[str, Any]:
    """The options with which a program with this layout is compiled for the present backend."""
    if jax.default_backend() != "cpu":
        return {}
    stacked = chunk != 1 and not is_solved(network) and _stacked(network, shared_rows and not task.noise_on_inputs)
    return _ON_CPU | (_STACKED_ON_CPU if stacked else {})


def _stacked(network: Network, shared_rows: bool) -> bool:
    return shared_rows and isinstance(network, (MLP, LinearNetwork))


def _layout(network: Network, shared_rows: bool, members: int, at_once: int) -> Layout:
    batched = STACKED if _stacked(network, shared_rows) else VMAP
    if at_once >= members:
        return Layout(batched, members)
    return Layout(LOOP if at_once == 1 else batched, members, at_once)


def _numbers(network: Network, task: Task, rows: int, shared_rows: bool) -> int:
    """How many numbers a step of one member goes through: parameters, units of all rows, and inputs of its own."""
    if isinstance(network, (MLP, LinearNetwork)):
        hidden = (network.hidden,) if isinstance(network.hidden, int) else network.hidden
    else:
        hidden = layer_units(network, task.input_shape, task.n_outputs).values()
    inputs = 0 if shared_rows else math.prod(task.input_shape)
    return n_parameters(network, task.input_shape, task.n_outputs) + rows * (sum(hidden) + inputs)


def _equal_batches(members: int, most: int) -> int:
    """A number of members that fits and, if it is near, divides all: a remainder would be compiled as well."""
    if most >= members:
        return members
    near = (n for n in range(most, most // 2, -1) if members % n == 0)
    return next(near, max(most, 1))
