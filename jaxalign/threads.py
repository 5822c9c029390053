"""Threads on a CPU: those of XLA that run programs, and those of the BLAS library that decomposes matrices."""

import contextlib
import os
from collections.abc import Iterator

import jax
from threadpoolctl import threadpool_limits


def start_device() -> None:
    """Starts the devices, on a CPU with one thread more than cores in XLA's pool; nothing if they were started before.

    With as many programs at a time as the pool has threads, none is left to take finished products out of XLA's queue:
    programs with long loops keep 2.4 kB per product until they end, gigabytes for a sweep of convolutional networks.
    """
    with contextlib.ExitStack() as stack:
        # XLA reads the size of its pool here once. A number that the user has set stays.
        if "NPROC" not in os.environ:
            os.environ["NPROC"] = str((os.cpu_count() or 1) + 1)
            stack.callback(os.environ.pop, "NPROC", None)
        jax.devices()


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
