import http.server
import json
import os
import subprocess
import sys
import threading
import time

import jax.numpy as jnp
import numpy as np
import pytest
from prepared_folders import prepare, random_split

from jaxalign import MLP, SweepConfig
from jaxalign.streams import Role, stream
from jaxalign.tasks import ImageTask, datasets

PREPARED = os.environ.get("JAXALIGN_TFDS_DIR")


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(datasets, "_reachable", lambda url: False)
    monkeypatch.delenv("JAXALIGN_TFDS_DIR", raising=False)


def load_mnist(data_dir=None):
    return datasets.load("mnist", data_dir)


def load_mnist_task(data_dir=None):
    return ImageTask("mnist", data_dir=data_dir).load(None)


def load_with_download(data_dir=None):
    return datasets.load("mnist", data_dir, download=True)


@pytest.mark.parametrize("load", [load_mnist, load_mnist_task, load_with_download])
@pytest.mark.parametrize("source", ["argument", "variable", "argument_before_variable"])
def test_a_data_set_that_cannot_be_had_says_where_it_was_looked_for(offline, monkeypatch, tmp_path, load, source):
    folder, other = str(tmp_path / "looked_here"), str(tmp_path / "not_here")
    if source != "argument":
        monkeypatch.setenv("JAXALIGN_TFDS_DIR", folder if source == "variable" else other)
    with pytest.raises(FileNotFoundError) as caught:
        load(None if source == "variable" else folder)
    message = str(caught.value)
    assert f"'mnist' is not prepared in {folder} " in message
    assert "JAXALIGN_TFDS_DIR" in message and "data_dir=" in message
    assert "tfds.data_source('mnist')" in message and "array_record" in message
    assert ("download=True" if load is not load_with_download else "cannot be reached") in message
    assert other not in message


def test_only_a_download_asks_for_the_host(offline, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(datasets, "_reachable", asked.append)
    with pytest.raises(FileNotFoundError):
        datasets.load("mnist", str(tmp_path))
    assert asked == []
    with pytest.raises(FileNotFoundError):
        datasets.load("cifar10", str(tmp_path), download=True)
    assert asked == [datasets.DATASETS["cifar10"].download_url]


def test_a_download_is_read_from_where_it_was_put(monkeypatch, tmp_path, capsys):
    """The process that would download shows its progress and leaves a prepared folder."""
    prepare(tmp_path / "there")
    monkeypatch.setattr(datasets, "_reachable", lambda url: True)
    monkeypatch.setattr(
        datasets,
        "_DOWNLOAD",
        "import shutil, sys; sys.stderr.write('half done'); "
        f"shutil.copytree({str(tmp_path / 'there')!r} + '/' + sys.argv[1], sys.argv[2] + '/' + sys.argv[1])",
    )
    images = datasets.load("mnist", str(tmp_path / "here"), download=True)
    assert len(images.train_labels) == 40
    assert "half done" in capsys.readouterr().err


@pytest.mark.parametrize(
    "script, message",
    [
        ("import sys; sys.exit('the reason')", r"download failed within 1 s \(the reason\)"),
        ("import time; time.sleep(60)", r"download failed within 1 s \(it was ended\)"),
        ("pass", "its download left nothing that can be read"),
    ],
)
def test_a_download_that_fails_or_takes_too_long_is_an_error(monkeypatch, tmp_path, script, message):
    monkeypatch.setattr(datasets, "_reachable", lambda url: True)
    monkeypatch.setattr(datasets, "_DOWNLOAD", script)
    monkeypatch.setattr(datasets, "_DOWNLOAD_SECONDS", 1 if "within" in message else 60)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match=message):
        datasets.load("mnist", str(tmp_path), download=True)
    assert time.monotonic() - start < 15


def test_a_host_that_never_answers_costs_less_than_15_seconds(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.urllib.request, "urlopen", lambda *args, **options: time.sleep(60))
    monkeypatch.setattr(datasets, "_REACHABLE_SECONDS", datasets._REACHABLE_SECONDS / 10)
    start = time.monotonic()
    with pytest.raises(FileNotFoundError, match="cannot be reached"):
        datasets.load("mnist", str(tmp_path), download=True)
    assert time.monotonic() - start < 1.5


def test_a_folder_of_another_file_format_says_so(tmp_path):
    folder = prepare(tmp_path)
    for path in folder.glob("*.array_record*"):
        path.rename(str(path).replace("array_record", "tfrecord"))
    with pytest.raises(FileNotFoundError, match="another file format than array_record"):
        datasets.load("mnist", str(tmp_path), download=True)


def test_the_newest_version_is_read(tmp_path):
    for version, rows in (("3.0.9", 20), ("3.0.10", 30), ("2.9.9", 40)):
        prepare(tmp_path, version=version, train=random_split(rows))
    (tmp_path / "mnist" / "4.0.0.incomplete").mkdir()
    (tmp_path / "mnist" / "5.0.0").mkdir()
    assert len(datasets.load("mnist", str(tmp_path)).train_labels) == 30


@pytest.mark.parametrize("variable", ["JAXALIGN_TFDS_DIR", "TFDS_DATA_DIR", None])
def test_where_data_is_looked_for(monkeypatch, tmp_path, variable):
    monkeypatch.delenv("JAXALIGN_TFDS_DIR", raising=False)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    expected = tmp_path / "home" / "tensorflow_datasets"
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "named"))
        expected = tmp_path / "named"
    assert datasets.data_folder() == expected
    assert datasets.data_folder("/argument") == datasets.Path("/argument")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "not a url", "", None])
def test_nothing_answers_at_once(url):
    start = time.monotonic()
    assert datasets._reachable(url) is False
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("status", [200, 404])
def test_any_answer_means_reachable(status):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            assert datasets._reachable(f"http://127.0.0.1:{server.server_port}/") is True
        finally:
            server.shutdown()
            thread.join()


WRONG_SPLITS = {
    "other_shape": (random_split(30, (27, 28, 1)), r"shape \(28, 28, 1\) and type uint8, got \(30, 27, 28, 1\)"),
    "other_label": (random_split(30, n_classes=11), "must have a label below 10 for every image"),
}


@pytest.mark.parametrize("wrong", WRONG_SPLITS)
def test_a_folder_that_is_no_such_data_set_is_refused(tmp_path, own_cache, wrong):
    split, message = WRONG_SPLITS[wrong]
    prepare(tmp_path, train=split)
    with pytest.raises(ValueError, match=f"the train split of mnist .*{message}"):
        datasets.load("mnist", str(tmp_path))
    assert not own_cache.exists()


def test_more_images_than_were_published_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "mnist", datasets.DATASETS["mnist"]._replace(n_test=19))
    prepare(tmp_path)
    with pytest.raises(ValueError, match=r"the test split of mnist must have 1 to 19 images .* got \(20, 28, 28, 1\)"):
        datasets.load("mnist", str(tmp_path))


def test_a_subset_is_drawn_from_without_padding(tmp_path):
    train, test = random_split(30, (32, 32, 3)), random_split(17, (32, 32, 3), seed=1)
    prepare(tmp_path, "cifar10", "3.0.2", train, test)
    task = ImageTask("cifar10", data_dir=str(tmp_path))
    world = task.load(stream(0, Role.TEACHER))
    assert (task.n_train_available, task.n_probes_available) == (50_000, 10_000)
    drawn = np.asarray(task.draw_inputs(world, stream(0, Role.INPUTS), 30))
    np.testing.assert_array_equal(np.sort(drawn), np.arange(30))
    inputs, labels = task.test_set(world, stream(0, Role.PROBES), 10)
    assert (inputs.shape, labels.shape) == ((17, 32, 32, 3), (17,))
    pixels = train[0].astype(np.float64)
    mean, std = pixels.mean((0, 1, 2)), pixels.std((0, 1, 2))
    np.testing.assert_allclose(task.inputs(world, jnp.asarray(drawn)), (pixels[drawn] - mean) / std, atol=1e-5)


def test_more_than_the_folder_has_is_refused_by_name(tmp_path):
    prepare(tmp_path)
    task = ImageTask("mnist", data_dir=str(tmp_path))
    config = SweepConfig(task=task, networks=(MLP(4),), noise=(0.2,), n_train=(30, 41), probes=21)
    world = task.load(stream(0, Role.TEACHER))
    task.check_available(world, 40, 20)
    with pytest.raises(ValueError) as caught:
        task.check_available(world, max(config.n_train), 20)
    where = f"images of 'mnist' in {tmp_path}"
    assert str(caught.value) == f"n_train must be at most 40, the number of training {where}, got 41"
    with pytest.raises(ValueError) as caught:
        task.check_available(world, 40, config.probes)
    assert str(caught.value) == f"probes must be at most 20, the number of test {where}, got 21"


def test_more_than_the_kept_classes_have_is_refused():
    task = ImageTask("digits", classes=(3, 5))
    world = task.load(stream(0, Role.TEACHER))
    n = len(world.train_labels)
    task.check_available(world, n, 20)
    message = rf"n_train must be at most {n}, the number of training images of 'digits' in the classes \(3, 5\), got"
    with pytest.raises(ValueError, match=message):
        task.check_available(world, n + 1, 20)


def test_digits_are_read_once_and_their_pixel_moments_are_exact():
    images = datasets.load("digits")
    assert datasets.load("digits") is images
    pixels = images.train_images.astype(np.float64)
    assert images.train_images.dtype == images.test_images.dtype == np.uint8
    np.testing.assert_allclose([images.pixel_mean, images.pixel_std], [pixels.mean(), pixels.std()], rtol=1e-6)
    assert images.pixel_mean.dtype == images.pixel_std.dtype == np.float32


# In a process of its own, because any other test may have imported TensorFlow.
SCRIPT = """
import json, sys
import numpy as np
from jaxalign.tasks import datasets
datasets._reachable = lambda url: False
found = {}
try:
    images = datasets.load("mnist")
except FileNotFoundError:
    pass
else:
    arrays = images[:4]
    found["shapes"] = [list(x.shape) for x in arrays]
    found["types"] = [str(x.dtype) for x in arrays]
    found["counts"] = [np.bincount(labels).tolist() for labels in (images.train_labels, images.test_labels)]
    found["moments"] = [float(images.pixel_mean) / 255, float(images.pixel_std) / 255]
print(json.dumps([found, "tensorflow_datasets" in sys.modules, "tensorflow" in sys.modules]))
"""


def load_in_a_process(folder):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "JAXALIGN_TFDS_DIR": str(folder)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found, imported_tfds, imported_tensorflow = json.loads(done.stdout)
    assert imported_tfds == bool(found) and not imported_tensorflow
    return found


def test_looking_for_a_data_set_imports_no_tensorflow(tmp_path):
    assert load_in_a_process(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.skipif(not PREPARED, reason="JAXALIGN_TFDS_DIR is not set")
def test_mnist_is_read_without_tensorflow():
    found = load_in_a_process(PREPARED)
    assert found["shapes"] == [[60_000, 28, 28, 1], [60_000], [10_000, 28, 28, 1], [10_000]]
    assert found["types"] == ["uint8", "int32", "uint8", "int32"]
    # The class counts of the published files, and the moments that everyone standardizes MNIST with.
    assert found["counts"] == [
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ]
    np.testing.assert_allclose(found["moments"], [0.1307, 0.3081], atol=5e-5)


@pytest.mark.slow
@pytest.mark.skipif(not PREPARED, reason="JAXALIGN_TFDS_DIR is not set")
def test_cifar10_has_three_channels_and_the_moments_that_were_published():
    images = datasets.load("cifar10", PREPARED)
    assert images.train_images.shape[1:] == images.test_images.shape[1:] == (32, 32, 3)
    pixels = images.train_images
    assert same_moments(images, pixels.mean((0, 1, 2)), pixels.std((0, 1, 2)))
    # Of all 50,000 images; a subset deviates by up to a hundredth.
    np.testing.assert_allclose(images.pixel_mean / 255, [0.4914, 0.4822, 0.4465], atol=0.01)
    np.testing.assert_allclose(images.pixel_std / 255, [0.2470, 0.2435, 0.2616], atol=0.01)
    counts = np.bincount(images.train_labels)
    assert len(counts) == 10 and (counts == counts[0]).all()


def same_moments(images, mean, std):
    return np.allclose(images.pixel_mean, mean, rtol=1e-5) and np.allclose(images.pixel_std, std, rtol=1e-5)
