"""Every measure of matrices and of shapes against float64, on representations as trained networks have them."""

import alignment_oracles as oracle
import numpy as np
import pytest

from jaxalign.alignment import all_pairs


def check(n, names):
    wrong = {}
    for case, pair in oracle.trained_like(n).items():
        # Zeros, which change no measure, leave two shapes to compile: of few columns and of many.
        width = 6 if pair[0].shape[1] <= 6 else 64
        found = all_pairs([np.pad(x, [(0, 0), (0, width - x.shape[1])]) for x in pair], names)
        for name in names:
            if name == "pwcca" and oracle.variates_are_tied(*pair):
                continue
            value, expected = found[name][0, 1], oracle.BY_NAME[name](*pair)
            if not np.isclose(value, expected, rtol=0, atol=1e-4, equal_nan=True):
                wrong[case, name] = float(value), float(expected)
    assert not wrong


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value")
def test_few_probes():
    check(50, tuple(oracle.BY_NAME))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:invalid value")
def test_many_probes():
    check(1000, tuple(oracle.BY_NAME))
