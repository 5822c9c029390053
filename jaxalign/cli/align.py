"""`jaxalign align`."""

import dataclasses
import sys
import warnings
from pathlib import Path
from typing import Annotated

import tyro

import jaxalign
from jaxalign import checks
from jaxalign.cli.options import Flag, shown, write


@dataclasses.dataclass(frozen=True)
class Align:
    """Compare all pairs of representations in files: npy or npz, arrays (N, D) or (K, N, D), of the same N probes."""

    files: Annotated[tyro.conf.Positional[tuple[Path, ...]], shown("FILE ...", "none")]
    """The files; every layer of a npz file is a representation, unless one is chosen."""
    metrics: Annotated[tuple[str, ...], shown("NAME ...")] = ("cce", "information_imbalance")
    """Measures of alignment; cce is in nats."""
    layer: Annotated[str | None, shown("NAME", "all")] = None
    """The array to take from each npz file."""
    names: Annotated[tuple[str, ...] | None, shown("NAME ...", "the files', with folders where needed")] = None
    """What the files are called in the results, in their order."""
    neighbors: Annotated[int | None, shown("K", "as each measure's publication")] = None
    """Nearest neighbours."""
    null: Annotated[int | None, shown("N", "no null")] = None
    """Permutations of rows for a null, for z and p."""
    seed: Annotated[int, shown("N")] = 0
    """Of the permutations."""
    out: Annotated[Path | None, shown("STORE", "none")] = None
    """The zarr store to write, which must not exist."""
    progress: Annotated[Flag, shown(default="shown")] = True
    """No progress bar."""

    def run(self) -> None:
        """Prints one matrix for each measure, and the mean over pairs."""
        from jaxalign.alignment import DegenerateRepresentationWarning
        from jaxalign.alignment.files import load_representations
        from jaxalign.sweep.storage.results import write_store
        from jaxalign.tables import matrices

        if not self.files:
            raise ValueError("files must be at least one npy or npz file, got none")
        if self.out is not None and self.out.exists():
            checks.reject("out", "a path where nothing is yet", str(self.out))
        representations = load_representations(self.files, self.layer, self.names)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DegenerateRepresentationWarning)
            dataset = jaxalign.align(
                representations,
                self.metrics,
                neighbors=self.neighbors,
                null=self.null,
                seed=self.seed,
                progress=self.progress,
            )
        for warning in caught:
            for line in str(warning.message).splitlines():
                sys.stderr.write(f"jaxalign: warning: {line}\n")
        write(matrices(dataset))
        if self.out is not None:
            write_store(dataset, self.out)
            write(f"\nwrote {self.out}")
