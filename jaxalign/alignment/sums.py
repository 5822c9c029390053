"""Sums of very many terms, accurate on every device, inside a program of float32.

One long sum in float32 drifts: a term that is smaller than the rounding of the total so far is lost. Products are
therefore summed in chains of a few thousand terms, and everything else in float64.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32

# Terms of a product that float32 adds up: their rounding stays below 1e-6 of the norms.
CHAIN = 4096

# Pairs of matrices up to which products of entries are faster than a product of matrices: the long axis is a vector.
_ELEMENTWISE = 16


def total(x: Float32[Array, "..."], axis: int | None = None) -> Float32[Array, "..."]:
    """The sum over an axis, or of all entries, added up in float64."""
    with jax.enable_x64(True):
        return jnp.sum(x.astype(jnp.float64), axis=axis).astype(jnp.float32)


def mean(x: Float32[Array, "..."], axis: int | None = None) -> Float32[Array, "..."]:
    """The mean over an axis, or of all entries, added up in float64."""
    with jax.enable_x64(True):
        return jnp.mean(x.astype(jnp.float64), axis=axis).astype(jnp.float32)


def products(p: Float32[Array, "a rows n"], q: Float32[Array, "b rows n"]) -> Float32[Array, "a b"]:
    """<P, Q> of all pairs of matrices, of which these are blocks of rows."""
    if len(p) * len(q) <= _ELEMENTWISE:
        return total(jnp.sum(p[:, None] * q[None], axis=2), axis=2)
    p, q = _chains(p.reshape(len(p), -1)), _chains(q.reshape(len(q), -1))
    return total(jnp.matmul(p, jnp.swapaxes(q, 1, 2), precision=lax.Precision.HIGHEST), axis=0)


def squares(p: Float32[Array, "a rows n"]) -> Float32[Array, " a"]:
    """<P, P> of each matrix, of which these are blocks of rows."""
    return total(jnp.sum(p * p, axis=1), axis=1)


def crossed(a: Float32[Array, "n i"], b: Float32[Array, "n j"]) -> Float32[Array, "i j"]:
    """A^T B over very many rows."""
    a, b = _chains(a.T), _chains(b.T)
    return total(jnp.matmul(a, jnp.swapaxes(b, 1, 2), precision=lax.Precision.HIGHEST), axis=0)


def _chains(p: Float32[Array, "a n"]) -> Float32[Array, "chains a length"]:
    """The long axis cut into chains of even length, filled up with zeros."""
    a, n = p.shape
    count = -(-n // CHAIN)
    length = -(-n // count)
    return jnp.pad(p, [(0, 0), (0, count * length - n)]).reshape(a, count, length).swapaxes(0, 1)
