"""The three forms in which a measure can be written, so that all pairs share the work done per representation.

Every measure is stated for one pair of representations, or for one representation; batching over pairs, tiles and
permutations is done in `pairs` alone. All functions are pure and take `points`, one representation of shape
(N, D), float32, finite, and otherwise as it was given: what works with products standardizes it first.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float32, Int32, PyTree

from jaxalign.alignment import sums
from jaxalign.alignment.distances import all_finite, finite_points
from jaxalign.alignment.median import MATRIX_ROWS
from jaxalign.alignment.programs import run
from jaxalign.alignment.ranks import Ranks, pair_ranks


class FromRanks(NamedTuple):
    """A statistic of the ranks in B of the neighbours found in A: fields of shape (neighbors, N)."""

    statistic: Callable[[Ranks], Float32[Array, ""]]


class FromStates(NamedTuple):
    """A function of what was prepared once for each of the two representations.

    Attributes:
      embed: (points, neighbors) -> state, a pytree; `neighbors` is static.
      permute: (state, order) -> the state of points[order], without the work of `embed`.
      compare: (state of A, state of B) -> the measure A->B.
    """

    embed: Callable[[Float32[Array, "n d"], int], PyTree]
    permute: Callable[[PyTree, Int32[Array, " n"]], PyTree]
    compare: Callable[[PyTree, PyTree], Float32[Array, ""]]


class FromMatrices(NamedTuple):
    """The product of two N x N matrices, normalized, accumulated over blocks of their rows.

    It is the cosine <P, Q> / sqrt(<P, P> <Q, Q>), or <P, Q> / (norm(P) norm(Q)) with a norm of the form's own. Two such
    measures do not share their `embed`.

    Attributes:
      embed: (points) -> state, a pytree; (points, neighbors) -> state of measures that use neighbours.
      permute: (state, order) -> the state of points[order], without the work of `embed`.
      rows: (state, indices of probes) -> those rows of the matrix, shape (len(indices), N).
      norm: state -> a scalar, the same for permuted probes, that bounds the products; by default the Frobenius norm.
        Where it is 0 the value is NaN.
    """

    embed: Callable[..., PyTree]
    permute: Callable[[PyTree, Int32[Array, " n"]], PyTree]
    rows: Callable[[PyTree, Int32[Array, " rows"]], Float32[Array, "rows n"]]
    norm: Callable[[PyTree], Float32[Array, ""]] | None = None


Form = FromRanks | FromStates | FromMatrices


def measure(form: Form, a: Float32[Array, "n da"], b: Float32[Array, "n db"], neighbors: int = 0) -> Float32[Array, ""]:
    """The measure A->B of one pair; NaN if a representation has a value that is not finite."""
    return run(_measure, form, a, b, neighbors)


def _measure(form: Form, a: Float32[Array, "n da"], b: Float32[Array, "n db"], neighbors: int) -> Float32[Array, ""]:
    if isinstance(form, FromRanks):
        ranks, finite = pair_ranks(a, b, neighbors)
        return jnp.where(finite, form.statistic(ranks), jnp.nan)
    finite = all_finite(a[None])[0] & all_finite(b[None])[0]
    a, b = finite_points(a[None])[0], finite_points(b[None])[0]
    if isinstance(form, FromStates):
        value = form.compare(embed_one(form, a, neighbors), embed_one(form, b, neighbors))
    else:
        states = embed_one(form, a, neighbors), embed_one(form, b, neighbors)
        products = inner_products(lambda i: jnp.stack([form.rows(state, i) for state in states]), None, len(a))
        if form.norm is None:
            value = cosines(*products)[0, 1]
        else:
            norms = jnp.stack([form.norm(state) for state in states])
            value = normalized(products[0], norms, norms)[0, 1]
    return jnp.where(finite, value, jnp.nan)


def embed_one(form: FromStates | FromMatrices, points: Float32[Array, "n d"], neighbors: int) -> PyTree:
    """The state of one representation; `neighbors` is 0 for measures that use none."""
    if isinstance(form, FromMatrices) and not neighbors:
        return form.embed(points)
    return form.embed(points, neighbors)


def inner_products(
    rows_a: Callable[[Int32[Array, " rows"]], Float32[Array, "k rows n"]],
    rows_b: Callable[[Int32[Array, " rows"]], Float32[Array, "k rows n"]] | None,
    n: int,
    block: int = MATRIX_ROWS,
) -> tuple[Float32[Array, "k k"], Float32[Array, " k"], Float32[Array, " k"]]:
    """<P_a, Q_b>, <P_a, P_a> and <Q_b, Q_b> of k matrices P and k matrices Q, given by blocks of their rows.

    Without `rows_b` the matrices Q are the P.
    """

    def of(start: Array) -> tuple[Array, ...]:
        indices = start + jnp.arange(block, dtype=jnp.int32)

        def within(rows: Callable) -> Array:
            return jnp.where((indices < n)[None, :, None], rows(jnp.minimum(indices, n - 1)), 0.0)

        p = within(rows_a)
        if rows_b is None:
            return (sums.products(p, p),)
        q = within(rows_b)
        return sums.products(p, q), sums.squares(p), sums.squares(q)

    found = [sums.total(x, axis=0) for x in lax.map(of, jnp.arange(0, n, block, dtype=jnp.int32))]
    if rows_b is None:
        found += [jnp.diagonal(found[0])] * 2
    return found[0], found[1], found[2]


def cosines(products: Float32[Array, "a b"], a: Float32[Array, " a"], b: Float32[Array, " b"]) -> Array:
    """<P, Q> / sqrt(<P, P> <Q, Q>); NaN where a matrix is zero."""
    return normalized(products, jnp.sqrt(a), jnp.sqrt(b))


def normalized(products: Float32[Array, "a b"], a: Float32[Array, " a"], b: Float32[Array, " b"]) -> Array:
    """The products divided by the norms of both, which bound them; NaN where a norm is zero."""
    norms = a[:, None] * b[None, :]
    # Products and norms are summed in different orders, and their rounding must not show as more than identical.
    ratios = jnp.clip(products / jnp.where(norms > 0, norms, 1.0), -1.0, 1.0)
    return jnp.where(norms > 0, ratios, jnp.nan)
