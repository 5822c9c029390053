"""PyTorch twins of `MLP` and `CNN`: members trained one after another, and all at once by torch.func.

They start from given weights and train on given rows, so that final losses can be held against those of jaxalign.
"""

import dataclasses

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
      inputs: float32 (rows, height, width, channels), standardized.
      targets: int (members, rows).
      batches: int (steps, batch), the rows of each minibatch.
    """

    network: MLP | CNN
    module: nnx.Module
    training: Training
    inputs: np.ndarray
    targets: np.ndarray
    batches: np.ndarray

    def images(self, channels_last: bool) -> torch.Tensor:
        """The inputs as a torch network takes them: (rows, features), or (rows, channels, height, width).

        With channels last they are laid out as (rows, height, width, channels), and minibatches are taken from that.
        """
        x = torch.from_numpy(self.inputs.copy())
        if isinstance(self.network, MLP):
            return x.flatten(1)
        return x if channels_last else x.permute(0, 3, 1, 2).contiguous()


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


def _optimizer(training: Training, parameters) -> torch.optim.Optimizer:
    if training.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=training.learning_rate)
    assert training.optimizer == "sgd" and not training.momentum
    return torch.optim.SGD(parameters, lr=training.learning_rate)


class Loop:
    """Members one after another, with autograd and a torch optimizer."""

    def __init__(self, problem: Problem, channels_last: bool = False):
        self.problem, self.channels_last = problem, channels_last
        self.x = problem.images(channels_last)
        self.targets = torch.from_numpy(problem.targets.astype(np.int64))
        self.batches = torch.from_numpy(problem.batches.astype(np.int64))
        self.trained: list[nn.Module] = []

    def __call__(self) -> None:
        self.trained = [self._train(y) for y in self.targets]

    def _train(self, y: torch.Tensor) -> nn.Module:
        model = build(self.problem)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
        optimizer = _optimizer(self.problem.training, model.parameters())
        for rows in self.batches:
            optimizer.zero_grad(set_to_none=True)
            functional.cross_entropy(model(self._inputs(rows)), y[rows]).backward()
            optimizer.step()
        return model

    def _inputs(self, rows: torch.Tensor) -> torch.Tensor:
        return self.x[rows].permute(0, 3, 1, 2) if self.channels_last else self.x[rows]

    def losses(self) -> np.ndarray:
        """The loss of each trained member on all training rows, in evaluation mode."""
        everything = torch.arange(len(self.x))
        with torch.no_grad():
            pairs = zip(self.trained, self.targets, strict=True)
            return np.array([float(functional.cross_entropy(m.eval()(self._inputs(everything)), y)) for m, y in pairs])


class Together:
    """All members at once: vmap of the gradient over stacked weights (torch.func).

    Batch normalization is without running statistics: torch.func refuses their in-place update. The work of a step
    is the same but for that, but there is no evaluation mode, hence no loss to compare.
    """

    def __init__(self, problem: Problem):
        self.problem = problem
        self.x = problem.images(channels_last=False)
        self.targets = torch.from_numpy(problem.targets.astype(np.int64))
        self.batches = torch.from_numpy(problem.batches.astype(np.int64))
        self.parameters: dict[str, torch.Tensor] = {}

    def __call__(self) -> None:
        models = [build(self.problem, running_statistics=False) for _ in self.targets]
        parameters, buffers = stack_module_state(models)
        optimizer = _optimizer(self.problem.training, parameters.values())
        skeleton = models[0]

        def loss(parameters, buffers, x, y):
            return functional.cross_entropy(functional_call(skeleton, (parameters, buffers), (x,)), y)

        gradient = vmap(grad(loss), in_dims=(0, 0, None, 0))
        for rows in self.batches:
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
                losses.append(float(functional.cross_entropy(functional_call(model, own, (self.x,)), y)))
        return np.array(losses)
