"""DADApy's information imbalance of the first of some representations with each of the others, both ways, timed.

    PYTHON dadapy_pairs.py REPRESENTATIONS.npy REPEATS

Runs in an interpreter that has DADApy, and prints JSON. The imbalances are computed in two ways. "call" is the one
call that DADApy has for two sets of coordinates, which finds the neighbours of both each time. "shared" finds the
neighbours of each representation once, and compares pairs by the function inside that call: the most that DADApy's
parts can save when all pairs of many representations are compared.
"""

import json
import sys
import time

import dadapy
import numpy as np
from dadapy._utils.metric_comparisons import _return_imbalance


def main() -> None:
    representations = np.load(sys.argv[1]).astype(np.float64)
    members, n, d = representations.shape
    call, neighbours, pairs, values = [], [], [], []
    for _ in range(int(sys.argv[2])):
        both = dadapy.MetricComparisons(coordinates=np.concatenate(list(representations[:2]), axis=1), maxk=n - 1)
        start = time.perf_counter()
        values = both.return_inf_imb_two_selected_coords(list(range(d)), list(range(d, 2 * d)))
        call.append((time.perf_counter() - start) / 2)
        start = time.perf_counter()
        spaces = [dadapy.MetricComparisons(coordinates=x, maxk=n - 1) for x in representations]
        for space in spaces:
            space.compute_distances()
        neighbours.append((time.perf_counter() - start) / members)
        start = time.perf_counter()
        first, *others = (space.dist_indices for space in spaces)
        shared = [_return_imbalance(a, b, spaces[0].rng) for o in others for a, b in ((first, o), (o, first))]
        pairs.append((time.perf_counter() - start) / len(shared))
        assert np.allclose(shared[:2], values)
    seconds = {"call": min(call), "neighbours": min(neighbours), "pair": min(pairs)}
    print(json.dumps({"seconds": seconds, "values": [float(value) for value in values]}))


if __name__ == "__main__":
    main()
