"""All pairs of what was prepared once for each representation, in groups of about the same width."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float32, Int32, PyTree

from jaxalign.alignment.forms import FromMatrices, FromStates, cosines, inner_products, normalized
from jaxalign.alignment.plan import Family, Plan


def from_states(
    groups: tuple[PyTree, ...],
    shuffled: tuple[PyTree, ...] | None,
    positions: Int32[Array, " k"],
    family: Family,
    plan: Plan,
) -> dict[str, Float32[Array, "k k"]]:
    """The measures A->B for all pairs; pure.

    Args:
      groups: the states of representations of about the same width, which are of the same shapes; together of K.
      shuffled: the same of shuffled probes, of which that of the later one of each two is taken; None for no null.
      positions: which is later. In a group they increase.
      family: of measures of states or matrices.
      plan: says how much is compared at once.
    """
    form = family.forms[0]
    if isinstance(form, FromMatrices):
        return {family.names[0]: _from_matrices(form, groups, shuffled, positions, plan)}
    forms = [form for form in family.forms if isinstance(form, FromStates)]
    states = _joined(groups)
    others = states if shuffled is None else _joined(shuffled)
    sizes = [len(jax.tree.leaves(state)[0]) for state in states]
    ends = np.cumsum(sizes)
    found = {name: jnp.zeros((ends[-1], ends[-1])) for name in family.names}
    for g, h in np.ndindex(len(states), len(states)):
        if family.symmetric and g > h:
            continue
        first, second = np.divmod(np.arange(sizes[g] * sizes[h]), sizes[h])
        in_order = shuffled is None or (family.symmetric and g == h and len(states) == len(groups))
        if family.symmetric and g == h:
            first, second = np.triu_indices(sizes[g])
        rows, columns = first + ends[g] - sizes[g], second + ends[h] - sizes[h]

        def compare(pair: tuple[Array, ...], g: int = g, h: int = h, in_order: bool = in_order) -> list[Array]:
            i, j, later = pair
            of_a, of_b = _take(states[g], i), _take(others[h], j)
            if not in_order:
                instead = _take(others[g], i), _take(states[h], j)
                of_a, of_b = jax.tree.map(lambda x, y: jnp.where(later, x, y), instead, (of_a, of_b))
            return [form.compare(of_a, of_b) for form in forms]

        later = positions[rows] > positions[columns]
        pairs = jnp.asarray(first, jnp.int32), jnp.asarray(second, jnp.int32), later
        compared = lax.map(compare, pairs, batch_size=min(plan.pairs, len(first)))
        for name, values in zip(family.names, compared, strict=True):
            matrix = found[name].at[rows, columns].set(values)
            found[name] = matrix.at[columns, rows].set(values) if family.symmetric else matrix
    return found


def _take(state: PyTree, i: Array) -> PyTree:
    return jax.tree.map(lambda x: x[i], state)


def _joined(states: tuple[PyTree, ...]) -> tuple[PyTree, ...]:
    """One group of all, where the states of one representation do not depend on its width."""
    shapes = {tuple(x.shape[1:] for x in jax.tree.leaves(state)) for state in states}
    return (jax.tree.map(lambda *x: jnp.concatenate(x), *states),) if len(shapes) == 1 else states


def _from_matrices(
    form: FromMatrices,
    groups: tuple[PyTree, ...],
    shuffled: tuple[PyTree, ...] | None,
    positions: Int32[Array, " k"],
    plan: Plan,
) -> Float32[Array, "k k"]:
    def rows(states: tuple[PyTree, ...]) -> Any:
        of = jax.vmap(form.rows, in_axes=(0, None))
        return lambda indices: jnp.concatenate([of(state, indices) for state in states])

    a = rows(groups)
    n = jax.eval_shape(a, jax.ShapeDtypeStruct((1,), jnp.int32)).shape[-1]
    products, squares_a, squares_b = inner_products(a, None if shuffled is None else rows(shuffled), n, plan.rows)
    if form.norm is None:
        values = cosines(products, squares_a, squares_b)
    else:
        norms = jnp.concatenate([jax.vmap(form.norm)(state) for state in groups])
        values = normalized(products, norms, norms)
    earlier = positions[:, None] <= positions[None]
    return jnp.where(earlier, values, values.T)
