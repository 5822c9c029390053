import numpy as np
import pytest

import jaxalign
from jaxalign import MLP, LinearNetwork, LinearTeacher, SweepConfig, Training


@pytest.fixture(scope="session")
def two():
    """A linear network, which has a theory, beside a perceptron, which has none."""
    config = SweepConfig(
        task=LinearTeacher(dim=10),
        networks=(LinearNetwork(3), MLP(3)),
        noise=(1.0, 5.0),
        n_train=(40, 5, 15),
        members=4,
        probes=40,
        training=Training(steps=20),
    )
    return jaxalign.run_sweep(config, progress=False)


@pytest.fixture(scope="session")
def representations():
    rng = np.random.default_rng(0)
    a, noise = rng.normal(size=(2, 200, 6))
    return {"a": a, "other": rng.normal(size=(200, 3)), "noisy": a + 0.3 * noise, "noisier": a + noise}


@pytest.fixture(scope="session")
def alignment(representations):
    return jaxalign.align(representations, ("cce", "linear_cka", "tie_fraction"))
