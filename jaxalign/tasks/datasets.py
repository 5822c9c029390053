"""The image data sets: what there is, where it is looked for, and how it is read."""

import contextlib
import functools
import logging
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

Split = tuple[np.ndarray, np.ndarray]  # images uint8 (n, *image_shape) and labels int32 (n,)

_DOWNLOAD_CHECK_SECONDS = 8.0


class DatasetInfo(NamedTuple):
    """What is known of a data set before it is read; `download_url` tells whether its host can be reached."""

    image_shape: tuple[int, ...]
    n_classes: int
    n_train: int
    n_test: int
    download_url: str | None


class Images(NamedTuple):
    """A data set in memory; pixels stay bytes until a batch is used."""

    train_images: Any  # uint8 (n_train, *image_shape)
    train_labels: Any  # int32 (n_train,)
    test_images: Any  # uint8 (n_test, *image_shape)
    test_labels: Any  # int32 (n_test,)
    pixel_mean: Any  # float32 (), over all training pixels
    pixel_std: Any  # float32 ()


DATASETS = {
    "digits": DatasetInfo((8, 8, 1), 10, 1397, 400, None),
    "mnist": DatasetInfo((28, 28, 1), 10, 60_000, 10_000, "https://storage.googleapis.com/cvdf-datasets/mnist/"),
}


def load(name: str, data_dir: str | None = None) -> Images:
    """Reads the data set `name` into NumPy arrays, once per process.

    Raises:
      FileNotFoundError: if it is neither prepared nor can be downloaded.
      ValueError: if what was found has another size than the data set.
    """
    return _read(name, data_dir or os.environ.get("JAXALIGN_TFDS_DIR"))


@functools.lru_cache(maxsize=4)
def _read(name: str, data_dir: str | None) -> Images:
    info = DATASETS[name]
    train, test = _read_digits(info) if name == "digits" else _read_tfds(name, data_dir, info)
    for split, (images, _), expected in (("train", train, info.n_train), ("test", test, info.n_test)):
        if images.shape != (expected, *info.image_shape):
            raise ValueError(
                f"the {split} split of {name} must have shape {(expected, *info.image_shape)}, got {images.shape}"
            )
    # Summed by pixel value: exact in integers, and without a float copy of the images.
    counts = np.bincount(train[0].ravel(), minlength=256)
    values = np.arange(len(counts))
    mean = counts @ values / counts.sum()
    std = np.sqrt(counts @ (values - mean) ** 2 / counts.sum())
    return Images(*train, *test, np.float32(mean), np.float32(std))


def _read_digits(info: DatasetInfo) -> tuple[Split, Split]:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images = bunch.images[..., None].astype(np.uint8)
    labels = bunch.target.astype(np.int32)
    # The file is ordered by writer; a fixed shuffle makes train and test alike.
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[: info.n_train], order[info.n_train :]
    return (images[train], labels[train]), (images[test], labels[test])


def _read_tfds(name: str, data_dir: str | None, info: DatasetInfo) -> tuple[Split, Split]:
    import tensorflow_datasets as tfds

    with _quiet("absl"):
        return _read_prepared(tfds, name, data_dir, info)


def _read_prepared(tfds: Any, name: str, data_dir: str | None, info: DatasetInfo) -> tuple[Split, Split]:
    builder = tfds.builder(name, data_dir=data_dir, file_format="array_record")
    if not builder.is_prepared():
        if not _reachable(info.download_url):
            raise FileNotFoundError(
                f"the data set {name!r} is not prepared in {Path(builder.data_dir).parents[1]} and its host cannot be "
                f'reached. Prepare it where there is a network with: python -c "import tensorflow_datasets as tfds; '
                f"tfds.data_source('{name}')\", copy the folder {name}/ here, and name its parent folder in "
                f"ImageTask(data_dir=...) or in the environment variable JAXALIGN_TFDS_DIR"
            )
        builder.download_and_prepare()
    train, test = builder.as_data_source(split=["train", "test"])
    return _decode(train), _decode(test)


@contextlib.contextmanager
def _quiet(logger_name: str) -> Iterator[None]:
    """Silences the warnings that TFDS gives for a folder that is not there and a decoder that it does not need."""
    logger = logging.getLogger(logger_name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _decode(source: Any) -> Split:
    examples = source.__getitems__(range(len(source)))
    images = np.stack([example["image"] for example in examples])
    return images, np.array([example["label"] for example in examples], np.int32)


def _reachable(url: str | None) -> bool:
    """Whether anything answers at `url`; TFDS itself would retry for minutes before it says that nothing does."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url or "", method="HEAD"), timeout=_DOWNLOAD_CHECK_SECONDS)
        except urllib.error.HTTPError:
            pass  # an answer, whatever it says, comes from a host that is there
        except (OSError, ValueError):
            return
        answered.set()

    # A name that does not resolve can block beyond the time-out of the connection, so the wait has one of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_DOWNLOAD_CHECK_SECONDS)
    return answered.is_set()
