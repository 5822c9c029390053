import http.server
import json
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

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


@pytest.mark.parametrize("load", [load_mnist, load_mnist_task])
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
    assert other not in message


def test_the_host_of_the_data_set_is_asked_for_before_a_download(offline, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(datasets, "_reachable", asked.append)
    with pytest.raises(FileNotFoundError):
        datasets.load("mnist", str(tmp_path))
    assert asked == [datasets.DATASETS["mnist"].download_url]


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


def test_a_data_set_of_another_size_is_refused(monkeypatch):
    monkeypatch.setitem(datasets.DATASETS, "digits", datasets.DATASETS["digits"]._replace(n_test=401))
    datasets._read.cache_clear()
    with pytest.raises(ValueError, match=r"the test split of digits must have shape \(401, 8, 8, 1\), got \(400, 8, 8"):
        datasets.load("digits")


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
    assert imported_tfds and not imported_tensorflow
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
