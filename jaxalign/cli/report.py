"""`jaxalign report`."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

import jaxalign
from jaxalign.cli.options import check_ending, shown, write


@dataclasses.dataclass(frozen=True)
class Report:
    """Write one HTML file with the figures, the table and the configuration of a stored sweep, readable offline."""

    store: Annotated[tyro.conf.Positional[Path], shown("STORE")]
    """The zarr store of a sweep."""
    out: Annotated[Path | None, shown("FILE", "beside STORE")] = None
    """The file to write, by default report.html."""
    theory: Annotated[bool | None, shown(default="if there is one")] = None
    """Compare with the theory of linear networks."""

    def run(self) -> None:
        """Writes the report."""
        from jaxalign.report import write_report

        out = self.store.parent / "report.html" if self.out is None else self.out
        check_ending("out", out, (".html",))
        dataset = jaxalign.load_sweep(self.store)
        write(f"wrote {write_report(dataset, out, theory=self.theory)}")
