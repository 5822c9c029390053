import jax
from jaxtyping import install_import_hook

# Shapes and types in the signatures of the numerical rooms are checked at every call the tests make.
install_import_hook(
    ["jaxalign.alignment", "jaxalign.theory", "jaxalign.ensemble.batch", "jaxalign.ensemble.closed_form"],
    "beartype.beartype",
)

# Not in a context of each test: what is compiled outside of it would be compiled again.
jax.config.update("jax_numpy_rank_promotion", "raise")
