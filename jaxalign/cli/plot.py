"""`jaxalign plot`."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro

import jaxalign
from jaxalign import checks
from jaxalign.cli.options import check_ending, given, save_figure, shown, write

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL = ("noise", "n_train", "replicate")
_TAKEN = {
    "sweep": ("metric", "x", "theory", "between"),
    "heatmap": ("metric", "x", "network"),
    "matrix": ("metric", *_CELL),
    "decoupling": ("metric", "theory"),
    "ranks": ("network", *_CELL),
    "spectrum": ("network", *_CELL),
}
KINDS = tuple(_TAKEN)


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw a figure of a sweep that was stored."""

    store: Annotated[tyro.conf.Positional[Path], shown("STORE")]
    """The zarr store of a sweep. For ranks and spectrum it must keep representations."""
    kind: Annotated[str, shown("KIND")] = "sweep"
    """What to draw:
    sweep: error and alignment against the sample size
    heatmap: alignment over noise level and sample size
    matrix: alignment of all pairs of networks of one cell
    decoupling: alignment against the generalization error
    ranks: ranks of nearest neighbours, from member 0 to 1 of one cell
    spectrum: eigenvalues of the representations of one cell
    """
    out: Annotated[Path | None, shown("FILE", "KIND.png beside STORE")] = None
    """The image: .png, .pdf or .svg."""
    metric: Annotated[str | None, shown("NAME", "the first in STORE")] = None
    """Measure; or for heatmap test_error."""
    x: Annotated[str | None, shown("AXIS", "n_train")] = None
    """For sweep, heatmap: n_train, n_parameters or alpha."""
    theory: Annotated[bool | None, shown(default="no")] = None
    """For sweep, decoupling: draw linear theory."""
    between: Annotated[bool | None, shown(default="no")] = None
    """For sweep: alignment between networks too."""
    network: Annotated[str | None, shown("NAME", "the first; all")] = None
    """For heatmap, ranks, spectrum: which one."""
    noise: Annotated[float | None, shown("LEVEL", "the middle one")] = None
    """Of the cell: SNR or label-noise fraction."""
    n_train: Annotated[int | None, shown("N", "weakest alignment")] = None
    """Of the cell: training samples."""
    replicate: Annotated[int | None, shown("K", "0")] = None
    """Of the cell: which independent draw."""

    def run(self) -> None:
        """Draws the figure."""
        taken = _TAKEN[checks.choice("kind", self.kind, KINDS)]
        options = given({name: getattr(self, name) for name in dict.fromkeys(sum(_TAKEN.values(), ()))})
        for name in options:
            if name not in taken:
                raise ValueError(f"{name} is not an option of --kind {self.kind}, which takes {', '.join(taken)}")
        out = self.store.parent / f"{self.kind}.png" if self.out is None else self.out
        check_ending("out", out)
        save_figure(_draw(self.kind, self.store, jaxalign.load_sweep(self.store), options), out)
        write(f"wrote {out}")


def _draw(kind: str, store: Path, dataset: "xr.Dataset", options: dict[str, Any]) -> "Figure":
    from jaxalign import plots
    from jaxalign.alignment.registry import METRICS
    from jaxalign.cli.representations import cell_of, stored_representations

    if "metric" in _TAKEN[kind]:
        options = {"metric": next((str(n) for n in dataset.data_vars if n in METRICS), "cce"), **options}
    if kind == "sweep":
        return plots.plot_sweep(dataset, **options)
    if kind == "decoupling":
        return plots.plot_decoupling(dataset, **{"theory": False, **options})
    if kind == "heatmap":
        return _figure_of(plots.plot_heatmap(dataset, **options))
    cell = cell_of(dataset, **{name: options[name] for name in _CELL if name in options})
    if kind == "matrix":
        return _figure_of(plots.plot_matrix(dataset, metric=options["metric"], **cell._asdict()))
    representations = stored_representations(store, dataset, cell)
    if "network" in options:
        network = checks.choice("network", options["network"], representations)
        representations = {network: representations[network]}
    if kind == "ranks":
        members = next(iter(representations.values()))
        return _figure_of(plots.plot_ranks(members[0], members[1]))
    return _figure_of(plots.plot_spectrum(representations))


def _figure_of(axes: "Axes") -> "Figure":
    return cast("Figure", axes.figure)
