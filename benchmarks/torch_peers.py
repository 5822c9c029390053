"""PyTorch twins of `MLP` and `CNN`: members one after another, all at once by torch.func, and by products of our own.

They start from given weights and train on given rows, so that final losses can be held against those of jaxalign.
"""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from flax import nnx
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from jaxalign import Training
from jaxalign.networks import CNN, MLP


@dataclasses.dataclass(frozen=True)
class Problem:
    """What all members learn; only their targets differ.

    Attributes:
      network: an `MLP` with ReLU, or a `CNN` whose last stage leaves one pixel.
      module: the flax module that holds the initial weights of every member.
      training: the optimizer, its learning rate, and the number of steps.
      inputs: float32 (rows, height, width, channels), standardized, or (rows, features).
      targets: int (members, rows), classes for the cross-entropy, or float32 (members, rows, outputs) for the mean
        squared error.
      batches: int (steps, batch), the rows of each minibatch; None for all rows at every step.
    """

    network: MLP | CNN
    module: nnx.Module
    training: Training
    inputs: np.ndarray
    targets: np.ndarray
    batches: np.ndarray | None

    def images(self, channels_last: bool) -> torch.Tensor:
        """The inputs as a torch network takes them: (rows, features), or (rows, channels, height, width).

        With channels last they are laid out as (rows, height, width, channels), and minibatches are taken from that.
        """
        x = torch.from_numpy(self.inputs.copy())
        if isinstance(self.network, MLP):
            return x.flatten(1)
        return x if channels_last else x.permute(0, 3, 1, 2).contiguous()

    def labels(self) -> torch.Tensor:
        classes = self.targets.dtype.kind in "iu"
        return torch.from_numpy(self.targets.astype(np.int64 if classes else np.float32))

    def steps(self) -> Iterator[Any]:
        """What selects the rows of each step."""
        if self.batches is None:
            return itertools.repeat(slice(None), self.training.steps)
        return iter(torch.from_numpy(self.batches.astype(np.int64)))


def _loss(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    mean_squared = targets.is_floating_point()
    return functional.mse_loss(output, targets) if mean_squared else functional.cross_entropy(output, targets)


def build(problem: Problem, running_statistics: bool = True) -> nn.Module:
    """The torch network with the initial weights of `problem.module`."""
    layers: list[nn.Module] = []
    module = problem.module
    if isinstance(problem.network, MLP):
        for i, layer in enumerate(module.layers):
            layers += [nn.ReLU()] * (i > 0) + [_linear(layer)]
        return nn.Sequential(*layers)
    for stage in module.stages:
        kernel = _tensor(stage.kernel[...]).permute(3, 2, 0, 1)
        convolution = nn.Conv2d(kernel.shape[1], kernel.shape[0], 3, padding=1)
        _put(convolution.weight, kernel)
        _put(convolution.bias, _tensor(stage.bias[...]))
        layers.append(convolution)
        if problem.network.batch_norm:
            layers.append(nn.BatchNorm2d(kernel.shape[0], track_running_stats=running_statistics))
        layers += [nn.ReLU(), nn.MaxPool2d(stage.window)]
    return nn.Sequential(*layers, nn.Flatten(), _linear(module.classifier))


def _linear(dense) -> nn.Linear:
    kernel, bias = _tensor(dense.kernel[...]), _tensor(dense.bias[...])
    linear = nn.Linear(kernel.shape[1], kernel.shape[0])
    _put(linear.weight, kernel)
    _put(linear.bias, bias.flatten())
    return linear


def _tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _put(parameter: torch.Tensor, value: torch.Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(value)


def _optimizer(training: Training, parameters, fused: bool = False) -> torch.optim.Optimizer:
    if training.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=training.learning_rate, fused=fused or None)
    assert training.optimizer == "sgd" and not training.momentum
    return torch.optim.SGD(parameters, lr=training.learning_rate)


class Loop:
    """Members one after another, with autograd and a torch optimizer."""

    def __init__(self, problem: Problem, channels_last: bool = False):
        self.problem, self.channels_last = problem, channels_last
        self.x = problem.images(channels_last)
        self.targets = problem.labels()
        self.trained: list[nn.Module] = []

    def __call__(self) -> None:
        self.trained = [self._train(y) for y in self.targets]

    def _train(self, y: torch.Tensor) -> nn.Module:
        model = build(self.problem)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = _optimizer(self.problem.training, model.parameters())
        for rows in self.problem.steps():
            optimizer.zero_grad(set_to_none=True)
            _loss(model(self._inputs(rows)), y[rows]).backward()
            optimizer.step()
        return model

    def _inputs(self, rows: torch.Tensor) -> torch.Tensor:
        return self.x[rows].permute(0, 3, 1, 2) if self.channels_last else self.x[rows]

    def losses(self) -> np.ndarray:
        """The loss of each trained member on all training rows, in evaluation mode."""
        everything = torch.arange(len(self.x))
        with torch.no_grad():
            pairs = zip(self.trained, self.targets, strict=True)
            return np.array([float(_loss(m.eval()(self._inputs(everything)), y)) for m, y in pairs])


class Together:
    """All members at once: vmap of the gradient over stacked weights (torch.func).

    Batch normalization is without running statistics: torch.func refuses their in-place update. The work of a step
    is the same but for that, but there is no evaluation mode, hence no loss to compare.
    """

    def __init__(self, problem: Problem, fused: bool = False):
        self.problem, self.fused = problem, fused
        self.x = problem.images(channels_last=False)
        self.targets = problem.labels()
        self.parameters: dict[str, torch.Tensor] = {}

    def __call__(self) -> None:
        models = [build(self.problem, running_statistics=False) for _ in self.targets]
        parameters, buffers = stack_module_state(models)
        optimizer = _optimizer(self.problem.training, parameters.values(), self.fused)
        skeleton = models[0]

        def loss(parameters, buffers, x, y):
            return _loss(functional_call(skeleton, (parameters, buffers), (x,)), y)

        gradient = vmap(grad(loss), in_dims=(0, 0, None, 0))
        for rows in self.problem.steps():
            detached = {name: value.detach() for name, value in parameters.items()}
            gradients = gradient(detached, buffers, self.x[rows], self.targets[:, rows])
            for name, value in parameters.items():
                value.grad = gradients[name]
            optimizer.step()
        self.parameters = {name: value.detach() for name, value in parameters.items()}

    def losses(self) -> np.ndarray | None:
        """As those of `Loop`; None with batch normalization."""
        if isinstance(self.problem.network, CNN) and self.problem.network.batch_norm:
            return None
        model = build(self.problem, running_statistics=False)
        losses = []
        for i, y in enumerate(self.targets):
            own = {name: value[i] for name, value in self.parameters.items()}
            with torch.no_grad():
                losses.append(float(_loss(functional_call(model, own, (self.x,)), y)))
        return np.array(losses)


class Products:
    """All members of a perceptron with one hidden layer, forward and backward passes written by hand.

    The layout is that of jaxalign: the first layers of all members are one product, the others batched ones (bmm), the
    rows lie in the minor axis, gradients are written where the fused optimizer reads them, and nothing is recorded.
    """

    def __init__(self, problem: Problem):
        assert isinstance(problem.network, MLP) and isinstance(problem.network.hidden, int)
        self.problem = problem
        self.x = problem.images(channels_last=False)
        self.targets = problem.labels()
        self.parameters: list[torch.Tensor] = []

    @torch.no_grad()
    def __call__(self) -> None:
        members = len(self.targets)
        self.parameters = [
            _tensor(value[...]).repeat(members, 1, 1).contiguous()
            for layer in self.problem.module.layers
            for value in (layer.kernel, layer.bias)
        ]
        for value in self.parameters:
            value.grad = torch.zeros_like(value)
        optimizer = _optimizer(self.problem.training, self.parameters, fused=True)
        first, bias, second, offset = self.parameters
        for rows in self.problem.steps():
            x = self.x[rows]
            hidden, output = self._forward(x)
            gradient = self._loss_gradient(output, self.targets[:, rows])
            torch.bmm(gradient, hidden.transpose(1, 2), out=second.grad)
            torch.sum(gradient, 2, keepdim=True, out=offset.grad)
            active = torch.bmm(second.transpose(1, 2), gradient)
            active = torch.ops.aten.threshold_backward(active, hidden, 0)
            torch.mm(active.flatten(0, 1), x, out=first.grad.flatten(0, 1))
            torch.sum(active, 2, keepdim=True, out=bias.grad)
            optimizer.step()

    def _forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hidden units (members, hidden, rows) and outputs (members, outputs, rows)."""
        first, bias, second, offset = self.parameters
        hidden = torch.addmm(bias.flatten(0, 1), first.flatten(0, 1), x.T).relu_().view(*first.shape[:2], -1)
        return hidden, torch.baddbmm(offset, second, hidden)

    def _loss_gradient(self, output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if targets.is_floating_point():
            return (output - targets.transpose(1, 2)).mul_(2.0 / output[0].numel())
        gradient = torch.softmax(output, 1)
        gradient.scatter_add_(1, targets[:, None], torch.full_like(gradient[:, :1], -1.0))
        return gradient.div_(output.shape[2])

    @torch.no_grad()
    def losses(self) -> np.ndarray:
        _, output = self._forward(self.x)
        return np.array([float(_loss(o.T, y)) for o, y in zip(output, self.targets, strict=True)])
