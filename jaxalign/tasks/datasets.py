"""The image data sets: what there is, where it is looked for, and how it is read."""

import contextlib
import functools
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxalign.tasks import cache, prepared
from jaxalign.tasks.splits import Images, Split, assemble

_REACHABLE_SECONDS = 8.0
_DOWNLOAD_SECONDS = 1800.0

_MEMBERS = ("train_images", "train_labels", "test_images", "test_labels")
_DOWNLOAD = (
    "import sys, tensorflow_datasets as tfds; "
    "tfds.builder(sys.argv[1], data_dir=sys.argv[2], file_format='array_record').download_and_prepare()"
)


class DatasetInfo(NamedTuple):
    """What is known of a data set before it is read; `download_url` tells whether its host can be reached."""

    image_shape: tuple[int, ...]
    n_classes: int
    n_train: int
    n_test: int
    download_url: str | None


DATASETS = {
    "digits": DatasetInfo((8, 8, 1), 10, 1397, 400, None),
    "mnist": DatasetInfo((28, 28, 1), 10, 60_000, 10_000, "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    "fashion_mnist": DatasetInfo(
        (28, 28, 1), 10, 60_000, 10_000, "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
    ),
    "cifar10": DatasetInfo((32, 32, 3), 10, 50_000, 10_000, "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
}


def load(
    name: str, data_dir: str | None = None, *, classes: tuple[int, ...] | None = None, download: bool = False
) -> Images:
    """Reads the data set `name` into NumPy arrays, once per process; its test split stands for what is held out.

    Args:
      name: one of `DATASETS`.
      data_dir: the folder of prepared TensorFlow Datasets; None means the default of `data_folder`.
      classes: the classes that are kept, or None for all.
      download: whether a data set that is not prepared may be downloaded.

    Raises:
      FileNotFoundError: if it is not prepared and cannot, or may not, be downloaded.
      ValueError: if what was found is no such data set, or if a class has no images.
    """
    if name == "digits":
        return _load_digits(classes)
    where = data_folder(data_dir)
    found = prepared.find(name, where)
    if found.other_format:
        raise _not_prepared(name, where, "what is there is of another file format than array_record")
    if found.folder is None:
        if not download:
            raise _not_prepared(name, where, "a download was not asked for, by ImageTask(download=True) or --download")
        _download(name, where)
        found = prepared.find(name, where)
    if found.folder is None:
        raise _not_prepared(name, where, "its download left nothing that can be read")
    return _load_prepared(name, found.folder, prepared.identity(name, found.folder), classes)


def data_folder(data_dir: str | None = None) -> Path:
    """The folder `data_dir`, else JAXALIGN_TFDS_DIR, else the default of TensorFlow Datasets."""
    named = data_dir or os.environ.get("JAXALIGN_TFDS_DIR") or os.environ.get("TFDS_DATA_DIR")
    return Path(named or "~/tensorflow_datasets").expanduser()


@functools.lru_cache(maxsize=2)
def _load_digits(classes: tuple[int, ...] | None) -> Images:
    from sklearn.datasets import load_digits

    info = DATASETS["digits"]
    bunch: Any = load_digits()
    images = bunch.images[..., None].astype(np.uint8)
    labels = bunch.target.astype(np.int32)
    # The file is ordered by writer; a fixed shuffle makes train and test alike.
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = order[: info.n_train], order[info.n_train :]
    return assemble((images[train], labels[train]), (images[test], labels[test]), classes)


@functools.lru_cache(maxsize=4)
def _load_prepared(name: str, folder: Path, identity: str, classes: tuple[int, ...] | None) -> Images:
    kept = cache.read(identity)
    splits = None
    if kept is not None:
        with contextlib.suppress(ValueError):
            splits = _checked(name, kept)
    if splits is None:
        train, test = prepared.read(folder)
        arrays: dict[str, np.ndarray] = dict(zip(_MEMBERS, (*train, *test), strict=True))
        splits = _checked(name, arrays)
        cache.write(identity, arrays)
    return assemble(*splits, classes)


def _checked(name: str, arrays: dict[str, np.ndarray]) -> tuple[Split, Split]:
    """Checks that these are arrays of the data set, of which there may be fewer images than were published.

    Raises:
      ValueError: if they are not.
    """
    if tuple(arrays) != _MEMBERS:
        raise ValueError(f"{name} must have the arrays {', '.join(_MEMBERS)}, got {tuple(arrays)}")
    info = DATASETS[name]
    train_images, train_labels, test_images, test_labels = arrays.values()
    train, test = (train_images, train_labels), (test_images, test_labels)
    for split, (images, labels), published in (("train", train, info.n_train), ("test", test, info.n_test)):
        if images.shape[1:] != info.image_shape or not 1 <= len(images) <= published or images.dtype != np.uint8:
            raise ValueError(
                f"the {split} split of {name} must have 1 to {published} images of shape {info.image_shape} and type "
                f"uint8, got {images.shape} of {images.dtype}"
            )
        if labels.shape != (len(images),) or labels.dtype != np.int32 or not _in_range(labels, info.n_classes):
            raise ValueError(f"the {split} split of {name} must have a label below {info.n_classes} for every image")
    return train, test


def _in_range(labels: np.ndarray, n_classes: int) -> bool:
    return bool(labels.min() >= 0 and labels.max() < n_classes)


def _not_prepared(name: str, data_dir: Path, reason: str) -> FileNotFoundError:
    return FileNotFoundError(
        f"the data set {name!r} is not prepared in {data_dir} and {reason}. Prepare it where there is a network with: "
        f'python -c "import tensorflow_datasets as tfds; tfds.data_source({name!r})" (which writes the file format '
        f"array_record, the only one that is read without TensorFlow), copy the folder {name}/ here, and name its "
        f"parent folder in ImageTask(data_dir=...) or in the environment variable JAXALIGN_TFDS_DIR"
    )


def _download(name: str, data_dir: Path) -> None:
    """Downloads and prepares a data set in a process of its own, which can be ended when it takes too long.

    Raises:
      FileNotFoundError: if its host does not answer, or if the download fails or takes too long.
    """
    if not _reachable(DATASETS[name].download_url):
        raise _not_prepared(name, data_dir, "its host cannot be reached")
    command = [sys.executable, "-c", _DOWNLOAD, name, str(data_dir)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, bufsize=0) as process:
        timer = threading.Timer(_DOWNLOAD_SECONDS, process.kill)
        timer.start()
        written = b""
        try:
            # Passed on as it comes: the progress bar is then seen in a notebook too.
            while process.stderr is not None and (part := process.stderr.read(4096)):
                written = (written + part)[-2000:]
                sys.stderr.write(part.decode(errors="replace"))
                sys.stderr.flush()
            process.wait()
        finally:
            timer.cancel()
            process.kill()
    if process.returncode != 0:
        last = written.decode(errors="replace").strip().splitlines()[-1:] or ["it was ended"]
        raise _not_prepared(name, data_dir, f"its download failed within {_DOWNLOAD_SECONDS:g} s ({last[0]})")


def _reachable(url: str | None) -> bool:
    """Whether anything answers at `url`; TFDS itself would retry for minutes before it says that nothing does."""
    answered = threading.Event()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url or "", method="HEAD"), timeout=_REACHABLE_SECONDS)
        except urllib.error.HTTPError:
            pass  # an answer, whatever it says, comes from a host that is there
        except (OSError, ValueError):
            return
        answered.set()

    # A name that does not resolve can block beyond the time-out of the connection, so the wait has one of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(_REACHABLE_SECONDS)
    return answered.is_set()
