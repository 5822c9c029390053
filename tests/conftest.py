import jax
import pytest
from jaxtyping import install_import_hook

# Shapes and types in the signatures of the numerical rooms are checked at every call the tests make.
install_import_hook(
    ["jaxalign.alignment", "jaxalign.theory", "jaxalign.ensemble.batch", "jaxalign.ensemble.closed_form"],
    "beartype.beartype",
)


@pytest.fixture(autouse=True)
def strict_rank_promotion():
    with jax.numpy_rank_promotion("raise"):
        yield
