import inspect
import pickle
import zipfile

import numpy as np
import pytest

from jaxalign.alignment.files import load_representations


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save("one.npy", rng.normal(size=(5, 2)))
    np.save("three.npy", rng.normal(size=(3, 5, 2)))
    np.savez("single.npz", anything=rng.normal(size=(5, 4)))
    np.savez("layers.npz", first=rng.normal(size=(5, 2)), second=rng.normal(size=(2, 5, 3)))
    np.save("vector.npy", np.zeros(5))
    np.save("objects.npy", np.array([{}], dtype=object))
    (tmp_path / "text.npy").write_text("not an array")
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "empty.npy").write_bytes(b"")
    whole = (tmp_path / "one.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-5])
    (tmp_path / "header.npy").write_bytes(whole[:50])
    np.savez_compressed("packed.npz", x=rng.normal(size=(50, 2)))
    packed = bytearray((tmp_path / "packed.npz").read_bytes())
    packed[200:210] = b"x" * 10
    (tmp_path / "packed.npz").write_bytes(packed)
    np.savez("objects.npz", x=np.array([{}], dtype=object))
    np.savez("nothing.npz")
    np.savez("foreign.npz", x=rng.normal(size=(5, 2)))
    with zipfile.ZipFile("foreign.npz", "a") as archive:
        archive.writestr("readme.txt", "no array")
    # What torch.save writes.
    with zipfile.ZipFile("model.pt", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
        archive.writestr("model/data/0", b"0" * 80)
    for name in ("seed0/feat.npy", "seed1/feat.npy", "seed1/feat.npz", "deep/seed0/feat.npy", "feat.npy"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.save(file, rng.normal(size=(5, 2))) if name.endswith("y") else np.savez(file, rng.normal(size=(5, 2)))
    return tmp_path


def test_names_say_where_an_array_is_from(folder):
    found = load_representations(["one.npy", folder / "three.npy", "single.npz", "layers.npz"])
    names = [
        "one",
        "three[0]",
        "three[1]",
        "three[2]",
        "single",
        "layers:first",
        "layers:second[0]",
        "layers:second[1]",
    ]
    assert list(found) == names
    np.testing.assert_array_equal(found["three[1]"], np.load("three.npy")[1])
    assert list(load_representations(["layers.npz"], layer="first")) == ["layers"]


@pytest.mark.parametrize(
    ("paths", "layer", "message"),
    [
        (["vector.npy"], None, r"vector.npy must be an array of shape .* got \(5,\)"),
        (["objects.npy"], None, "objects.npy must be a npy or npz file of numbers"),
        (["text.npy"], None, "text.npy must be a npy or npz file of numbers"),
        (["broken.npz"], None, "broken.npz must be a npy or npz file, got 'a damaged file'"),
        (["empty.npy"], None, "empty.npy must be a npy or npz file, got 'a damaged file'"),
        (["one.npy", "cut.npy"], None, "cut.npy must be a npy or npz file, got 'a damaged file .Failed to read all"),
        (["header.npy"], None, "header.npy must be a npy or npz file, got 'a damaged file .EOF: reading array header"),
        (["packed.npz"], None, "packed.npz must be a npy or npz file, got 'a damaged file'"),
        (["objects.npz"], None, "objects.npz must be a npy or npz file of numbers"),
        (["nothing.npz"], None, "nothing.npz must be a file of at least one array, got 'an empty archive'"),
        (["foreign.npz"], None, "foreign.npz must be .* holds arrays alone, got 'an archive with the file readme.txt'"),
        (["model.pt"], None, "model.pt must be .* holds arrays alone, got 'an archive with the file model/data.pkl'"),
        (["layers.npz"], "third", "layer .of layers.npz. must be one of first, second; got 'third'"),
        (["one.npy", "one.npy"], None, "files must be different files, got 'one.npy twice'"),
        (["one.npy", "./one.npy"], None, "files must be different files, got 'one.npy twice'"),
    ],
)
def test_bad_files(folder, paths, layer, message):
    with pytest.raises(ValueError, match=message):
        load_representations(paths, layer)


def test_files_that_cannot_be_read(folder):
    with pytest.raises(FileNotFoundError, match="nowhere.npy"):
        load_representations(["nowhere.npy"])
    with pytest.raises(IsADirectoryError, match="seed0"):
        load_representations(["seed0"])


def test_a_member_of_a_foreign_archive_can_be_chosen(folder):
    assert list(load_representations(["foreign.npz"], layer="x")) == ["foreign"]


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["seed0/feat.npy", "seed1/feat.npy"], ["seed0/feat", "seed1/feat"]),
        (["seed0/feat.npy", "seed1/feat.npy", "one.npy"], ["seed0/feat", "seed1/feat", "one"]),
        (["deep/seed0/feat.npy", "seed0/feat.npy", "feat.npy"], ["deep/seed0/feat", "seed0/feat", "feat"]),
        (["seed1/feat.npy", "seed1/feat.npz"], ["feat.npy", "feat.npz"]),
        (["seed1/feat.npy", "seed1/feat.npz", "seed0/feat.npy"], ["seed1/feat.npy", "seed1/feat.npz", "seed0/feat"]),
    ],
)
def test_files_of_one_name_are_told_apart_by_their_folders(folder, paths, names):
    assert list(load_representations(paths)) == names


def test_names_of_ones_own(folder):
    found = load_representations(["seed0/feat.npy", "layers.npz"], names=("a", "b"))
    assert list(found) == ["a", "b:first", "b:second[0]", "b:second[1]"]
    for names in (["a"], ["a", 1], "ab", ["a", "a"]):
        with pytest.raises(ValueError, match="names must be"):
            # Without the types, which would refuse some of these in the tests alone.
            inspect.unwrap(load_representations)(["seed0/feat.npy", "seed1/feat.npy"], names=names)
    with pytest.raises(
        ValueError, match="files must be files whose representations have different names, got 'b:first"
    ):
        load_representations(["seed0/feat.npy", "layers.npz"], names=("b:first", "b"))
