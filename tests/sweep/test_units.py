import collections
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxalign.sweep.grid import Grid
from jaxalign.sweep.units import Cell, replicates_at_once, units

NOISE, SIZES = (0.1, 0.2, 0.3), (10, 40, 20)


@st.composite
def histories(draw):
    """Grids of which each holds the one before."""
    grid = Grid(NOISE[:1], SIZES[:1], 1, 1)
    grids = []
    for _ in range(draw(st.integers(1, 3))):
        noise = NOISE[: draw(st.integers(len(grid.noise), 3))]
        sizes = SIZES[: draw(st.integers(len(grid.n_train), 3))]
        grid = Grid(
            noise, sizes, draw(st.integers(grid.members, 4)), draw(st.integers(grid.replicates, grid.replicates + 2))
        )
        grids.append(grid)
    return grids


def cells_of(grid):
    return [Cell(r, level, n) for r in range(grid.replicates) for level in grid.noise for n in grid.n_train]


@settings(max_examples=60, deadline=None)
@given(histories(), st.sampled_from([1, 2, 8]))
def test_every_member_of_every_cell_is_trained_once(history, devices):
    trained = collections.Counter()
    for unit in itertools.chain(*units(history, devices, extend=True)):
        assert unit.first == unit.kept
        for cell in unit.cells:
            trained.update((cell, member) for member in range(unit.first, unit.members))
    assert trained == collections.Counter(
        (cell, member) for cell in cells_of(history[-1]) for member in range(history[-1].members)
    )


@settings(max_examples=30, deadline=None)
@given(histories())
def test_without_representations_members_are_trained_again_and_kept(history):
    for unit in itertools.chain(*units(history)):
        assert unit.first == 0 and unit.kept < unit.members


@settings(max_examples=30, deadline=None)
@given(histories())
def test_earlier_stages_do_not_depend_on_later_ones(history):
    """What is trained together stays so when a sweep grows: it repeats itself bit for bit."""
    for end in range(1, len(history)):
        assert units(history[:end]) == units(history)[:end]


def test_units_go_replicate_by_replicate_and_the_largest_sizes_first():
    (stage,) = units([Grid(NOISE, SIZES, 2, 2)])
    assert [(unit.replicates, unit.n_train) for unit in stage] == [
        ((replicate,), n) for replicate in (0, 1) for n in (40, 20, 10)
    ]
    assert all(unit.levels == NOISE and unit.group == 6 for unit in stage)


@pytest.mark.parametrize(
    ("devices", "group", "replicates", "expected"),
    [(1, 30, 10, 1), (8, 30, 10, 4), (8, 24, 1, 1), (256, 30, 10, 8), (4, 1, 2, 2), (4, 1, 8, 4), (6, 2, 3, 3)],
)
def test_replicates_fill_devices_that_would_be_idle(devices, group, replicates, expected):
    assert replicates_at_once(devices, group, replicates) == expected
