"""The experiment of `benchmarks.sweep` written plainly in PyTorch and DADApy, without jaxalign.

    PYTHON torch_dadapy_sweep.py EXPERIMENT.json RESULT.npz [--processes 2] [--share-neighbours]

Runs in an interpreter that has torch and DADApy, and prints the seconds of its parts as JSON. A perceptron with ReLU
learns a linear teacher from noisy targets; for every replicate, SNR and sample size its members differ by their
noise. Every ordered pair of members is compared by the information imbalance and the conditional copula entropy (CCE)
of their hidden layers on common probes.

By default it is what one would write first: one process with torch's own number of threads, and DADApy's call for two
sets of coordinates. With `--processes` replicates are shared among processes (OMP_NUM_THREADS=1 gives each a core),
and with `--share-neighbours` DADApy finds the neighbours of each member once instead of once for each pair.
"""

import argparse
import itertools
import json
import multiprocessing
import time

import dadapy
import numpy as np
import torch
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment")
    parser.add_argument("result")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--share-neighbours", action="store_true")
    options = parser.parse_args()
    with open(options.experiment) as file:
        experiment = json.load(file)
    jobs = [(experiment, replicate, options.share_neighbours) for replicate in range(experiment["replicates"])]
    start = time.perf_counter()
    if options.processes == 1:
        results = [run_replicate(*job) for job in jobs]
    else:
        with multiprocessing.Pool(options.processes) as pool:
            results = pool.starmap(run_replicate, jobs, chunksize=1)
    names = ("test_error", "information_imbalance", "cce")
    np.savez(options.result, **{name: np.stack([result[name] for result in results]) for name in names})
    seconds = {name: sum(result["seconds"][name] for result in results) for name in ("train", "align")}
    print(json.dumps({"total": time.perf_counter() - start, **seconds}))


def run_replicate(experiment: dict, replicate: int, share_neighbours: bool) -> dict:
    """Arrays of the test errors (snr, n_train, member) and the measures (snr, n_train, member, member)."""
    torch.manual_seed(experiment["seed"] + replicate)
    dim, members, largest = experiment["dim"], experiment["members"], max(experiment["n_train"])
    teacher = nn.functional.normalize(torch.randn(dim, 1), dim=0)
    inputs = torch.randn(largest, dim)
    noise = torch.randn(members, largest, 1)
    test_inputs = torch.randn(max(1000, experiment["probes"]), dim)
    initial = perceptron(dim, experiment["hidden"]).state_dict()

    grid = (len(experiment["snr"]), len(experiment["n_train"]))
    test_error = np.zeros((*grid, members))
    measures = {name: np.full((*grid, members, members), np.nan) for name in ("information_imbalance", "cce")}
    seconds = {"train": 0.0, "align": 0.0}
    for (i, snr), (j, n) in itertools.product(enumerate(experiment["snr"]), enumerate(experiment["n_train"])):
        start = time.perf_counter()
        representations = []
        for m in range(members):
            model = perceptron(dim, experiment["hidden"])
            model.load_state_dict(initial)
            train(model, inputs[:n], inputs[:n] @ teacher + noise[m, :n] / snr**0.5, experiment)
            with torch.no_grad():
                test_error[i, j, m] = nn.functional.mse_loss(model(test_inputs), test_inputs @ teacher)
                representations.append(model[:2](test_inputs[: experiment["probes"]]).double().numpy())
        seconds["train"] += time.perf_counter() - start
        start = time.perf_counter()
        compare = compare_sharing if share_neighbours else compare_by_calls
        for name, matrix in compare(representations).items():
            measures[name][i, j] = matrix
        seconds["align"] += time.perf_counter() - start
    return {"test_error": test_error, **measures, "seconds": seconds}


def perceptron(dim: int, hidden: int) -> nn.Sequential:
    """Weights are LeCun normal, truncated at two standard deviations, and biases zero, as those of jaxalign."""
    model = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))
    for layer in (model[0], model[2]):
        # A normal distribution that is truncated so has 0.8796 of the standard deviation of the whole one.
        std = layer.in_features**-0.5 / 0.87962566
        nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
        nn.init.zeros_(layer.bias)
    return model


def train(model: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor, experiment: dict) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=experiment["learning_rate"])
    for _ in range(experiment["steps"]):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(inputs), targets).backward()
        optimizer.step()


def compare_by_calls(representations: list) -> dict:
    """All pairs, DADApy's call for the imbalance of each; the CCE from the order of the neighbours."""
    members, n = len(representations), len(representations[0])
    imbalance, cce = np.full((2, members, members), np.nan)
    orders = [neighbour_order(x) for x in representations]
    for a, b in itertools.combinations(range(members), 2):
        both = np.concatenate([representations[a], representations[b]], axis=1)
        columns = np.arange(both.shape[1])
        split = representations[a].shape[1]
        comparison = dadapy.MetricComparisons(coordinates=both, maxk=n - 1)
        values = comparison.return_inf_imb_two_selected_coords(list(columns[:split]), list(columns[split:]))
        imbalance[a, b], imbalance[b, a] = values
        cce[a, b] = conditional_copula_entropy(orders[a], orders[b])
        cce[b, a] = conditional_copula_entropy(orders[b], orders[a])
    return {"information_imbalance": imbalance, "cce": cce}


def compare_sharing(representations: list) -> dict:
    """The same, with the neighbours of each member found once by DADApy, and both measures from the ranks."""
    members, n = len(representations), len(representations[0])
    imbalance, cce = np.full((2, members, members), np.nan)
    orders = [neighbour_order(x) for x in representations]
    for a, b in itertools.permutations(range(members), 2):
        imbalance[a, b] = 2 / n * neighbour_ranks(orders[a], orders[b]).mean()
        cce[a, b] = conditional_copula_entropy(orders[a], orders[b])
    return {"information_imbalance": imbalance, "cce": cce}


def neighbour_order(representation: np.ndarray) -> np.ndarray:
    """(N, N - 1) indices: row i has all others, nearest first."""
    space = dadapy.MetricComparisons(coordinates=representation, maxk=len(representation) - 1)
    space.compute_distances()
    # A probe comes first in its own row, unless another one has the same representation.
    others = space.dist_indices != np.arange(len(representation))[:, None]
    return space.dist_indices[others].reshape(len(representation), -1)


def neighbour_ranks(order_a: np.ndarray, order_b: np.ndarray) -> np.ndarray:
    """The rank in B, 1 to N - 1, of the nearest neighbour in A of each probe."""
    return 1 + np.nonzero(order_b == order_a[:, :1])[1]


def conditional_copula_entropy(order_a: np.ndarray, order_b: np.ndarray) -> float:
    """The entropy of c = rank / (N - 1) in nats, from bins that grow geometrically from the smallest rank on.

    Its bias is removed by a delete-one jackknife, with what neighbours that are each other's nearest add to it.
    """
    n = len(order_a)
    edges, width = [0, 1], 1.0
    while edges[-1] < n - 1:
        width = min(max(1.2, 1 + 2 / n**0.5) * width, max((n - 1) / 20, n**0.5))
        edges.append(edges[-1] + max(1, round(width)))
    if n - 1 - edges[-2] < (edges[-1] - edges[-2]) / 2:
        edges.pop()
    edges[-1] = n - 1

    bins = np.digitize(neighbour_ranks(order_a, order_b) - 1, edges) - 1
    counts = np.bincount(bins, minlength=len(edges) - 1)
    q = counts / n
    occupied = counts > 0
    widths = np.diff(edges) / (n - 1)
    entropy = -np.sum(q[occupied] * np.log(q[occupied] / widths[occupied]))

    some = counts[occupied].astype(float)
    several = np.maximum(some, 2)
    weight = np.where(some > 1, several + several * (several - 1) * np.log1p(-1 / several), 1)
    alone = np.sum(weight * (1 - q[occupied]))
    nearest = order_a[:, 0]
    mutual = nearest[nearest] == np.arange(n)
    together = mutual & (bins == bins[nearest])
    in_pairs = (np.sum(1 / counts[bins[together]]) - mutual.mean()) / 2
    return float(entropy + (alone + in_pairs) / n)


if __name__ == "__main__":
    main()
