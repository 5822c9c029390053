"""Classification of images with label noise."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxalign import checks
from jaxalign.streams import draw_rows
from jaxalign.tasks import datasets
from jaxalign.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class ImageTask(Task):
    """Image classification with label noise.

    The noise level is the label noise p: with probability p a training label is replaced by a class drawn uniformly
    from all C classes. The drawn class may be the true one, so the corrupted fraction is p (1 - 1/C). Test labels
    stay clean, and errors are fractions of wrong answers. Images are standardized by the mean and the standard
    deviation of all training pixels together.

    A replicate trains on the first rows of its own random order of the training images; the probes are the first
    test images in a random order, which no network is trained on.

    Attributes:
      name: "digits" (scikit-learn's embedded 8x8 handwritten digits: 1397 for training, 400 held out) or "mnist"
        (60,000 and 10,000 28x28 images, through TensorFlow Datasets but without TensorFlow).
      data_dir: the folder of prepared TensorFlow Datasets. None means the environment variable
        JAXALIGN_TFDS_DIR or, where that is not set, TensorFlow Datasets' own default (~/tensorflow_datasets).

    Raises:
      ValueError: if `name` is unknown or `data_dir` is not a string.
    """

    name: str
    # Where the data lies is no part of what is learned: it enters neither equality nor the stored configuration.
    data_dir: str | None = dataclasses.field(default=None, compare=False)

    noise_name: ClassVar[str] = "label_noise"
    output_layer: ClassVar[str] = "logits"
    classification: ClassVar[bool] = True

    def __post_init__(self) -> None:
        checks.choice("name", self.name, datasets.DATASETS)
        if self.data_dir is not None and not isinstance(self.data_dir, str):
            checks.reject("data_dir", "None or the path of a folder as a string", self.data_dir)

    @property
    def _info(self) -> datasets.DatasetInfo:
        return datasets.DATASETS[self.name]

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._info.image_shape

    @property
    def n_outputs(self) -> int:
        return self._info.n_classes

    @property
    def n_train_available(self) -> int:
        return self._info.n_train

    @property
    def n_probes_available(self) -> int:
        return self._info.n_test

    def check_noise(self, levels: Any) -> tuple[float, ...]:
        return checks.reals("noise", levels, "label-noise fractions", 0.0, 1.0)

    def clean_train_error(self, level: float) -> float:
        return level * (1.0 - 1.0 / self.n_outputs)

    def load(self, key: Key[Array, ""]) -> datasets.Images:
        return jax.device_put(datasets.load(self.name, self.data_dir))

    def draw_inputs(self, world: datasets.Images, key: Key[Array, ""], n: int) -> Int[Array, " n"]:
        return jax.random.permutation(key, self.n_train_available)[:n]

    def inputs(self, world: datasets.Images, drawn: Int[Array, " rows"]) -> Float[Array, "rows ..."]:
        return self._standardize(world, world.train_images[drawn])

    def clean_targets(self, world: datasets.Images, drawn: Int[Array, " rows"]) -> Int[Array, " rows"]:
        return world.train_labels[drawn]

    def corrupt(self, key: Key[Array, ""], clean: Array, level: float | Array) -> Int[Array, " rows"]:
        def draw(row_key: Key[Array, ""]) -> tuple[Array, Array]:
            flip_key, class_key = jax.random.split(row_key)
            return jax.random.uniform(flip_key), jax.random.randint(class_key, (), 0, self.n_outputs, clean.dtype)

        uniform, drawn_class = draw_rows(key, len(clean), draw)
        return jnp.where(uniform < level, drawn_class, clean)

    def test_set(self, world: datasets.Images, key: Key[Array, ""], probes: int) -> tuple[Array, Array]:
        order = jax.random.permutation(key, self.n_probes_available)
        return self._standardize(world, world.test_images[order]), world.test_labels[order]

    def loss(self, output: Array, targets: Array) -> Float[Array, " rows"]:
        return optax.softmax_cross_entropy_with_integer_labels(output, targets)

    def error(self, output: Array, targets: Array) -> Float[Array, " rows"]:
        return (jnp.argmax(output, axis=-1) != targets).astype(output.dtype)

    def _standardize(self, world: datasets.Images, pixels: Array) -> Float[Array, "rows ..."]:
        return (pixels.astype(jnp.float32) - world.pixel_mean) / world.pixel_std
