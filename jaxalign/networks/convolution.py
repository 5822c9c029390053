"""Convolutions of stride 1 that keep the size of an image, lowered so that they stay fast for every member.

Under vmap over per-member kernels a native convolution becomes a grouped one, which runs at a small fraction of the
machine's speed on CPUs and is a known slow path on GPUs. The lowerings here are matrix products (`patches`, `lanes`),
or native convolutions whose gradients are ordinary convolutions too (`canonical`).
"""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxalign import checks

Images = Float[Array, "rows height width channels"]
Kernel = Float[Array, "size size channels outputs"]
# A batch cut into blocks whose samples lie in the minor dimension: a block's patches stay in the cache of a core.
Blocks = Float[Array, "blocks channels height width lanes"]
Block = Float[Array, "channels height width lanes"]

LANES = 16


def convolve(images: Images, kernel: Kernel, lowering: str | None = None) -> Images:
    """Cross-correlates images with a kernel of odd size, stride 1, zeros beyond the border.

        z[r, y, x, o] = sum_{i, j, c} images[r, y + i - s, x + j - s, c] kernel[i, j, c, o],    s = (size - 1) / 2

    Equal in value and gradient to `jax.lax.conv_general_dilated` with padding "SAME", whatever the lowering.

    Args:
      images: float32 (rows, height, width, channels).
      kernel: float32 (size, size, channels, outputs).
      lowering: one of `LOWERINGS`; None chooses by `default_lowering`. "lanes" needs rows in multiples of 16, and
        other numbers of rows are lowered as "patches".

    Returns:
      (rows, height, width, outputs).

    Raises:
      ValueError: if the lowering is unknown, or a shape is none of the above.
    """
    name = check_lowering(lowering)
    if images.ndim != 4:
        checks.reject("images", "of shape (rows, height, width, channels)", images.shape)
    size, channels = kernel.shape[:1], images.shape[-1]
    if kernel.ndim != 4 or kernel.shape[:3] != (*size, *size, channels) or size[0] % 2 == 0:
        checks.reject("kernel", f"of shape (size, size, {channels}, outputs) with an odd size", kernel.shape)
    return LOWERINGS[for_rows(name, len(images))](images, kernel)


def default_lowering(backend: str | None = None) -> str:
    """The lowering for a backend: "lanes" on CPUs, where it was fastest at every width; matrix products elsewhere."""
    return "lanes" if (backend or jax.default_backend()) == "cpu" else "patches"


def check_lowering(lowering: str | None) -> str:
    """Returns the name of a lowering, the default one for None.

    Raises:
      ValueError: if there is no such lowering.
    """
    return default_lowering() if lowering is None else checks.choice("lowering", lowering, LOWERINGS)


def for_rows(lowering: str, rows: int) -> str:
    """The lowering that a batch of so many rows takes: blocks of lanes have to be full."""
    return "patches" if lowering == "lanes" and rows % LANES else lowering


def _native(images: Images, kernel: Kernel) -> Images:
    return lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def _canonical(images: Images, kernel: Kernel) -> Images:
    return _native(images, kernel)


def _canonical_forward(images: Images, kernel: Kernel) -> tuple[Images, tuple[Images, Kernel]]:
    return _native(images, kernel), (images, kernel)


def _canonical_backward(saved: tuple[Images, Kernel], gradient: Images) -> tuple[Images, Kernel]:
    """Both gradients as forward convolutions: XLA's transposed forms are slow inside a loop on CPUs."""
    images, kernel = saved
    half = len(kernel) // 2
    to_kernel = lax.conv_general_dilated(
        images.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        (1, 1),
        [(half, half)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return _native(gradient, _flipped(kernel)), to_kernel.transpose(1, 2, 0, 3)


_canonical.defvjp(_canonical_forward, _canonical_backward)


def _flipped(kernel: Kernel) -> Kernel:
    """The kernel of the convolution that takes the gradient of the outputs to that of the images."""
    return kernel[::-1, ::-1].swapaxes(2, 3)


@jax.custom_vjp
def _patches(images: Images, kernel: Kernel) -> Images:
    return _patches_forward(images, kernel)[0]


def _patches_forward(images: Images, kernel: Kernel) -> tuple[Images, tuple[Array, Kernel]]:
    size, (rows, height, width, _) = len(kernel), images.shape
    half = size // 2
    padded = jnp.pad(images, ((0, 0), (half, half), (half, half), (0, 0)))
    shifts = itertools.product(range(size), repeat=2)
    patches = jnp.concatenate([padded[:, i : i + height, j : j + width] for i, j in shifts], axis=-1)
    product = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(-1, kernel.shape[-1])
    return product.reshape(rows, height, width, -1), (patches, kernel)


def _patches_backward(saved: tuple[Array, Kernel], gradient: Images) -> tuple[Images, Kernel]:
    patches, kernel = saved
    flat = gradient.reshape(-1, gradient.shape[-1])
    to_kernel = patches.reshape(len(flat), -1).T @ flat
    return _patches_forward(gradient, _flipped(kernel))[0], to_kernel.reshape(kernel.shape)


_patches.defvjp(_patches_forward, _patches_backward)


def to_lanes(images: Images) -> Blocks:
    """Images (rows, height, width, channels) as blocks of 16 samples; rows is a multiple of 16."""
    rows, height, width, channels = images.shape
    return images.reshape(rows // LANES, LANES, height, width, channels).transpose(0, 4, 2, 3, 1)


def from_lanes(blocks: Blocks) -> Images:
    """The inverse of `to_lanes`."""
    count, channels, height, width, lanes = blocks.shape
    return blocks.transpose(0, 4, 2, 3, 1).reshape(count * lanes, height, width, channels)


def convolve_block(kernel: Kernel, block: Block) -> Block:
    """Convolves one block: its patches times the kernel as a matrix."""
    outputs = kernel.shape[-1]
    # A product of (outputs, patch) and (patch, positions); with the first transposed it is several times slower.
    matrix = kernel.reshape(-1, outputs).T
    return (matrix @ _columns(block, len(kernel))).reshape(outputs, *block.shape[1:])


def convolve_block_backward(kernel: Kernel, block: Block, gradient: Block) -> tuple[Block, Float[Array, "patch out"]]:
    """The gradients of `convolve_block` with respect to the block and, as a matrix, the kernel."""
    outputs = kernel.shape[-1]
    flat = gradient.reshape(outputs, -1)
    to_columns = kernel.reshape(-1, outputs) @ flat
    # The patches are built again: that is faster than to read them back from memory.
    to_kernel = jnp.einsum("kp,op->ko", _columns(block, len(kernel)), flat)
    return _add_columns(to_columns, block.shape, len(kernel)), to_kernel


def _columns(block: Block, size: int) -> Float[Array, "patch positions"]:
    """The patch around each position as a column, entries in the order (row, column, channel) of a kernel."""
    channels, height, width, lanes = block.shape
    columns = jnp.zeros((size, size, *block.shape), block.dtype)
    for i, j in itertools.product(range(size), repeat=2):
        (y, into_y), (x, into_x) = _overlap(i, height, size), _overlap(j, width, size)
        columns = lax.dynamic_update_slice(columns, block[:, y, x][None, None], (i, j, 0, into_y, into_x, 0))
    return columns.reshape(size * size * channels, height * width * lanes)


def _add_columns(columns: Float[Array, "patch positions"], shape: tuple[int, ...], size: int) -> Block:
    """Adds the entries of all patches up where they came from: the transpose of `_columns`."""
    _, height, width, _ = shape
    columns = columns.reshape(size, size, *shape)
    total = jnp.zeros(shape, columns.dtype)
    for i, j in itertools.product(range(size), repeat=2):
        (y, from_y), (x, from_x) = _overlap(i, height, size), _overlap(j, width, size)
        rows, cols = y.stop - y.start, x.stop - x.start
        part = columns[i, j, :, from_y : from_y + rows, from_x : from_x + cols]
        total += jnp.pad(part, ((0, 0), (y.start, height - y.stop), (x.start, width - x.stop), (0, 0)))
    return total


def _overlap(offset: int, length: int, size: int) -> tuple[slice, int]:
    """Where an image shifted by a kernel offset lies inside itself, and at which position that part lands."""
    shift = offset - size // 2
    # A shift beyond the image leaves nothing of it: the slice is then empty.
    start, stop = min(max(0, shift), length), min(length, length + shift)
    return slice(start, max(start, stop)), max(0, -shift)


@jax.custom_vjp
def _lanes(blocks: Blocks, kernel: Kernel) -> Blocks:
    return _lanes_forward(blocks, kernel)[0]


def _lanes_forward(blocks: Blocks, kernel: Kernel) -> tuple[Blocks, tuple[Blocks, Kernel]]:
    return lax.map(lambda block: convolve_block(kernel, block), blocks), (blocks, kernel)


def _lanes_backward(saved: tuple[Blocks, Kernel], gradient: Blocks) -> tuple[Blocks, Kernel]:
    blocks, kernel = saved

    def add(total: Array, pair: tuple[Block, Block]) -> tuple[Array, Block]:
        to_block, to_kernel = convolve_block_backward(kernel, *pair)
        return total + to_kernel, to_block

    total, to_blocks = lax.scan(add, jnp.zeros_like(kernel.reshape(-1, kernel.shape[-1])), (blocks, gradient))
    return to_blocks, total.reshape(kernel.shape)


_lanes.defvjp(_lanes_forward, _lanes_backward)


def _in_lanes(images: Images, kernel: Kernel) -> Images:
    return from_lanes(_lanes(to_lanes(images), kernel))


LOWERINGS: dict[str, Callable[[Images, Kernel], Images]] = {
    "native": _native,
    "canonical": _canonical,
    "patches": _patches,
    "lanes": _in_lanes,
}
