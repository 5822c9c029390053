"""What about a representation makes measures of it undefined or misleading."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxalign.alignment.decomposition import matrix_rank

# Values that are inspected at once, of rows that are compared.
_BLOCK = 2**22
# Probes whose neighbours are looked for, and products that this may take.
_SAMPLE, _PRODUCTS = 128, 5 * 10**8
# Rounding matters where it moves probes by more than this part of the distance of neighbours, for so many of them.
_BLUR, _SHARE = 1 / 16, 0.01


class DegenerateRepresentationWarning(UserWarning):
    """A representation on which some measures are undefined or rest on ties."""


class Report(NamedTuple):
    """Properties of one representation of shape (N, D).

    Attributes:
      name: of the representation.
      probes: N.
      units: D.
      finite: whether every value is finite; the other properties of one that is not are those of zeros.
      constant: whether all probes have the same representation.
      duplicated_rows: probes whose representation another probe has too.
      rank: of the centred representation, without directions that the rounding of float32 makes, as CCA counts it; at
        most min(N - 1, D). None where it was not asked for.
    """

    name: str
    probes: int
    units: int
    finite: bool
    constant: bool
    duplicated_rows: int
    rank: int | None

    @property
    def rank_deficient(self) -> bool:
        """Whether units are linearly dependent, beyond what so few probes make them."""
        return self.rank is not None and self.rank < min(self.units, self.probes - 1)

    @property
    def saturated(self) -> bool:
        """Whether linear maps of it fit anything on these probes: measures of the family of CCA are undefined."""
        return self.rank is not None and self.rank >= self.probes - 1

    def findings(self) -> list[str]:
        """What is degenerate, in words."""
        if not self.finite:
            return ["it has values that are not finite: all its entries are NaN"]
        if self.constant:
            return ["all probes have the same representation: only rank-based measures are defined"]
        found = []
        if self.duplicated_rows:
            found.append(f"{self.duplicated_rows} of {self.probes} probes share theirs with another: ranks are tied")
        if self.saturated:
            found.append(
                f"its rank is {self.rank} on {self.probes} probes, so that linear maps of it fit anything: CCA and "
                "its kin are undefined"
            )
        elif self.rank_deficient:
            found.append(f"its {self.units} units have rank {self.rank}")
        return found


def report(name: str, representation: Float32[np.ndarray, "n d"], rank: bool = True) -> Report:
    """Inspects one representation; its rank, which takes longest, only if asked for.

    Example:
      >>> import numpy as np
      >>> from jaxalign.alignment import report
      >>> x = np.random.default_rng(0).normal(size=(100, 3))
      >>> found = report("a", np.vstack([x, x[:5]]).astype("float32"))
      >>> found.duplicated_rows, found.rank
      (10, 3)
    """
    n, d = representation.shape
    finite = bool(np.isfinite(representation).all())
    points = representation if finite else np.zeros_like(representation)
    return Report(
        name=name,
        probes=n,
        units=d,
        finite=finite,
        constant=bool((points == points[:1]).all()),
        duplicated_rows=_duplicated_rows(points),
        rank=matrix_rank(points) if rank else None,
    )


def rounding(name: str, values: Any, points: Float32[np.ndarray, "n d"], displacement: np.ndarray) -> str:
    """Says of a representation if float32 does not hold the distances between its nearest neighbours; empty if it does.

    Args:
      name: of the representation.
      values: shape (N, D), as it was given.
      points: the same in float32, finite.
      displacement: shape (N,), how far rounding moved each probe.
    """
    n, d = points.shape
    sample = np.unique(np.linspace(0, n - 1, min(n, max(8, min(_SAMPLE, _PRODUCTS // (n * d))))).astype(int))
    norms, products = np.zeros(n), np.zeros((len(sample), n))
    for start in range(0, d, max(1, _BLOCK // n)):
        block = points[:, start : start + max(1, _BLOCK // n)].astype(np.float64)
        norms += np.sum(block**2, axis=1)
        products += block[sample] @ block.T
    squared = np.maximum(norms[sample, None] + norms[None] - 2 * products, 0)
    squared[np.arange(len(sample)), sample] = np.inf
    nearest = squared.argmin(1)
    moved = np.hypot(displacement[sample], displacement[nearest])
    near = np.flatnonzero(_BLUR * np.sqrt(squared.min(1)) < moved)
    # Probes that were the same before are the same still.
    blurred = sum(bool(np.any(np.asarray(values[sample[i]]) != np.asarray(values[nearest[i]]))) for i in near)
    if blurred <= _SHARE * len(sample):
        return ""
    return (
        f"{name}: float32 does not hold the distances between nearest neighbours, for {blurred / len(sample):.0%} of "
        "probes: ranks are inexact"
    )


def describe(reports: Sequence[Report]) -> str:
    """All findings as one text, empty if there are none."""
    return "\n".join(f"{report.name}: {finding}" for report in reports for finding in report.findings())


def _duplicated_rows(points: np.ndarray) -> int:
    """By a hash of the bits of each row, which equal rows share; rows of equal hash are then compared.

    A block of columns at a time, so that no copy is as large as the representation.
    """
    n, d = points.shape
    multipliers = np.random.default_rng(0).integers(0, 2**63, d, dtype=np.uint64) * 2 + 1
    blocks = [slice(start, start + max(1, _BLOCK // n)) for start in range(0, d, max(1, _BLOCK // n))]
    hashes = np.zeros(n, np.uint64)
    for columns in blocks:
        # Adding zero makes one zero of the two.
        bits = np.ascontiguousarray(points[:, columns] + np.float32(0.0)).view(np.uint32).astype(np.uint64)
        hashes += bits @ multipliers[columns]
    _, first, group, sizes = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero(sizes[group] > 1)
    others = first[group[suspects]]
    if all((points[suspects, columns] == points[others, columns]).all() for columns in blocks):
        return len(suspects)
    _, sizes = np.unique(points[suspects] + np.float32(0.0), axis=0, return_counts=True)
    return int(sizes[sizes > 1].sum())
