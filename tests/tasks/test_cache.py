import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from prepared_folders import prepare, random_split

from jaxalign.tasks import cache, datasets, prepared

ARRAYS = {"a": np.arange(3000, dtype=np.uint8).reshape(30, 100), "b": np.arange(5, dtype=np.int32)}


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def load_again(data_dir):
    """As another process would: only what is on the disk is remembered."""
    datasets._load_prepared.cache_clear()
    return datasets.load("mnist", str(data_dir))


@pytest.fixture
def decodings(monkeypatch):
    """The folders that were decoded, in order."""
    read, folders = prepared.read, []
    monkeypatch.setattr(prepared, "read", lambda folder: folders.append(folder) or read(folder))
    return folders


def test_arrays_come_back_as_they_were():
    assert cache.read("key") is None
    cache.write("key", ARRAYS)
    kept = cache.read("key")
    assert list(kept) == ["a", "b"] and [x.dtype for x in kept.values()] == [np.uint8, np.int32]
    assert same(kept.values(), ARRAYS.values())
    assert cache.read("other") is None
    assert [path.name for path in cache.folder().iterdir()] == ["key.npz"]


@pytest.mark.parametrize("part", ["header", "content", "directory", "truncated", "empty", "half"])
def test_a_damaged_file_is_no_file(part):
    cache.write("key", ARRAYS)
    path = cache.folder() / "key.npz"
    content = bytearray(path.read_bytes())
    if part in ("truncated", "empty", "half"):
        del content[{"truncated": -1, "empty": 0, "half": len(content) // 2}[part] :]
    else:
        at = {"header": content.index(b"NUMPY"), "content": 1500, "directory": content.index(b"PK\1\2")}[part]
        content[at] ^= 0x10
    path.write_bytes(content)
    assert cache.read("key") is None


def test_every_damaged_byte_of_the_content_is_noticed():
    cache.write("key", {"a": np.arange(100, dtype=np.uint8)})
    path = cache.folder() / "key.npz"
    whole = path.read_bytes()
    start = whole.index(bytes(range(100)))
    for at in range(start, start + 100):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert cache.read("key") is None, at


def test_a_data_set_is_decoded_once(tmp_path, decodings):
    train = random_split(40)
    folder = prepare(tmp_path, train=train)
    first, again = load_again(tmp_path), load_again(tmp_path)
    assert decodings == [folder]
    assert same(first, again) and same(first[:2], train)
    assert [x.dtype for x in again[:4]] == [np.uint8, np.int32] * 2


@pytest.mark.parametrize("damage", ["truncated", "flipped", "other_arrays", "other_type", "wrong_label"])
def test_a_damaged_cache_is_built_again(tmp_path, decodings, own_cache, damage):
    prepare(tmp_path)
    first = load_again(tmp_path)
    (path,) = own_cache.iterdir()
    with np.load(path) as kept:
        arrays = dict(kept)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "flipped":
        content = bytearray(path.read_bytes())
        content[1000] ^= 1
        path.write_bytes(content)
    elif damage == "other_arrays":
        np.savez(path, **{name: x for name, x in arrays.items() if name != "test_labels"})
    elif damage == "other_type":
        np.savez(path, **{name: x.astype(np.int32) for name, x in arrays.items()})
    else:
        np.savez(path, **{**arrays, "train_labels": arrays["train_labels"] + 5})
    assert same(load_again(tmp_path), first) and len(decodings) == 2
    assert same(load_again(tmp_path), first) and len(decodings) == 2


def test_another_folder_is_another_data_set(tmp_path, decodings, own_cache):
    few, many = tmp_path / "few", tmp_path / "many"
    prepare(few, train=random_split(30))
    prepare(many, train=random_split(50))
    sizes = [len(load_again(folder).train_labels) for folder in (few, many, few, many)]
    assert sizes == [30, 50, 30, 50] and len(decodings) == 2
    assert len(list(own_cache.iterdir())) == 2


def test_a_copy_elsewhere_is_told_apart_by_its_place(tmp_path, decodings):
    """Even with equal descriptions, sizes and times of files."""
    prepare(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for folder in ("one", "two", "one", "two"):
        load_again(tmp_path / folder)
    assert len(decodings) == 2


@pytest.mark.parametrize("changed", ["dataset_info.json", "features.json", "mnist-train.array_record-00000-of-00001"])
def test_a_folder_that_changed_is_decoded_again(tmp_path, decodings, changed):
    folder = prepare(tmp_path)
    load_again(tmp_path)
    path = folder / changed
    status = path.stat()
    if changed.endswith("json"):
        path.write_text(path.read_text() + " ")
    else:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    load_again(tmp_path)
    assert len(decodings) == 2


def test_a_cache_that_cannot_be_written_is_only_a_warning(tmp_path, monkeypatch, caplog, decodings):
    prepare(tmp_path)
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("JAXALIGN_CACHE_DIR", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert len(load_again(tmp_path).train_labels) == 40
    assert "cannot be kept" in caplog.text
    load_again(tmp_path)
    assert len(decodings) == 2


def test_a_write_that_fails_leaves_nothing(monkeypatch, own_cache):
    def fail(*args, **options):
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", fail)
    cache.write("key", ARRAYS)
    assert list(own_cache.iterdir()) == [] and cache.read("key") is None


# The module alone, without the package: both processes shall be at work at the same time.
WRITER = """
import importlib.util, sys
import numpy as np
spec = importlib.util.spec_from_file_location("cache", sys.argv[2])
cache = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cache)
for i in range(60):
    cache.write("key", {"a": np.full(200_000, int(sys.argv[1]), np.uint8)})
    kept = cache.read("key")
    assert kept is not None and (kept["a"] == kept["a"][0]).all() and kept["a"].shape == (200_000,)
"""


def test_two_processes_at_once_do_no_harm(own_cache):
    processes = [subprocess.Popen([sys.executable, "-c", WRITER, str(i), cache.__file__]) for i in (1, 2)]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
    assert [path.name for path in own_cache.iterdir()] == ["key.npz"]
    assert cache.read("key")["a"][0] in (1, 2)


@pytest.mark.parametrize(
    "platform, variables, expected",
    [
        ("linux", {"JAXALIGN_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/jaxalign"),
        ("linux", {}, "/home/me/.cache/jaxalign"),
        ("darwin", {}, "/home/me/Library/Caches/jaxalign"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/jaxalign"),
        ("linux", {"LOCALAPPDATA": "/local"}, "/home/me/.cache/jaxalign"),
    ],
)
def test_where_the_cache_is(monkeypatch, platform, variables, expected):
    for name in ("JAXALIGN_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    monkeypatch.setattr(cache.sys, "platform", platform)
    assert cache.folder() == Path(expected)


SCRIPT = """
import json, sys
from jaxalign.tasks import datasets
images = datasets.load("mnist", sys.argv[1])
print(json.dumps([len(images.train_labels), "tensorflow_datasets" in sys.modules, "tensorflow" in sys.modules]))
"""


def test_from_the_cache_no_tensorflow_datasets_is_imported(tmp_path):
    prepare(tmp_path)
    load_again(tmp_path)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "JAX_PLATFORMS": "cpu"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [40, False, False]
