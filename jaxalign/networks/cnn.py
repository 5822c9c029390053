"""The 5-layer convolutional network."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxalign import checks
from jaxalign.networks.convolution import check_lowering, for_rows, from_lanes, to_lanes
from jaxalign.networks.dense import Dense, Output
from jaxalign.networks.stages import (
    EPSILON,
    Statistics,
    normalized_stage_in_lanes,
    normalized_stage_on_images,
    stage_in_lanes,
    stage_on_images,
)

_KERNEL_SIZE = 3
_WIDTHS = (1, 2, 4, 8)
_WINDOWS = (2, 2, 2, 4)
_STATISTICS_WEIGHT = 0.1


class Stage(nnx.Module):
    """Convolution, batch normalization, ReLU, max-pooling, on images or on blocks of lanes.

    In training batch normalization uses the mean and the biased variance of the minibatch, and moves its running
    statistics towards the mean and the unbiased variance of the minibatch by 1/10 of the way, as PyTorch does by
    default; in evaluation it uses the running statistics.
    """

    def __init__(self, channels: int, outputs: int, window: int, *, batch_norm: bool, rngs: nnx.Rngs):
        initialize = jax.nn.initializers.he_normal(in_axis=(0, 1, 2), out_axis=3)
        shape = (_KERNEL_SIZE, _KERNEL_SIZE, channels, outputs)
        self.kernel = nnx.Param(initialize(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32))
        self.window = window
        self.batch_norm = batch_norm
        self.use_running_average = False
        if batch_norm:
            self.scale = nnx.Param(jnp.ones(outputs, jnp.float32))
            self.offset = nnx.Param(jnp.zeros(outputs, jnp.float32))
            self.mean = nnx.BatchStat(jnp.zeros(outputs, jnp.float32))
            self.variance = nnx.BatchStat(jnp.ones(outputs, jnp.float32))

    def __call__(self, x: Array, lowering: str) -> Array:
        """Takes and returns images (rows, height, width, channels), or blocks if the lowering is "lanes"."""
        kernel, bias = self.kernel[...], self.bias[...]
        in_lanes = lowering == "lanes"
        if not self.batch_norm or self.use_running_average:
            if self.batch_norm:
                factor = self.scale[...] * jax.lax.rsqrt(self.variance[...] + EPSILON)
                kernel = kernel * factor[None, None, None, :]
                bias = (bias - self.mean[...]) * factor + self.offset[...]
            if in_lanes:
                return stage_in_lanes(x, kernel, bias, self.window)
            return stage_on_images(x, kernel, bias, self.window, lowering)
        scale, offset = self.scale[...], self.offset[...]
        # The bias drops out of what is standardized, and moves only the running mean.
        normalized: tuple[Array, Statistics]
        if in_lanes:
            normalized = normalized_stage_in_lanes(x, kernel, scale, offset, self.window)
        else:
            normalized = normalized_stage_on_images(x, kernel, scale, offset, self.window, lowering)
        active, (mean, variance) = normalized
        count = x.size // kernel.shape[2]
        unbiased = variance * (count / max(count - 1, 1))
        for running, batch in ((self.mean, mean + bias), (self.variance, unbiased)):
            running[...] += _STATISTICS_WEIGHT * (batch - running[...])
        return active


class ConvolutionalNetwork(nnx.Module):
    """Four stages and a dense classifier; returns the output and the representations."""

    def __init__(
        self,
        input_shape: tuple[int, ...],
        width: int,
        n_outputs: int,
        lowering: str,
        *,
        batch_norm: bool,
        rngs: nnx.Rngs,
    ):
        height, image_width, channels = input_shape
        stages = []
        for multiple, largest in zip(_WIDTHS, _WINDOWS, strict=True):
            window = min(largest, height, image_width)
            stages.append(Stage(channels, multiple * width, window, batch_norm=batch_norm, rngs=rngs))
            height, image_width, channels = height // window, image_width // window, multiple * width
        self.stages = nnx.List(stages)
        self.classifier = Dense(height * image_width * channels, n_outputs, use_bias=True, rngs=rngs)
        self.lowering = lowering

    def __call__(self, inputs: Float[Array, "rows height width channels"]) -> tuple[Output, dict[str, Array]]:
        lowering = for_rows(self.lowering, len(inputs))
        in_lanes = lowering == "lanes"
        x = to_lanes(inputs) if in_lanes else inputs
        representations = {}
        for i, stage in enumerate(self.stages, 1):
            x = stage(x, lowering)
            representations[f"stage_{i}"] = from_lanes(x) if in_lanes else x
        penultimate = representations[f"stage_{len(self.stages)}"].reshape(len(inputs), -1)
        return self.classifier(penultimate.T).T, {**representations, "penultimate": penultimate}


@dataclasses.dataclass(frozen=True)
class CNN:
    """The 5-layer convolutional network of Gu et al. 2024, after Nakkiran et al. 2020.

    Four stages of convolution 3x3 (stride 1, padding 1), batch normalization, ReLU and max-pooling, of k, 2k, 4k and 8k
    channels and windows of 2, 2, 2 and 4 pixels, and a dense classifier: 378 k^2 + 152 k + 10 parameters for 32x32x3
    images and 10 classes. Layers "stage_1" to "stage_4" (rows, height, width, channels) are taken after pooling;
    "penultimate" is the last of them, flattened: 8k units for 32x32 images. Smaller images are pooled by windows of
    what is left of them.

    Convolutions start from He normal draws (variance 2 / fan-in), the classifier from LeCun normal draws, biases and
    offsets at 0, scales at 1. Without batch normalization there are no scales and offsets (378 k^2 + 122 k + 10).

    Attributes:
      width: the number k of channels of the first stage.
      batch_norm: whether stages normalize their batches; running statistics belong to the member, and evaluation uses
        them.
      lowering: how convolutions are computed, one of `jaxalign.networks.convolution.LOWERINGS`, for experiments; None
        chooses by backend. It is no part of what is learned.

    Raises:
      ValueError: if `width` is not a positive integer, `batch_norm` is no bool, or there is no such lowering.

    Reference:
      Gu et al. 2024, Unraveling the Enigma of Double Descent, ICLR; Nakkiran et al. 2020, Deep Double Descent, ICLR.

    Example:
      >>> from jaxalign.networks import CNN, layer_units, n_parameters
      >>> n_parameters(CNN(width=4), (32, 32, 3), 10)
      6666
      >>> layer_units(CNN(width=4), (32, 32, 3), 10)["penultimate"]
      32
    """

    width: int
    batch_norm: bool = True
    # Another lowering is another program, so it enters equality, but not the stored configuration.
    lowering: str | None = dataclasses.field(default=None, repr=False, metadata={"stored": False})

    def __post_init__(self) -> None:
        checks.integer("width", self.width)
        checks.boolean("batch_norm", self.batch_norm)
        if self.lowering is not None:
            check_lowering(self.lowering)

    def build(self, rngs: nnx.Rngs, input_shape: tuple[int, ...], n_outputs: int) -> ConvolutionalNetwork:
        """Returns a freshly initialized module for images of `input_shape` and `n_outputs` outputs.

        Raises:
          ValueError: if inputs are no images (height, width, channels).
        """
        if len(input_shape) != 3:
            checks.reject("input_shape (of a CNN)", "(height, width, channels)", input_shape)
        lowering = check_lowering(self.lowering)
        return ConvolutionalNetwork(input_shape, self.width, n_outputs, lowering, batch_norm=self.batch_norm, rngs=rngs)

    def members_at_once(self, backend: str) -> int | None:
        """How many members are batched: on a CPU one, whose activations then stay in the cache."""
        return 1 if backend == "cpu" else None
