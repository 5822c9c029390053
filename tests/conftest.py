import gc
import os
import tempfile
from pathlib import Path

import jax
import pytest
from jaxtyping import install_import_hook

# Shapes and types in the signatures of the numerical rooms are checked at every call the tests make.
install_import_hook(
    ["jaxalign.alignment", "jaxalign.theory", "jaxalign.ensemble.batch", "jaxalign.ensemble.closed_form"],
    "beartype.beartype",
)

# Not in a context of each test: what is compiled outside of it would be compiled again.
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config):
    """One folder of decoded data sets for all workers, which inherit the environment, and none of the user's."""
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="jaxalign-tests-")
        config.add_cleanup(folder.cleanup)
        os.environ["JAXALIGN_CACHE_DIR"] = folder.name


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Small programs take longer to optimize than to run; those of slow tests are optimized as they are for users."""
    jax.config.update("jax_disable_most_optimizations", item.get_closest_marker("slow") is None)


_MOST_MAPS = 25_000


@pytest.fixture(scope="module", autouse=True)
def few_memory_maps():
    """Each compiled program maps memory, and Linux ends a process that maps more than 65,530 pieces by a segfault."""
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MOST_MAPS:
        jax.clear_caches()
        gc.collect()
