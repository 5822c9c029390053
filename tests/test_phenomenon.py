"""What jaxalign exists to show: alignment against the signal-to-noise ratio and the sample size."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxalign
from jaxalign import MLP, ImageTask, LinearNetwork, LinearTeacher, MinNorm, SweepConfig, Training, theory
from jaxalign.ensemble import draw_group
from jaxalign.ensemble.closed_form import filtered_least_squares


@pytest.mark.slow
def test_quickstart():
    summary = jaxalign.summarize(jaxalign.run_sweep("quickstart", progress=False)).squeeze()
    cce, sizes = summary["cce"].values, summary["n_train"].values
    for level in range(3):
        weakest = int(np.argmax(cce[level]))
        assert 0 < weakest < len(sizes) - 1
        assert 0.7 < summary["train_accuracy"][level, weakest] < 1
        assert np.all(np.diff(cce[level, : weakest + 1]) > 0), "alignment weakens with every sample added"
        assert summary["test_error"][level, weakest] < summary["test_error"][level, 0], "while the test error improves"
    between = (sizes >= 100) & (sizes <= 1000)
    assert between.sum() >= 4 and np.all(np.diff(cce[:, between], axis=0) > 0), "ordered by label noise"


def mean_prediction(config):
    """Mean over pairs of members of the theory at their overlap, and the mean overlap; (replicate, snr, n_train)."""
    off = ~np.eye(config.members, dtype=bool)
    predicted, overlaps = np.zeros((2, config.replicates, len(config.noise), len(config.n_train)))
    for replicate in range(config.replicates):
        data = draw_group(
            config.task,
            seed=config.seed,
            replicate=replicate,
            noise=config.noise,
            members=config.members,
            rows=max(config.n_train),
            probes=config.probes,
            shared_inputs=True,
            shared_init=True,
            shared_batches=True,
        )
        for at, n in enumerate(config.n_train):
            solve = jax.vmap(
                lambda y, n=n, x=data.drawn: filtered_least_squares(
                    MinNorm(), x[:n], y[:n], jnp.int32(n), jnp.float32(1.0)
                )
            )
            w = np.asarray(solve(data.targets), float).reshape(len(config.noise), config.members, -1)
            w /= np.linalg.norm(w, axis=-1, keepdims=True)
            rho = (w @ w.transpose(0, 2, 1))[:, off]
            overlaps[replicate, :, at] = rho.mean(-1)
            predicted[replicate, :, at] = theory.conditional_copula_entropy(np.abs(rho)).mean(-1)
    return predicted, overlaps


@pytest.mark.slow
def test_solved_linear_networks_follow_the_theory():
    sizes = (20, 50, 80, 100, 120, 200, 500)
    config = SweepConfig(
        task=LinearTeacher(dim=100),
        networks=(LinearNetwork(hidden=20),),
        noise=(0.5, 1.0, 5.0),
        n_train=sizes,
        members=20,
        replicates=5,
    )
    dataset = jaxalign.run_sweep(config, progress=False)
    summary = jaxalign.summarize(dataset).squeeze()
    predicted, overlaps = mean_prediction(config)
    far = [sizes.index(n) for n in (20, 50, 200, 500)]
    z = ((summary["cce"] - predicted.mean(0)) / summary["cce_stderr"]).values[:, far]
    assert np.abs(z).max() < 3
    limit = theory.overlap(dataset["alpha"].values, dataset["snr"].values[:, None])
    stderr = overlaps.std(0, ddof=1) / np.sqrt(config.replicates)
    # At dim 100 the limit is off by a few per cent: (d - n) / (d - n - 1) in the noise.
    assert np.all(np.abs(overlaps.mean(0) - limit)[:, far] < 4 * stderr[:, far] + 0.02)
    error = theory.generalization_error(dataset["alpha"].values, dataset["snr"].values[:, None])
    z = ((summary["test_error"] - error) / summary["test_error_stderr"]).values[:, far]
    assert np.abs(z).max() < 6 and np.median(np.abs(z)) < 2.5


@pytest.mark.slow
@pytest.mark.skipif("JAXALIGN_TFDS_DIR" not in os.environ, reason="MNIST is not prepared")
def test_mnist():
    sizes = (100, 300, 1000, 2000, 3000, 4000, 6000, 8000, 16000)
    config = SweepConfig(
        task=ImageTask("mnist"),
        networks=(MLP(hidden=16),),
        noise=(0.4,),
        n_train=sizes,
        members=8,
        training=Training(steps=8000, batch_size=128),
    )
    summary = jaxalign.summarize(jaxalign.run_sweep(config, progress=False)).squeeze()
    assert summary["test_error"].sel(n_train=16000) < 0.2
    assert 2000 <= summary["n_train"][int(np.argmax(summary["cce"].values))] <= 8000


def test_independent_representations_are_at_zero():
    pairs = np.random.default_rng(0).normal(size=(12, 1000, 10)).astype(np.float32)
    matrix = jaxalign.alignment.all_pairs(pairs, ("cce",))["cce"]
    off = matrix[~np.eye(12, dtype=bool)]
    assert abs(off.mean()) < 0.003 and np.abs(off).max() < 0.03 and np.mean(np.abs(off) < 0.01) > 0.9
