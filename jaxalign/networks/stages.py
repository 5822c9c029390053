"""A stage of a convolutional network: convolution, batch normalization, ReLU, max-pooling.

Two forms with the same values and gradients: one made of its parts, on images (rows, height, width, channels), and one
on blocks of lanes that is fused by hand, so that only what the backward pass needs is written to memory.
"""

import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxalign.networks.convolution import (
    Block,
    Blocks,
    Images,
    Kernel,
    convolve,
    convolve_block,
    convolve_block_backward,
)

EPSILON = 1e-5  # added to the variance of a batch
Channels = Float[Array, " outputs"]


class Statistics(NamedTuple):
    """The mean and the (biased) variance of each channel over a batch."""

    mean: Channels
    variance: Channels


def stage_on_images(images: Images, kernel: Kernel, bias: Channels, window: int, lowering: str) -> Images:
    """max_pool(relu(convolve(images) + bias))."""
    # Pooling first, the cheaper order: adding a constant and ReLU are monotone.
    pooled: Array = max_pool(convolve(images, kernel, lowering), window)
    return jax.nn.relu(pooled + bias[None, None, None, :])


def normalized_stage_on_images(
    images: Images, kernel: Kernel, scale: Channels, offset: Channels, window: int, lowering: str
) -> tuple[Images, Statistics]:
    """max_pool(relu(scale * standardized + offset)); each channel of the convolution is standardized over the batch."""
    z = convolve(images, kernel, lowering)
    mean = z.mean((0, 1, 2))
    variance = jnp.square(z - mean[None, None, None, :]).mean((0, 1, 2))
    factor = lax.rsqrt(variance + EPSILON) * scale
    standardized = (z - mean[None, None, None, :]) * factor[None, None, None, :] + offset[None, None, None, :]
    return max_pool(jax.nn.relu(standardized), window), Statistics(mean, variance)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(images: Array, window: int) -> Array:
    """The maximum over windows of axes 1 and 2 that do not overlap; a rest that fills no window is left out.

    The gradient goes to the first maximum of a window, as that of `jax.lax.reduce_window` does.
    """
    return _pool(images, window)[0]


def _max_pool_forward(images: Array, window: int) -> tuple[Array, tuple[Int[Array, "..."], tuple[int, ...]]]:
    pooled, first = _pool(images, window)
    return pooled, (first, images.shape)


def _max_pool_backward(window: int, saved: tuple[Int[Array, "..."], tuple[int, ...]], gradient: Array) -> tuple[Array]:
    first, shape = saved
    return (_unpool(gradient, first, window, shape[1:3]),)


max_pool.defvjp(_max_pool_forward, _max_pool_backward)


def _pool(images: Array, window: int) -> tuple[Array, Int[Array, "..."]]:
    """The maxima of the windows and the position of the first one, counted along rows of the window."""
    rows, columns = (length // window * window for length in images.shape[1:3])
    offsets = itertools.product(range(window), repeat=2)
    parts = [images[:, i:rows:window, j:columns:window] for i, j in offsets]
    largest = functools.reduce(jnp.maximum, parts)
    # 32-bit positions: selects between types of different width are not vectorized.
    first = jnp.full(largest.shape, len(parts) - 1, jnp.int32)
    for position in reversed(range(len(parts) - 1)):
        first = jnp.where(parts[position] == largest, position, first)
    return largest, first


def _unpool(gradient: Array, first: Int[Array, "..."], window: int, size: tuple[int, ...]) -> Array:
    """Puts the gradient of each window at its first maximum."""
    position = jnp.arange(window**2, dtype=jnp.int32).reshape(1, 1, window, 1, window, 1)
    spread = jnp.where(first[:, :, None, :, None] == position, gradient[:, :, None, :, None], 0.0)
    height, width = gradient.shape[1] * window, gradient.shape[2] * window
    full = spread.reshape(gradient.shape[0], height, width, gradient.shape[3])
    return jnp.pad(full, ((0, 0), (0, size[0] - height), (0, size[1] - width), (0, 0)))


def _per_channel(values: Channels) -> Float[Array, "outputs 1 1 1"]:
    return values[:, None, None, None]


def _add_gradients(
    kernel: Kernel, total: Float[Array, "patch out"], block: Block, gradient: Block
) -> tuple[Float[Array, "patch out"], Block]:
    to_block, to_kernel = convolve_block_backward(kernel, block, gradient)
    return total + to_kernel, to_block


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def stage_in_lanes(blocks: Blocks, kernel: Kernel, bias: Channels, window: int) -> Blocks:
    """`stage_on_images` on blocks of lanes."""
    return _stage_forward(blocks, kernel, bias, window)[0]


def _stage_forward(blocks: Blocks, kernel: Kernel, bias: Channels, window: int) -> tuple[Blocks, tuple]:
    def one(block: Block) -> tuple[Block, Int[Array, "..."]]:
        largest, first = _pool(convolve_block(kernel, block), window)
        return jax.nn.relu(largest + _per_channel(bias)), first

    active, first = lax.map(one, blocks)
    return active, (blocks, kernel, active, first)


def _stage_backward(window: int, saved: tuple, gradient: Blocks) -> tuple[Blocks, Kernel, Channels]:
    blocks, kernel, active, first = saved
    gradient = jnp.where(active > 0, gradient, 0.0)

    def one(total: Array, parts: tuple) -> tuple[Array, Block]:
        block, pooled, position = parts
        return _add_gradients(kernel, total, block, _unpool(pooled, position, window, block.shape[1:3]))

    total, to_blocks = lax.scan(one, jnp.zeros_like(kernel.reshape(-1, kernel.shape[-1])), (blocks, gradient, first))
    return to_blocks, total.reshape(kernel.shape), gradient.sum((0, 2, 3, 4))


stage_in_lanes.defvjp(_stage_forward, _stage_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4,))
def normalized_stage_in_lanes(
    blocks: Blocks, kernel: Kernel, scale: Channels, offset: Channels, window: int
) -> tuple[Blocks, Statistics]:
    """`normalized_stage_on_images` on blocks of lanes; the statistics are taken as constants."""
    return _normalized_forward(blocks, kernel, scale, offset, window)[0]


def _normalized_forward(
    blocks: Blocks, kernel: Kernel, scale: Channels, offset: Channels, window: int
) -> tuple[tuple[Blocks, Statistics], tuple]:
    z = lax.map(lambda block: convolve_block(kernel, block), blocks)
    mean = z.mean((0, 2, 3, 4))
    variance = jnp.square(z - _per_channel(mean)[None]).mean((0, 2, 3, 4))
    inverse_std = lax.rsqrt(variance + EPSILON)
    # The maximum of scale * standardized + offset is where standardized is largest, or smallest for a negative scale.
    sign = jnp.where(scale < 0, -1.0, 1.0)
    factor = inverse_std * sign

    def one(z: Block) -> tuple[Block, Int[Array, "..."]]:
        return _pool((z - _per_channel(mean)) * _per_channel(factor), window)

    largest, first = lax.map(one, z)
    standardized = largest * _per_channel(sign)[None]
    active = jax.nn.relu(standardized * _per_channel(scale)[None] + _per_channel(offset)[None])
    saved = (blocks, kernel, scale, z, mean, inverse_std, active, standardized, first)
    return (active, Statistics(mean, variance)), saved


def _normalized_backward(
    window: int, saved: tuple, gradients: tuple[Blocks, Statistics]
) -> tuple[Blocks, Kernel, Channels, Channels]:
    """The gradient of batch normalization (Ioffe & Szegedy 2015), whose sums run over the maxima only."""
    blocks, kernel, scale, z, mean, inverse_std, active, standardized, first = saved
    gradient = jnp.where(active > 0, gradients[0], 0.0)
    to_offset = gradient.sum((0, 2, 3, 4))
    to_scale = (gradient * standardized).sum((0, 2, 3, 4))
    count = z.size // len(scale)

    def one(total: Array, parts: tuple) -> tuple[Array, Block]:
        block, z, pooled, position = parts
        spread = _unpool(pooled, position, window, z.shape[1:3])
        projected = (z - _per_channel(mean)) * _per_channel(inverse_std * to_scale / count)
        to_z = _per_channel(scale * inverse_std) * (spread - _per_channel(to_offset / count) - projected)
        return _add_gradients(kernel, total, block, to_z)

    total, to_blocks = lax.scan(one, jnp.zeros_like(kernel.reshape(-1, kernel.shape[-1])), (blocks, z, gradient, first))
    return to_blocks, total.reshape(kernel.shape), to_scale, to_offset


normalized_stage_in_lanes.defvjp(_normalized_forward, _normalized_backward)
