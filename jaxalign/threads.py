"""Threads of the BLAS library that decomposes matrices on a CPU."""

import contextlib
from collections.abc import Iterator

import jax
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Gives each thread that calls BLAS no further ones.

    The library's own threads wait for one another by spinning, which on cores that are busy with the compiled program
    costs several times the work itself.
    """
    if jax.default_backend() != "cpu":
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield
