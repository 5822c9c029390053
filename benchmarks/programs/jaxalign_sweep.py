"""The experiment of `benchmarks.sweep` by jaxalign.

    PYTHON jaxalign_sweep.py EXPERIMENT.json RESULT.npz [--again 3]

Prints the seconds of its parts as JSON; with `--again` also those of further runs of the sweep in the same process,
whose programs are compiled already.
"""

import argparse
import json
import time

import numpy as np

import jaxalign


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("result")
    parser.add_argument("--again", type=int, default=0)
    options = parser.parse_args()
    with open(options.experiment) as file:
        experiment = json.load(file)

    config = jaxalign.SweepConfig(
        task=jaxalign.LinearTeacher(dim=experiment["dim"]),
        networks=(jaxalign.MLP(hidden=experiment["hidden"]),),
        noise=tuple(experiment["snr"]),
        n_train=tuple(experiment["n_train"]),
        members=experiment["members"],
        replicates=experiment["replicates"],
        seed=experiment["seed"],
        training=jaxalign.Training("adam", experiment["learning_rate"], steps=experiment["steps"]),
        probes=experiment["probes"],
        metrics=("information_imbalance", "cce"),
    )
    runs = []
    for _ in range(1 + options.again):
        start = time.perf_counter()
        dataset = jaxalign.run_sweep(config, progress=False)
        runs.append(time.perf_counter() - start)
    names = ("test_error", "information_imbalance", "cce")
    arrays = {name: dataset[name].isel(network=0) for name in names[:1]}
    arrays |= {name: dataset[name].isel(network_a=0, network_b=0) for name in names[1:]}
    np.savez(options.result, **{name: array.values for name, array in arrays.items()})
    print(json.dumps({"first": runs[0], "again": runs[1:]}))


if __name__ == "__main__":
    main()
