"""Images of the user's own: checked once, and told apart by a digest of their content."""

import dataclasses
import hashlib
from typing import Any

import numpy as np

from jaxalign import checks
from jaxalign.tasks.splits import Split

_SHAPES = "(n, height, width, channels), (n, height, width) or (n, features)"


@dataclasses.dataclass(frozen=True)
class ArraysInfo:
    """What a task knows of the user's arrays without holding them: enough to compare, build and store it.

    Attributes:
      digest: of types, shapes and content; equal arrays have equal digests.
      image_shape: (height, width, channels) or (features,).
      n_classes: the number C of classes.
      n_train: the number of training images.
      n_test: the number of test images.
    """

    digest: str
    image_shape: tuple[int, ...]
    n_classes: int
    n_train: int
    n_test: int


def check_arrays(x_train: Any, y_train: Any, x_test: Any, y_test: Any) -> tuple[ArraysInfo, tuple[Split, Split]]:
    """Copies the arrays as they are kept: pixels uint8 or float32 with a channel axis, labels int32, read-only.

    Raises:
      ValueError: if images are not uint8 or finite floating-point numbers of an allowed shape, if there are none, if
        labels are not one integer from 0 to C - 1 for each image, if one of the C >= 2 classes is missing from
        `y_train`, or if the test images have another shape or type.
    """
    train = _images("x_train", x_train), _labels("y_train", y_train)
    test = _images("x_test", x_test), _labels("y_test", y_test)
    for name, (images, labels) in (("train", train), ("test", test)):
        if len(images) != len(labels):
            checks.reject(f"y_{name}", f"{len(images)} labels, one for each row of x_{name}", len(labels))
    if test[0].shape[1:] != train[0].shape[1:]:
        checks.reject("x_test", f"images of the shape of x_train, {train[0].shape[1:]}", test[0].shape[1:])
    if test[0].dtype != train[0].dtype:
        checks.reject("x_test", f"{train[0].dtype} as x_train", str(test[0].dtype))
    present = np.unique(train[1])
    if len(present) < 2:
        checks.reject("y_train", "labels of at least 2 classes", tuple(present.tolist()))
    if len(present) != present[-1] + 1:
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        allowed = f"labels from 0 to C - 1 with every class present (class {missing} is not)"
        checks.reject("y_train", allowed, tuple(present[:10].tolist()))
    if test[1].max() >= len(present):
        checks.reject("y_test", f"classes of y_train, below {len(present)}", int(test[1].max()))
    shape = tuple(train[0].shape[1:])
    info = ArraysInfo(_digest(*train, *test), shape, len(present), len(train[0]), len(test[0]))
    return info, (train, test)


def _images(name: str, values: Any) -> np.ndarray:
    images = np.array(values)
    if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
        checks.reject(name, "images of type uint8 or floating point", str(images.dtype))
    if images.ndim not in (2, 3, 4) or 0 in images.shape:
        checks.reject(name, f"images of shape {_SHAPES}, none of them 0", images.shape)
    if images.dtype != np.uint8:
        with np.errstate(over="ignore"):
            images = images.astype(np.float32)
        bad = np.argwhere(~np.isfinite(images))
        if len(bad):
            at = tuple(bad[0].tolist())
            checks.reject(name, f"finite in float32 (it is not at {at})", float(np.asarray(values)[at]))
    if images.ndim == 3:
        images = images[..., None]
    images.flags.writeable = False
    return images


def _labels(name: str, values: Any) -> np.ndarray:
    labels = np.array(values)
    if labels.ndim != 1:
        checks.reject(name, "labels of shape (n,)", labels.shape)
    if not np.issubdtype(labels.dtype, np.integer):
        checks.reject(name, "integer labels", str(labels.dtype))
    if len(labels) and (labels.min() < 0 or labels.max() > np.iinfo(np.int32).max):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        checks.reject(name, "labels from 0 to C - 1", int(wrong))
    labels = labels.astype(np.int32)
    labels.flags.writeable = False
    return labels


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
