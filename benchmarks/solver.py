"""Linear networks solved by a sweep against one `numpy.linalg.lstsq` for each network, on the grid of figure 1.

    python -m benchmarks.solver
    python -m benchmarks.solver --replicates 2 --per-size 4      # a short one

Both sides get the same draws. The sweep is timed as a user calls it, `run_sweep(config)` without measures: drawing,
solving, and the training and test errors of every network; the loop is timed for its calls of lstsq alone. A random
subset of the networks, the same number of every sample size, is solved by the loop, once with NumPy's default number
of BLAS threads and once with one; the faster of the two, extrapolated to the whole grid, is the time compared with.
Quality: the solutions and the test errors of that subset against those of lstsq, which computes in float64.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits

import jaxalign
from benchmarks import reports
from jaxalign import LinearNetwork, LinearTeacher, MinNorm, SweepConfig
from jaxalign.ensemble import GroupData, draw_group
from jaxalign.ensemble.closed_form import filtered_least_squares


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dim", type=int, default=200, help="input dimensions")
    parser.add_argument("--sizes", type=int, default=25, help="number of sample sizes, from dim/10 to 10 dim")
    parser.add_argument("--members", type=int, default=50)
    parser.add_argument("--replicates", type=int, default=10)
    parser.add_argument("--per-size", type=int, default=8, help="networks of every sample size that the loop solves")
    arguments = parser.parse_args()

    sizes = np.unique(np.geomspace(arguments.dim / 10, 10 * arguments.dim, arguments.sizes).round().astype(int))
    config = SweepConfig(
        task=LinearTeacher(dim=arguments.dim),
        networks=(LinearNetwork(hidden=20),),
        noise=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0),
        n_train=tuple(sorted({*sizes.tolist(), arguments.dim})),
        members=arguments.members,
        replicates=arguments.replicates,
        metrics=(),
    )
    networks = len(config.noise) * len(config.n_train) * config.members * config.replicates
    reports.print_header(reports.environment("numpy"))
    print(
        f"grid       dim {arguments.dim}, {len(config.noise)} SNR x {len(config.n_train)} sample sizes "
        f"({config.n_train[0]} to {config.n_train[-1]}) x {config.members} members x {config.replicates} replicates "
        f"= {networks:,} networks"
    )

    first, dataset = timed_sweep(config)
    again, _ = timed_sweep(config)
    compiling = dataset.attrs["seconds_compile"]
    chosen = choose(config, arguments.per_size)
    drawn = [draw(config, replicate) for replicate in range(config.replicates)]
    default, solutions = timed_loop(config, chosen, drawn)
    with threadpool_limits(1, user_api="blas"):
        single, _ = timed_loop(config, chosen, drawn)
    loop = min(default, single) * networks / len(chosen)

    print(f"\n{'':44}{'seconds':>9}{'networks/s':>12}{'lstsq loop / it':>17}")
    for name, seconds in (
        ("run_sweep, first call", first),
        (f"run_sweep, first less compilation ({compiling:.1f} s)", first - compiling),
        ("run_sweep, compiled", again),
        ("numpy lstsq loop, default BLAS threads *", default * networks / len(chosen)),
        ("numpy lstsq loop, one BLAS thread *", single * networks / len(chosen)),
    ):
        print(f"{name:44}{seconds:9.2f}{networks / seconds:12,.0f}{loop / seconds:17.1f}")
    print(f"* extrapolated from {len(chosen)} networks, {arguments.per_size} of every sample size")
    print_quality(config, chosen, drawn, solutions, dataset)


def timed_sweep(config: SweepConfig):
    start = time.perf_counter()
    dataset = jaxalign.run_sweep(config, progress=False)
    return time.perf_counter() - start, dataset


def choose(config: SweepConfig, per_size: int) -> list[tuple[int, int, int, int]]:
    """Random (replicate, level, index of n_train, member), the same number for every n_train."""
    rng = np.random.default_rng(0)
    shape = (config.replicates, len(config.noise), config.members)
    picks = [rng.choice(np.prod(shape), per_size, replace=False) for _ in config.n_train]
    cells = [(at, np.unravel_index(pick, shape)) for at, group in enumerate(picks) for pick in group]
    return [(int(replicate), int(level), at, int(member)) for at, (replicate, level, member) in cells]


def draw(config: SweepConfig, replicate: int) -> GroupData:
    """The draws that `run_sweep` makes."""
    return draw_group(
        config.task,
        seed=config.seed,
        replicate=replicate,
        noise=config.noise,
        members=config.members,
        rows=max(config.n_train),
        probes=config.probes,
        shared_inputs=True,
        shared_init=True,
        shared_batches=True,
    )


def timed_loop(config: SweepConfig, chosen: list, drawn: list[GroupData]) -> tuple[float, list[np.ndarray]]:
    """Seconds in lstsq, and its solutions; inputs and targets are copied to NumPy before the clock starts."""
    inputs = [np.asarray(data.drawn) for data in drawn]
    targets = [np.asarray(data.targets[..., 0]) for data in drawn]
    seconds, solutions = 0.0, []
    for replicate, level, at, member in chosen:
        n = config.n_train[at]
        x, y = inputs[replicate][:n], targets[replicate][level * config.members + member, :n]
        start = time.perf_counter()
        solution = np.linalg.lstsq(x, y, rcond=None)[0]
        seconds += time.perf_counter() - start
        solutions.append(solution)
    return seconds, solutions


def print_quality(config: SweepConfig, chosen: list, drawn: list[GroupData], solutions: list, dataset) -> None:
    solve = jax.jit(lambda x, y, n: filtered_least_squares(MinNorm(), x, y, n, jnp.float32(1.0))[0])
    deviations, errors = np.zeros((2, len(chosen)))
    for i, ((replicate, level, at, member), expected) in enumerate(zip(chosen, solutions, strict=True)):
        data, n = drawn[replicate], config.n_train[at]
        solved = solve(
            data.drawn.at[n:].set(0.0), data.targets[level * config.members + member].at[n:].set(0.0), jnp.int32(n)
        )
        deviations[i] = np.linalg.norm(solved - expected) / np.linalg.norm(expected)
        error = np.mean((np.asarray(data.test.inputs) @ expected - np.asarray(data.test.targets)[:, 0]) ** 2)
        measured = dataset["test_error"].values[0, replicate, level, at, member]
        errors[i] = abs(measured - error) / error
    threshold = np.array([config.n_train[at] == config.task.dim for _, _, at, _ in chosen])
    print(f"\n{'largest relative deviation from lstsq':44}{'solution':>12}{'test error':>12}")
    for name, rows in (("n_train = dim", threshold), ("all other sample sizes", ~threshold)):
        print(f"{name:44}{deviations[rows].max():12.1e}{errors[rows].max():12.1e}")


if __name__ == "__main__":
    main()
