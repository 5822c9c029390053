import pytest

import jaxalign
from jaxalign import MLP, ImageTask, LinearNetwork, LinearTeacher, Ridge, SweepConfig, Training

SOLVED = SweepConfig(
    task=LinearTeacher(dim=20),
    networks=(LinearNetwork(3), LinearNetwork(3, solver=Ridge(0.1))),
    noise=(1.0, 5.0),
    n_train=(60, 10, 16, 24),
    members=4,
    replicates=3,
    probes=60,
)
DIGITS = SweepConfig(
    task=ImageTask("digits"),
    networks=(MLP(hidden=4),),
    noise=(0.2, 0.6),
    n_train=(20, 60, 200),
    members=3,
    training=Training(learning_rate=1e-2, steps=150, batch_size=20, tolerance=0.4),
    probes=50,
)


@pytest.fixture(scope="session")
def solved():
    return jaxalign.run_sweep(SOLVED, progress=False)


@pytest.fixture(scope="session")
def digits():
    return jaxalign.run_sweep(DIGITS, progress=False)
