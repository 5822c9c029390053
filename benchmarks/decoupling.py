"""The figures of the linear theory: `notebooks/figures/decoupling.png` and `notebooks/figures/theory.png`.

    python -m benchmarks.decoupling

The first shows the conditional copula entropy against the generalization error along the sample size, for the solution
of minimum norm and for the optimally tuned ridge, at SNR 0.5 and 5: points are solved ensembles, curves are theory.
The second shows the overlap and the error of four spectral filters against alpha, by theory alone.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import jaxalign
from jaxalign import GradientFlow, LinearNetwork, LinearTeacher, MinNorm, Ridge, SweepConfig, TunedRidge, theory
from jaxalign.plots import plot_decoupling

FILTERS = {
    "minimum norm": MinNorm(),
    "ridge, λ = 0.1": Ridge(0.1),
    "gradient flow, t = 10": GradientFlow(10.0),
    "tuned ridge, λ = 1/(SNR α)": TunedRidge(),
}
SNRS = (0.5, 5.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parent.parent / "notebooks" / "figures"
    parser.add_argument("--out", type=Path, default=default, help="folder of the figures")
    parser.add_argument("--dim", type=int, default=400, help="input dimensions, a multiple of 20")
    parser.add_argument("--replicates", type=int, default=6)
    arguments = parser.parse_args()
    config = SweepConfig(
        task=LinearTeacher(dim=arguments.dim),
        networks=(LinearNetwork(hidden=20, solver=MinNorm()), LinearNetwork(hidden=20, solver=TunedRidge())),
        noise=SNRS,
        n_train=tuple(round(a * arguments.dim) for a in (0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.1, 1.25, 1.5, 2, 3, 5, 10)),
        members=4,
        replicates=arguments.replicates,
        metrics=("cce",),
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, figure in (
        ("decoupling", plot_decoupling(jaxalign.run_sweep(config, progress=False))),
        ("theory", overlap_and_error()),
    ):
        figure.savefig(arguments.out / f"{name}.png", dpi=110)
        print(f"wrote {arguments.out / name}.png")


def overlap_and_error() -> Figure:
    """Overlap and generalization error of the filters against alpha; solid for SNR 5, dashed for 0.5."""
    around = np.geomspace(1e-3, 0.1, 50)
    alpha = np.sort(np.concatenate([np.geomspace(0.05, 20.0, 600), 1.0 - around, [1.0], 1.0 + around]))
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (label, solver) in enumerate(FILTERS.items()):
        for snr, line in zip(SNRS, ("--", "-"), strict=True):
            style = {"color": f"C{i}", "linestyle": line, "label": f"{label}, SNR {snr:g}"}
            left.plot(alpha, theory.overlap(alpha, snr, filter=solver), **style)
            error = theory.generalization_error(alpha, snr, filter=solver)
            right.plot(alpha, np.where(np.isfinite(error), error, np.nan), **style)
            weakest = theory.weakest_alignment(snr, solver)
            if weakest.alpha > alpha[0]:
                left.plot(weakest.alpha, weakest.overlap, "v", color=f"C{i}", markersize=6)
    left.set_ylabel("overlap ρ of two networks (shared inputs)")
    right.set_ylabel("generalization error / teacher variance")
    right.set_yscale("log")
    right.set_ylim(0.008, 30.0)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlabel("training samples / input dimensions, α")
        axes.grid(alpha=0.2)
    handles, labels = left.get_legend_handles_labels()
    title = "Triangles: weakest alignment"
    figure.legend(handles, labels, loc="outside lower center", ncols=4, title=title, frameon=False, fontsize=8)
    return figure


if __name__ == "__main__":
    main()
