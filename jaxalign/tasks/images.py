"""Classification of images with noise on the labels or on the inputs."""

import dataclasses
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxalign import checks
from jaxalign.streams import draw_rows
from jaxalign.tasks import datasets, label_noise, splits
from jaxalign.tasks.arrays import ArraysInfo, check_arrays
from jaxalign.tasks.base import Task

GAUSSIAN_INPUTS = "gaussian_inputs"
_PROCESSES = (*label_noise.PROCESSES, GAUSSIAN_INPUTS)


@dataclasses.dataclass(frozen=True)
class ImageTask(Task):
    """Image classification with noise on the training labels, or on the training inputs.

    Images are standardized per channel: minus the mean and divided by the standard deviation of all training pixels
    of that channel, over the kept classes; for gray images, and for rows of features, that is one number each. A
    constant channel is divided by 1. Images of the user's own are standardized by their own training images.

    The noise level is, by `noise_process`, with C classes:

    - "symmetric": the label noise p. With probability p a training label is replaced by a class drawn uniformly from
      all C, which may be the true one: the corrupted fraction is p (1 - 1/C).
    - "pairwise": the label noise p. With probability p class c becomes c + 1 modulo C; the corrupted fraction is p.
    - "asymmetric": the label noise p. With probability p a label c is replaced by a draw from row c of the matrix T
      given as `transitions`; the corrupted fraction is p mean_c (1 - T_cc), the classes equally weighted.
    - "gaussian_inputs": the signal-to-noise ratio SNR = Var[pixel] / Var[noise]. Standardized pixels have variance 1
      in every channel, and every pixel of every training image gets noise from N(0, 1 / SNR), drawn once for each
      member. Labels are clean; an SNR of infinity means clean images.

    One uniform number for each row decides whether its label is replaced, the same in all label processes and at all
    levels. Test images and labels stay clean, and errors are fractions of wrong answers.

    A replicate trains on the first rows of its own random order of the training images; the probes are the first
    test images in a random order, which no network is trained on.

    Attributes:
      name: "digits" (scikit-learn's embedded 8x8 handwritten digits: 1397 for training, 400 held out), or through
        TensorFlow Datasets, but without TensorFlow, "mnist" and "fashion_mnist" (60,000 and 10,000 28x28 images) or
        "cifar10" (50,000 and 10,000 32x32 images of 3 channels). A prepared folder may hold fewer of them.
      data_dir: the folder of prepared TensorFlow Datasets, of file format array_record. None means the environment
        variable JAXALIGN_TFDS_DIR or, where that is not set, TensorFlow Datasets' own default
        (~/tensorflow_datasets).
      classes: at least 2 classes that are kept; class `classes[i]` gets the label i. None keeps all.
      noise_process: one of the above.
      transitions: C rows of C probabilities, each row of sum 1; for "asymmetric" noise alone.
      download: whether a data set that is not prepared is downloaded into the folder.
      arrays: what is known of images of the user's own; None for the named data sets. See `from_arrays`.
      data: those images; they take part in comparisons only by the digest in `arrays`.

    Raises:
      ValueError: if `name` or `noise_process` is unknown, if `data_dir` is not a string or `download` not a bool, if
        `classes` are not distinct classes, or if `transitions` are missing, not wanted, or no stochastic matrix.

    Example:
      >>> from jaxalign import ImageTask
      >>> task = ImageTask("digits", classes=(3, 5), noise_process="pairwise")
      >>> task.input_shape, task.n_outputs, task.noise_name
      ((8, 8, 1), 2, 'label_noise')
    """

    name: str
    # Where the data lies is no part of what is learned: it enters neither equality nor the stored configuration.
    data_dir: str | None = dataclasses.field(default=None, compare=False)
    classes: tuple[int, ...] | None = None
    noise_process: str = label_noise.SYMMETRIC
    transitions: label_noise.Transitions | None = None
    download: bool = dataclasses.field(default=False, compare=False)
    arrays: ArraysInfo | None = None
    data: tuple[splits.Split, splits.Split] | None = dataclasses.field(default=None, compare=False, repr=False)

    output_layer: ClassVar[str] = "logits"
    classification: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.arrays is None:
            checks.choice("name", self.name, datasets.DATASETS)
        elif not isinstance(self.name, str) or not self.name:
            checks.reject("name", "a non-empty string", self.name)
        if self.data_dir is not None and not isinstance(self.data_dir, str):
            checks.reject("data_dir", "None or the path of a folder as a string", self.data_dir)
        checks.boolean("download", self.download)
        if self.classes is not None:
            object.__setattr__(self, "classes", _check_classes(self.classes, self._info.n_classes))
        checks.choice("noise_process", self.noise_process, _PROCESSES)
        if self.noise_process == label_noise.ASYMMETRIC:
            transitions = label_noise.check_transitions(self.transitions, self.n_outputs)
            object.__setattr__(self, "transitions", transitions)
        elif self.transitions is not None:
            checks.reject("transitions", f"None for {self.noise_process} noise", self.transitions)

    @classmethod
    def from_arrays(
        cls,
        x_train: Any,
        y_train: Any,
        x_test: Any,
        y_test: Any,
        name: str = "arrays",
        *,
        classes: tuple[int, ...] | None = None,
        noise_process: str = label_noise.SYMMETRIC,
        transitions: label_noise.Transitions | None = None,
    ) -> Self:
        """A task of the user's own images, which are copied.

        The task is hashed, compared and stored by a digest of the arrays. One that was read from a file knows the
        digest but has no images: it can be compared, not loaded.

        Args:
          x_train: uint8 or finite floating-point images, kept as uint8 or float32, of shape (n, height, width,
            channels), (n, height, width), which gets one channel, or (n, features).
          y_train: (n,) integer labels from 0 to C - 1, every class present, at least 2.
          x_test: the held-out images, of the same shape and type.
          y_test: their labels, below C.
          name: how the data set is called.
          classes: as in the attributes of the class, and so are the following.
          noise_process: see there.
          transitions: see there.

        Raises:
          ValueError: if an array is of another type or shape, is empty, not finite, or of another length.

        Example:
          >>> import numpy as np
          >>> from jaxalign import ImageTask
          >>> rng = np.random.default_rng(0)
          >>> x, y = rng.normal(size=(300, 8)), rng.integers(0, 3, 300)
          >>> task = ImageTask.from_arrays(x[:200], y[:200], x[200:], y[200:])
          >>> task.input_shape, task.n_outputs, task.n_train_available, task.n_probes_available
          ((8,), 3, 200, 100)
        """
        info, data = check_arrays(x_train, y_train, x_test, y_test)
        return cls(name, classes=classes, noise_process=noise_process, transitions=transitions, arrays=info, data=data)

    @property
    def _info(self) -> datasets.DatasetInfo | ArraysInfo:
        return datasets.DATASETS[self.name] if self.arrays is None else self.arrays

    @property
    def noise_name(self) -> str:
        return "snr" if self.noise_on_inputs else "label_noise"

    @property
    def noise_on_inputs(self) -> bool:
        return self.noise_process == GAUSSIAN_INPUTS

    @property
    def input_shape(self) -> tuple[int, ...]:
        return self._info.image_shape

    @property
    def n_outputs(self) -> int:
        return self._info.n_classes if self.classes is None else len(self.classes)

    @property
    def n_train_available(self) -> int:
        return self._info.n_train

    @property
    def n_probes_available(self) -> int:
        return self._info.n_test

    def check_noise(self, levels: Any) -> tuple[float, ...]:
        if self.noise_on_inputs:
            return checks.signal_to_noise_ratios("noise", levels)
        return checks.reals("noise", levels, "label-noise fractions", 0.0, 1.0)

    def clean_train_error(self, level: float) -> float:
        if self.noise_on_inputs:
            return 0.0
        return label_noise.corrupted_fraction(self.noise_process, self.transitions, self.n_outputs, level)

    def load(self, key: Key[Array, ""]) -> splits.Images:
        if self.arrays is None:
            images = datasets.load(self.name, self.data_dir, classes=self.classes, download=self.download)
        elif self.data is None:
            raise FileNotFoundError(
                f"the images of the task {self.name!r} (digest {self.arrays.digest}) are not stored with its "
                f"configuration: pass the same arrays to ImageTask.from_arrays"
            )
        else:
            images = splits.assemble(*self.data, self.classes)
        return jax.device_put(images)

    def check_available(self, world: splits.Images, n_train: int, probes: int) -> None:
        of = f"of {self.name!r}"
        if self.classes is not None:
            of += f" in the classes {self.classes}"
        if self.arrays is None and self.name != "digits":
            of += f" in {datasets.data_folder(self.data_dir)}"
        for name, asked, labels, which in (
            ("n_train", n_train, world.train_labels, "training"),
            ("probes", probes, world.test_labels, "test"),
        ):
            if asked > len(labels):
                checks.reject(name, f"at most {len(labels)}, the number of {which} images {of}", asked)

    def draw_inputs(self, world: splits.Images, key: Key[Array, ""], n: int) -> Int[Array, " n"]:
        return jax.random.permutation(key, len(world.train_labels))[:n]

    def inputs(self, world: splits.Images, drawn: Int[Array, " rows"]) -> Float[Array, "rows ..."]:
        return self._standardize(world, world.train_images[drawn])

    def noisy_inputs(
        self,
        world: splits.Images,
        drawn: Int[Array, " rows"],
        key: Key[Array, ""],
        level: float | Float[Array, ""],
        rows: Int[Array, " rows"] | None = None,
    ) -> Float[Array, "rows ..."]:
        clean = self.inputs(world, drawn)
        if not self.noise_on_inputs:
            return clean

        def draw(row_key: Key[Array, ""]) -> Float[Array, "..."]:
            return jax.random.normal(row_key, self.input_shape)

        if rows is None:
            noise = draw_rows(key, len(drawn), draw)
        else:
            noise = jax.vmap(lambda row: draw(jax.random.fold_in(key, row)))(rows)
        return clean + noise * jax.lax.rsqrt(jnp.asarray(level, clean.dtype))

    def clean_targets(self, world: splits.Images, drawn: Int[Array, " rows"]) -> Int[Array, " rows"]:
        return world.train_labels[drawn]

    def corrupt(self, key: Key[Array, ""], clean: Array, level: float | Array) -> Int[Array, " rows"]:
        if self.noise_on_inputs:
            return clean
        return label_noise.corrupt(self.noise_process, self.transitions, self.n_outputs, key, clean, level)

    def test_set(self, world: splits.Images, key: Key[Array, ""], probes: int) -> tuple[Array, Array]:
        order = jax.random.permutation(key, len(world.test_labels))
        return self._standardize(world, world.test_images[order]), world.test_labels[order]

    def loss(self, output: Array, targets: Array) -> Float[Array, " rows"]:
        return optax.softmax_cross_entropy_with_integer_labels(output, targets)

    def error(self, output: Array, targets: Array) -> Float[Array, " rows"]:
        return (jnp.argmax(output, axis=-1) != targets).astype(output.dtype)

    def _standardize(self, world: splits.Images, pixels: Array) -> Float[Array, "rows ..."]:
        def per_channel(moment: Array) -> Array:
            return moment if moment.ndim == 0 else moment.reshape((1,) * (pixels.ndim - 1) + (-1,))

        centred = pixels.astype(jnp.float32) - per_channel(world.pixel_mean)
        return centred / per_channel(world.pixel_std)


def _check_classes(classes: Any, n_classes: int) -> tuple[int, ...]:
    items = checks.sequence("classes", classes, f"classes from 0 to {n_classes - 1}")
    kept = tuple(checks.integer(f"classes[{i}]", item, 0, n_classes - 1) for i, item in enumerate(items))
    if len(kept) < 2:
        checks.reject("classes", "at least 2 classes", kept)
    return kept
