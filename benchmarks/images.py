"""Images for the benchmarks of training: those of a data set, or random ones of the same shape."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxalign import ImageTask
from jaxalign.tasks import Task
from jaxalign.tasks.datasets import Images

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3)}
_CLASSES, _TEST_ROWS = 10, 16


@dataclasses.dataclass(frozen=True)
class LossTask(Task):
    """Label noise on images in memory, as that of an `ImageTask`; the error that it reports is the training loss.

    All members train on all images of `world`.
    """

    data: str
    world: Images = dataclasses.field(compare=False, repr=False)

    noise_name: ClassVar[str] = "label_noise"
    output_layer: ClassVar[str] = "logits"
    classification: ClassVar[bool] = True

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self.world.train_images.shape[1:]

    @property
    def n_outputs(self) -> int:
        return _CLASSES

    def check_noise(self, levels: Any) -> tuple[float, ...]:
        return tuple(levels)

    def clean_train_error(self, level: float) -> float:
        return float("nan")

    def load(self, key):
        return jax.device_put(self.world)

    def draw_inputs(self, world, key, n):
        return jnp.arange(n)

    def inputs(self, world, drawn):
        return self._standardize(world, world.train_images[drawn])

    def clean_targets(self, world, drawn):
        return world.train_labels[drawn]

    def corrupt(self, key, clean, level):
        flip_key, class_key = jax.random.split(key)
        drawn_class = jax.random.randint(class_key, clean.shape, 0, self.n_outputs, clean.dtype)
        return jnp.where(jax.random.uniform(flip_key, clean.shape) < level, drawn_class, clean)

    def test_set(self, world, key, probes):
        return self._standardize(world, world.test_images), world.test_labels

    def loss(self, output, targets):
        return optax.softmax_cross_entropy_with_integer_labels(output, targets)

    def error(self, output, targets):
        return self.loss(output, targets)

    def _standardize(self, world, pixels):
        return (pixels.astype(jnp.float32) - world.pixel_mean) / world.pixel_std


def image_task(name: str, rows: int, random: bool) -> LossTask:
    """The first `rows` training images of "mnist" or "cifar10", or random ones where those are not to be had."""
    if not random:
        try:
            world = jax.device_get(ImageTask(name).load(jax.random.key(0)))
        except (ValueError, FileNotFoundError) as error:
            print(f"{name} is not to be had, so images are random: {str(error).split('. ')[0]}\n")
        else:
            train, test = slice(rows), slice(_TEST_ROWS)
            first = {"train_images": world.train_images[train], "train_labels": world.train_labels[train]}
            first |= {"test_images": world.test_images[test], "test_labels": world.test_labels[test]}
            return LossTask(name, world._replace(**first))
    return LossTask(f"random images as those of {name}", _random_images(SHAPES[name], rows))


def _random_images(shape: tuple[int, ...], rows: int) -> Images:
    """Bytes: a random image for each class, and noise on it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, _CLASSES, rows + _TEST_ROWS).astype(np.int32)
    mean = rng.uniform(96, 160, (_CLASSES, *shape))
    images = (mean[labels] + rng.uniform(-96, 96, (len(labels), *shape))).astype(np.uint8)
    mean, std = np.float32(images.mean()), np.float32(images.std())
    return Images(images[:rows], labels[:rows], images[rows:], labels[rows:], mean, std)
