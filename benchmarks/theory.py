"""Solved linear networks against their theory: z-scores over a grid of filters, noise, sample sizes and inputs.

    python -m benchmarks.theory
    python -m benchmarks.theory --quick      # a coarse one, in about a minute
    python -m benchmarks.theory --outputs    # sweeps of networks of several outputs, as `benchmarks.outputs` says

Every replicate draws a teacher, inputs and two members that differ by their noise, as `run_sweep` draws them. The
members are solved by `filtered_least_squares`; of their end-to-end maps w the overlap and the error are exact
quadratic forms, w.Sigma.w' and (w - beta).Sigma.(w - beta), and the conditional copula entropy is measured on fresh
probes. The theory is that of `jaxalign.predict`. A second table measures the entropy of Gaussians of known overlap.

z = (mean - theory) / standard error over replicates, from draws that every cell of the grid has to itself. It follows
Student's t distribution, whose standard deviation is 1.05 for 24 replicates; the targets are 0.8 to 1.25, and no |z|
above 4.5. The row "cce | overlap" compares the entropy with the theory at each pair's own overlap: it is free of the
O(1/dim) corrections to the overlap and its fluctuations, which the row "cce" has. `MinNorm` is left out at alpha = 1,
where the theory is 0 and infinity.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxalign
from benchmarks import outputs, reports
from jaxalign import (
    GradientDescent,
    GradientFlow,
    LinearNetwork,
    LinearTeacher,
    MinNorm,
    PowerLaw,
    Ridge,
    SweepConfig,
    TunedRidge,
    theory,
)
from jaxalign.alignment import all_pairs
from jaxalign.ensemble import draw_group
from jaxalign.ensemble.closed_form import filtered_least_squares
from jaxalign.threads import one_blas_thread

FILTERS = (MinNorm(), Ridge(0.1), TunedRidge(), GradientFlow(10.0), GradientDescent(0.2, 50))
ALPHAS = (0.25, 0.5, 0.8, 1.0, 1.25, 2.0, 4.0)
QUANTITIES = ("overlap", "test_error", "cce", "cce | overlap")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=400, help="input dimensions, a multiple of 20")
    parser.add_argument("--replicates", type=int, default=24)
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="dim 200 and three sample sizes")
    parser.add_argument("--outputs", action="store_true", help="several outputs instead; only --quick and --out count")
    parser.add_argument("--out", type=Path, help="default: results/theory.json, or with --quick a temporary file")
    arguments = parser.parse_args()
    name = "theory_outputs" if arguments.outputs else "theory"
    arguments.out = arguments.out or reports.default_path(name, arguments.quick)
    if arguments.outputs:
        several_outputs(arguments.out, arguments.quick)
        return
    alphas = ALPHAS[1::2] if arguments.quick else ALPHAS
    dim = 200 if arguments.quick else arguments.dim

    header = {
        **reports.environment("numpy"),
        "dim": dim,
        "replicates": arguments.replicates,
        "probes": arguments.probes,
    }
    reports.print_header(header)
    start = time.perf_counter()
    rows = []
    for spectrum, filters in (("isotropic", FILTERS), (PowerLaw(1.2), FILTERS[:3])):
        for shared in (True, False):
            config = SweepConfig(
                task=LinearTeacher(dim=dim, spectrum=spectrum),
                networks=tuple(LinearNetwork(1, solver) for solver in filters),
                noise=(0.5, 5.0),
                n_train=tuple(round(alpha * dim) for alpha in alphas),
                members=2,
                replicates=arguments.replicates,
                probes=arguments.probes,
                shared_inputs=shared,
            )
            rows += ensembles(config, seed=1000 * len(rows))
    rows += gaussians(arguments.replicates)
    save(arguments.out, {**header, "seconds": round(time.perf_counter() - start, 1)}, rows, report(rows))


def several_outputs(out: Path, quick: bool) -> None:
    header = reports.environment("numpy")
    reports.print_header(header)
    start = time.perf_counter()
    rows = []
    for named, config in outputs.sweeps(quick):
        rows += outputs.rows_of(named, config)
        inside = sum(row["inside"] for row in rows)
        print(f"{named}: {inside} of {len(rows)} points so far, {time.perf_counter() - start:.0f} s", flush=True)
    header |= {"dim": config.task.dim, "members": config.members, "replicates": config.replicates}
    header |= {"probes": config.probes, "seconds": round(time.perf_counter() - start, 1)}
    save(out, header, rows, outputs.report(rows))


def save(out: Path, header: dict, rows: list[dict], table: list[str]) -> None:
    print("\n" + "\n".join(table) + f"\n\n{header['seconds']} s")
    out.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    out.write_text(json.dumps(header)[:-1] + f', "rows": [\n{lines}\n]}}\n')
    about = "\n".join(f"{name:11}{value}" for name, value in header.items())
    out.with_suffix(".txt").write_text("\n".join([about, "", *table, ""]))
    print(f"wrote {out} and {out.with_suffix('.txt')}")


def ensembles(config: SweepConfig, seed: int) -> list[dict]:
    """One row for each quantity in each cell of the grid; the draws of every cell are its own."""
    predicted = jaxalign.predict(config)
    program = jax.jit(solve, static_argnums=(0, 1))
    rows = []
    for i, k, at in np.ndindex(*predicted["test_error"].shape):
        network, snr, n = config.networks[i], config.noise[k], config.n_train[at]
        if n == config.task.dim and isinstance(network.solver, MinNorm):
            continue
        seed += 1
        cell = dataclasses.replace(config, networks=(network,), noise=(snr,), n_train=(n,), seed=seed)
        with one_blas_thread():
            values = np.array([measure(cell, program, draw(cell, replicate)) for replicate in range(config.replicates)])
        named = {
            "filter": str(network.solver),
            "snr": snr,
            "alpha": n / config.task.dim,
            "inputs": "shared" if config.shared_inputs else "independent",
            "spectrum": str(config.task.spectrum),
        }
        overlap, entropy = (float(predicted[name].values[i, i, k, at]) for name in ("overlap", "cce"))
        expected = (overlap, float(predicted["test_error"].values[i, k, at]), entropy, 0.0)
        for q, name in enumerate(QUANTITIES):
            rows.append({"quantity": name, **named, **score(values[:, q], expected[q])})
    return rows


def draw(config: SweepConfig, replicate: int):
    names = ("noise", "members", "probes", "shared_inputs", "shared_init", "shared_batches")
    options = {name: getattr(config, name) for name in names}
    return draw_group(config.task, seed=config.seed, replicate=replicate, rows=max(config.n_train), **options)


def solve(solver, members, inputs, targets, snr):
    """The end-to-end maps, (member, dim), from one set of inputs for each member, or for all."""

    def one(x, y):
        return filtered_least_squares(solver, x, y, jnp.int32(len(x)), snr)[0]

    return jax.vmap(one, (None if inputs.ndim == 2 else 0, 0))(inputs, targets)


def measure(cell: SweepConfig, program, data) -> list[float]:
    """The quantities in one replicate of a cell; the last one is a difference from its own theory."""
    maps = program(cell.networks[0].solver, cell.members, data.drawn, data.targets, data.levels[0])
    coordinates = jnp.matmul(data.test.inputs[: cell.probes], maps.T, precision="highest").T[..., None]
    w, eigenvalues = np.asarray(maps, np.float64), cell.task.eigenvalues
    products = w * eigenvalues @ w.T
    overlap = products[0, 1] / np.sqrt(products[0, 0] * products[1, 1])
    error = np.sum((w - np.asarray(data.world, np.float64)) ** 2 * eigenvalues, -1).mean()
    matrix = np.asarray(all_pairs(coordinates, ("cce",))["cce"])
    entropy = 0.5 * (matrix[0, 1] + matrix[1, 0])
    own = theory.conditional_copula_entropy(np.abs(overlap), n_probes=cell.probes)
    return [overlap, error, entropy, entropy - own]


def gaussians(replicates: int) -> list[dict]:
    """The entropy of isotropic Gaussians in r dimensions, of known correlation."""
    rows = []
    rng = np.random.default_rng(0)
    for n in (500, 2000):
        for r in (1, 3, 10):
            for rho in (0.5, 0.9, 0.99):
                values = []
                for _ in range(replicates):
                    a, b = rng.standard_normal((2, n, r))
                    pair = np.stack([a, rho * a + np.sqrt(1.0 - rho**2) * b]).astype(np.float32)
                    matrix = np.asarray(all_pairs(pair, ("cce",))["cce"])
                    values.append(0.5 * (matrix[0, 1] + matrix[1, 0]))
                expected = float(theory.conditional_copula_entropy(rho, outputs=r, n_probes=n))
                rows.append({"quantity": "cce of Gaussians", "probes": n, "outputs": r, "overlap": rho})
                rows[-1] |= score(np.array(values), expected)
    return rows


def score(values: np.ndarray, expected: float) -> dict:
    mean, stderr = values.mean(), values.std(ddof=1) / np.sqrt(values.size)
    named = {"mean": mean, "stderr": stderr, "theory": expected, "z": (mean - expected) / stderr}
    return {name: float(f"{value:.5g}") for name, value in named.items()}


def report(rows: list[dict]) -> list[str]:
    """A line for each quantity, and one for each of its values of every condition."""
    lines = [f"{'':56}{'points':>6}{'mean z':>8}{'std z':>8}{'max |z|':>8}   at"]

    def add(title: str, chosen: list[dict]) -> None:
        z = np.array([row["z"] for row in chosen])
        worst = chosen[int(np.argmax(np.abs(z)))]
        where = ", ".join(f"{k} {worst[k]}" for k in worst if k not in ("quantity", "mean", "stderr", "theory", "z"))
        lines.append(f"{title:56}{z.size:6}{z.mean():8.2f}{z.std():8.2f}{np.abs(z).max():8.2f}   {where}")

    for quantity in (*QUANTITIES, "cce of Gaussians"):
        of = [row for row in rows if row["quantity"] == quantity]
        add(quantity, of)
        for key in ("spectrum", "inputs", "filter", "snr", "alpha", "outputs", "probes"):
            for value in sorted({row[key] for row in of if key in row}):
                add(f"    {key} {value}", [row for row in of if row.get(key) == value])
    return lines


if __name__ == "__main__":
    main()
