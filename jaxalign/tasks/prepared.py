"""Data sets that TensorFlow Datasets has prepared in a folder, read without TensorFlow."""

import hashlib
import importlib
import io
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxalign.tasks.splits import Split

_DESCRIPTIONS = ("dataset_info.json", "features.json")
_DECODED_AT_ONCE = 2000


class Found(NamedTuple):
    """The newest version that can be read, None if there is none; and whether there are only ones that cannot."""

    folder: Path | None
    other_format: bool


def find(name: str, data_dir: Path) -> Found:
    """Looks for the data set in `data_dir`, without TensorFlow Datasets and its slow import."""
    versions = [path for path in data_dir.glob(f"{name}/*") if re.fullmatch(r"\d+\.\d+\.\d+", path.name)]
    prepared = [path for path in versions if all((path / file).is_file() for file in _DESCRIPTIONS)]
    readable = [path for path in prepared if any(path.glob("*.array_record*"))]
    newest = max(readable, key=lambda path: [int(part) for part in path.name.split(".")], default=None)
    return Found(newest, bool(prepared) and newest is None)


def identity(name: str, folder: Path) -> str:
    """Name, version and a digest of where the folder is, what describes it, and the sizes and times of its files."""
    digest = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=16)
    for file in _DESCRIPTIONS:
        digest.update((folder / file).read_bytes())
    for path in sorted(folder.iterdir()):
        status = path.stat()
        digest.update(f"\n{path.name} {status.st_size} {status.st_mtime_ns}".encode())
    return f"{name}-{folder.name}-{digest.hexdigest()}"


def read(folder: Path) -> tuple[Split, Split]:
    """Reads and decodes the training and the test split."""
    tfds: Any = importlib.import_module("tensorflow_datasets")
    builder = tfds.builder_from_directory(folder, file_format="array_record")
    # TFDS's general way from a record to an image takes as long again as the decoding of the image.
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    train, test = builder.as_data_source(split=["train", "test"], deserialize_method=raw)
    return _decode(train), _decode(test)


def _decode(source: Any) -> Split:
    """Decodes all examples. Threads would make it slower: the work for such small images is in Python."""
    from PIL import Image

    proto: Any = importlib.import_module("tensorflow_datasets.proto")

    images, labels = [], []
    for start in range(0, len(source), _DECODED_AT_ONCE):
        for record in source.__getitems__(range(start, min(start + _DECODED_AT_ONCE, len(source)))):
            features = proto.tf_example_pb2.Example.FromString(record).features.feature
            with Image.open(io.BytesIO(features["image"].bytes_list.value[0]), formats=("PNG",)) as image:
                images.append(np.asarray(image))
            labels.append(features["label"].int64_list.value[0])
    pixels = np.stack(images)
    return pixels if pixels.ndim == 4 else pixels[..., None], np.array(labels, np.int32)
