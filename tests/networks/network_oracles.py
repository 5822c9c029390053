"""Parts of convolutional networks in float64 NumPy, straight from their definitions."""

import itertools

import numpy as np


def convolve(images, kernel):
    images, kernel = np.asarray(images, np.float64), np.asarray(kernel, np.float64)
    size, (_, height, width, _) = len(kernel), images.shape
    half = size // 2
    padded = np.pad(images, ((0, 0), (half, half), (half, half), (0, 0)))
    return sum(
        padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in itertools.product(range(size), repeat=2)
    )


def max_pool(images, window):
    rows, height, width, channels = images.shape
    pooled = np.empty((rows, height // window, width // window, channels))
    for y, x in np.ndindex(pooled.shape[1:3]):
        part = images[:, y * window : (y + 1) * window, x * window : (x + 1) * window]
        pooled[:, y, x] = part.max((1, 2))
    return pooled


def stage(images, kernel, bias, window, normalization=None):
    """Convolution, batch normalization, ReLU, max-pooling; `normalization` is (mean, variance, scale, offset)."""
    z = convolve(images, kernel) + bias
    if normalization is not None:
        mean, variance, scale, offset = normalization
        z = (z - mean) / np.sqrt(variance + 1e-5) * scale + offset
    return max_pool(np.maximum(z, 0), window)
