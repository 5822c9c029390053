"""Sweeps of solved networks of several outputs against their theory: how many points lie in their 95% intervals.

    python -m benchmarks.theory --outputs
    python -m benchmarks.theory --outputs --quick     # fewer sample sizes, replicates and outputs

Each row is a point of `jaxalign.compare`: a mean over the replicates of a sweep, and the theory that is sampled at the
sweep's own numbers of dimensions, samples, outputs and probes. A point inside its interval has |z| below the quantile
of Student's t distribution; 95% of them are expected, and 90% is the target. The points of a sweep share teachers and
probes, so that their share varies more than that of as many independent ones.
"""

from collections.abc import Iterator

import numpy as np

import jaxalign
from jaxalign import LinearNetwork, LinearTeacher, MinNorm, Ridge, SweepConfig

OUTPUTS = (2, 5, 10, 20)
ALPHAS = (0.3, 0.5, 0.8, 1.25, 2.0, 3.0)
QUANTITIES = ("test_error", "cce", "information_imbalance", "linear_cka")


def sweeps(quick: bool) -> Iterator[tuple[dict, SweepConfig]]:
    """What tells a sweep from the others, and its configuration."""
    dim = 100
    for outputs in OUTPUTS[1:3] if quick else OUTPUTS:
        for inputs, strengths in (("shared", "equal"), ("independent", "unequal")):
            yield (
                {"outputs": outputs, "inputs": inputs, "strengths": strengths},
                SweepConfig(
                    LinearTeacher(dim, outputs, None if strengths == "equal" else tuple(np.geomspace(1, 0.3, outputs))),
                    (LinearNetwork(outputs, MinNorm()), LinearNetwork(max(1, outputs // 2), Ridge(0.1))),
                    noise=(0.5, 5.0),
                    n_train=tuple(round(alpha * dim) for alpha in (ALPHAS[::3] if quick else ALPHAS)),
                    members=4,
                    replicates=6 if quick else 12,
                    seed=10 * outputs + (inputs == "shared"),
                    probes=400,
                    shared_inputs=inputs == "shared",
                    metrics=QUANTITIES[1:],
                ),
            )


def rows_of(named: dict, config: SweepConfig) -> list[dict]:
    """One row for each point."""
    compared = jaxalign.compare(jaxalign.run_sweep(config, progress=False))
    rows = []
    for quantity in QUANTITIES:
        z, within = compared[f"{quantity}_z"], compared[f"{quantity}_within_95"]
        for at in np.argwhere(np.isfinite(z.values)):
            *networks, snr, n = at
            if quantity == "linear_cka" and networks[0] < networks[1]:
                continue  # It is symmetric.
            rows.append(
                {
                    "quantity": quantity,
                    **named,
                    "networks": " to ".join(
                        f"{config.networks[i].hidden} {config.networks[i].solver}" for i in networks
                    ),
                    "snr": config.noise[snr],
                    "alpha": config.n_train[n] / config.task.dim,
                    "z": float(f"{z.values[tuple(at)]:.4g}"),
                    "inside": bool(within.values[tuple(at)]),
                }
            )
    return rows


def report(rows: list[dict]) -> list[str]:
    """A line for each quantity and each of its conditions."""
    lines = [f"{'':48}{'points':>7}{'inside':>8}{'mean z':>8}{'std z':>7}{'max |z|':>9}"]

    def add(title: str, chosen: list[dict]) -> None:
        z = np.array([row["z"] for row in chosen])
        inside = np.mean([row["inside"] for row in chosen])
        lines.append(f"{title:48}{z.size:7}{inside:8.1%}{z.mean():8.2f}{z.std():7.2f}{np.abs(z).max():9.2f}")

    add("all", rows)
    for key in ("outputs", "snr", "alpha", "inputs"):
        for value in sorted({row[key] for row in rows}):
            add(f"    {key} {value}", [row for row in rows if row[key] == value])
    for quantity in QUANTITIES:
        add(quantity, [row for row in rows if row["quantity"] == quantity])
        for outputs in sorted({row["outputs"] for row in rows}):
            chosen = [row for row in rows if row["quantity"] == quantity and row["outputs"] == outputs]
            add(f"    outputs {outputs}", chosen)
    return lines
