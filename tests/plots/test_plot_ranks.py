import numpy as np
import pytest
from scipy.spatial.distance import cdist

from jaxalign.alignment import conditional_copula_entropy, information_imbalance
from jaxalign.alignment.copula import log_bin_edges
from jaxalign.plots import plot_ranks


def stairs_of(axes):
    """The measured density, and its edges."""
    return axes.patches[-1].get_data()


def ranks(a, b):
    da, db = cdist(a, a), cdist(b, b)
    np.fill_diagonal(da, np.inf)
    nearest = da.argmin(1)
    rows = np.arange(len(a))
    np.fill_diagonal(db, np.inf)
    return (db < db[rows, nearest][:, None]).sum(1) + 1


def test_the_density_is_that_of_the_ranks(representations):
    a, b = representations["a"], representations["noisier"]
    axes = plot_ranks(a, b)
    data = stairs_of(axes)
    edges = log_bin_edges(200)
    counts = np.histogram(ranks(a, b), edges + 0.5)[0]
    np.testing.assert_allclose(data.values, counts / 200 / np.diff(edges / 199), rtol=1e-5)
    np.testing.assert_allclose(data.edges[1:], edges[1:] / 199)
    assert data.edges[0] == 0.5 / 199 and axes.get_xscale() == axes.get_yscale() == "log"
    entropy, imbalance = conditional_copula_entropy(a, b), information_imbalance(a, b)
    label = axes.patches[-1].get_label()
    assert label == f"A→B: CCE {float(entropy):.2f} nats, information imbalance {float(imbalance):.3f}"


def test_the_null_encloses_what_is_independent_and_not_what_is_aligned(representations):
    a, b, other = (representations[name] for name in ("a", "noisy", "other"))
    axes = plot_ranks(a, other)
    band, data = axes.patches[0].get_data(), stairs_of(axes)
    assert len(axes.patches) == 2 and "shuffled rows" in axes.patches[0].get_label()
    inside = (data.values >= band.baseline) & (data.values <= band.values)
    assert inside[data.values > 0].mean() > 0.8 and np.all(band.baseline <= 1) and np.all(band.values >= 1)
    aligned = plot_ranks(a, b)
    assert stairs_of(aligned).values[0] > 3 * aligned.patches[0].get_data().values[0]
    assert [line.get_ydata()[0] for line in axes.lines] == [1.0]
    assert len(plot_ranks(a, b, null=False).patches) == 1


def test_identical_representations_fill_the_first_bin(representations):
    a = representations["a"]
    values = stairs_of(plot_ranks(a, a, null=False)).values
    np.testing.assert_allclose(values, [199, *[0] * (len(values) - 1)], rtol=1e-6)


def test_neighbours_are_pooled(representations):
    axes = plot_ranks(representations["a"], representations["noisy"], neighbors=3, null=False)
    data = stairs_of(axes)
    np.testing.assert_allclose(np.sum(data.values * np.diff([0, *data.edges[1:]])), 1, rtol=1e-5)
    assert "3 nearest neighbours" in axes.get_xlabel()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": np.zeros((200, 3, 2))}, "a must be a real array"),
        ({"b": np.zeros((100, 3))}, r"b must be an array of as many probes \(rows\) as a, 200"),
        ({"b": np.full((200, 3), np.inf)}, "b must be finite"),
        ({"neighbors": 199}, "neighbors must be an integer of at least 1 and at most 198, got 199"),
        ({"null": 10}, "null must be True or False, got 10"),
    ],
)
def test_bad_input_is_named(representations, change, message):
    with pytest.raises(ValueError, match=message):
        plot_ranks(**{"a": representations["a"], "b": representations["noisy"], **change})
