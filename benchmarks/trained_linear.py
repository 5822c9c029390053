"""When a trained two-layer linear network follows the theory: small against standard initialization.

    python -m benchmarks.trained_linear

y = W2 W1 x is trained by full-batch gradient descent to its global minimum, and compared on the same draws with the
solved network (`solver=MinNorm()`), which is balanced: W1^T W1 = (W^T W)^(1/2). The layer "output" sees the end-to-end
map W = W2 W1 alone; the layer "hidden" sees W1, which W does not determine. Gradient descent conserves what the
initial weights have of imbalance, so that the hidden layer follows the theory only if it is negligible there: weights
of scale a in k units must stay below the spacing of neighbours among N probes, a sqrt(2 d (k - 1)) << sqrt|w| / N.

"theory" is `jaxalign.predict`, a limit of large dim up to O(1/dim); "solved" is the same law at this dim and these
draws, and what the trained networks are to be held against. Below the interpolation threshold (n_train < dim) there
is one more effect: the data do not see d - n directions, along which the map keeps its initial value. It is that of the
initialization, not of the layer: there even the output follows the theory only from a small initialization.
"""

import argparse
import dataclasses
import time

import numpy as np

import jaxalign
from jaxalign import LinearNetwork, LinearTeacher, MinNorm, SweepConfig, Training

SOLVED, TRAINED = LinearNetwork(10, MinNorm()), LinearNetwork(10, None)
# The factor on LeCun normal weights, and whether the members start from the same ones.
STARTS = ((1e-5, True), (1e-5, False), (1e-2, True), (1e-2, False), (1.0, True), (1.0, False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=24)
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    parser.add_argument("--replicates", type=int, default=6)
    arguments = parser.parse_args()
    start = time.perf_counter()
    base = SweepConfig(
        task=LinearTeacher(dim=arguments.dim),
        networks=(SOLVED, TRAINED),
        noise=(2.0,),
        n_train=(arguments.dim // 2, 3 * arguments.dim),
        members=4,
        replicates=arguments.replicates,
        probes=300,
        metrics=("cce", "linear_cka"),
    )
    print("conditional copula entropy, mean and standard error over replicates; largest |trained - solved| of a pair")
    print(f"\n{'n_train':>7}{'layer':>8}{'init_scale':>11}{'init':>13}{'theory':>9}", end="")
    print(f"{'solved':>17}{'trained':>17}{'largest':>9}{'CKA solved':>12}{'trained':>9}{'excess loss':>13}")
    for layer in ("hidden", "output"):
        for scale, shared in STARTS:
            training = Training("sgd", arguments.learning_rate, steps=arguments.steps, init_scale=scale)
            show(dataclasses.replace(base, layer=layer, training=training, shared_init=shared))
    print(f"\n{time.perf_counter() - start:.0f} s")


def show(config: SweepConfig) -> None:
    dataset = jaxalign.run_sweep(config, progress=False)
    summary, theory = jaxalign.summarize(dataset), jaxalign.predict(config)
    loss = dataset["train_error"]
    for n in config.n_train:
        at = {"n_train": n, "snr": config.noise[0]}
        values = []
        for network in (SOLVED, TRAINED):
            pair = {"network_a": str(network), "network_b": str(network)}
            values.append([float(summary[name].sel(at | pair)) for name in ("cce", "cce_stderr", "linear_cka")])
        matrices = dataset["cce"].sel(at).values
        largest = np.nanmax(np.abs(matrices[:, 1, :, 1] - matrices[:, 0, :, 0]))
        excess = float((loss.sel(at)[1] - loss.sel(at)[0]).max())
        (solved, solved_error, solved_cka), (trained, trained_error, trained_cka) = values
        print(
            f"{n:7}{config.layer:>8}{config.training.init_scale:11g}"
            f"{'shared' if config.shared_init else 'independent':>13}{float(theory['cce'].sel(at)[0, 0]):9.3f}"
            f"{solved:9.3f} ±{solved_error:6.3f}{trained:9.3f} ±{trained_error:6.3f}{largest:9.3f}"
            f"{solved_cka:12.3f}{trained_cka:9.3f}{excess:13.1e}"
        )


if __name__ == "__main__":
    main()
