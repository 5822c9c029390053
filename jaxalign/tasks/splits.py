"""A data set in memory: its two splits, the classes that are kept of it, and the moments of its pixels."""

from typing import Any, NamedTuple

import numpy as np

# Images (n, *image_shape), uint8 or float32, and labels (n,), int32.
Split = tuple[np.ndarray, np.ndarray]

_CHUNK = 500  # images widened to float64 at a time


class Images(NamedTuple):
    """A data set in memory; pixels stay as they were read until a batch is used."""

    train_images: Any  # uint8 or float32 (n_train, *image_shape)
    train_labels: Any  # int32 (n_train,)
    test_images: Any  # (n_test, *image_shape)
    test_labels: Any  # int32 (n_test,)
    pixel_mean: Any  # float32 (), or (channels,) if there are several; over all training pixels
    pixel_std: Any  # of the same shape; 1 for a channel that is constant


def assemble(train: Split, test: Split, classes: tuple[int, ...] | None = None) -> Images:
    """Puts the splits together, of the kept classes alone if `classes` is given.

    Raises:
      ValueError: if one of the classes has no training image.
    """
    if classes is not None:
        for label in classes:
            if not np.any(train[1] == label):
                raise ValueError(f"classes must be classes with training images, got {label} in {classes}")
        train, test = keep_classes(train, classes), keep_classes(test, classes)
    return Images(*train, *test, *pixel_moments(train[0]))


def keep_classes(split: Split, classes: tuple[int, ...]) -> Split:
    """The rows of these classes, in their order, with the label i for `classes[i]`."""
    images, labels = split
    kept = np.flatnonzero(np.isin(labels, classes))
    order = np.argsort(classes)
    return images[kept], order[np.searchsorted(np.asarray(classes)[order], labels[kept])].astype(np.int32)


def pixel_moments(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation over images and pixels, of every channel where there are several.

    Images (n, height, width, channels) have channels; vectors (n, features) are one. A constant channel gets the
    standard deviation 1, so that it becomes 0 when it is standardized.
    """
    channels = images.shape[-1] if images.ndim == 4 else 1
    rows = images.reshape(len(images), -1)
    per_channel = images.size // channels
    # Sums of the distances from one of the pixels: exact for bytes, 0 for a constant channel, and in one pass.
    origin = images.reshape(-1, channels)[0].astype(np.float64)
    repeated = np.tile(origin, rows.shape[1] // channels)
    total, squares = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for start in range(0, len(rows), _CHUNK):
        distance = rows[start : start + _CHUNK] - repeated
        total += distance.sum(axis=0)
        squares += np.square(distance, out=distance).sum(axis=0)
    mean = total.reshape(-1, channels).sum(axis=0) / per_channel
    variance = squares.reshape(-1, channels).sum(axis=0) / per_channel - mean**2
    std = np.where(variance > 0.0, np.sqrt(np.maximum(variance, 0.0)), 1.0)
    shape = () if channels == 1 else (channels,)
    return (origin + mean).astype(np.float32).reshape(shape), std.astype(np.float32).reshape(shape)
