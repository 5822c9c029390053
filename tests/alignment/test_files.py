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
        (["layers.npz"], "third", "layer .of layers.npz. must be one of first, second; got 'third'"),
        (["one.npy", "one.npy"], None, "files must be files of different names, got 'one twice'"),
    ],
)
def test_bad_files(folder, paths, layer, message):
    with pytest.raises(ValueError, match=message):
        load_representations(paths, layer)


def test_a_missing_file(folder):
    with pytest.raises(FileNotFoundError, match="nowhere.npy"):
        load_representations(["nowhere.npy"])
