"""Analytic and published reference cases, computed on the user's own device."""

import sys
import time
from typing import NamedTuple


class Check(NamedTuple):
    """A measured value beside what it should be.

    Attributes:
      name: what is measured.
      measured: the value on this device.
      expected: the reference value.
      tolerance: how far the two may be apart: rounding, or standard errors of the draws.
      source: where the reference value comes from.
    """

    name: str
    measured: float
    expected: float
    tolerance: float
    source: str

    @property
    def passed(self) -> bool:
        """Whether the two agree within the tolerance."""
        return abs(self.measured - self.expected) <= self.tolerance


def selfcheck() -> list[Check]:
    """Computes reference cases on the default device and prints them beside what they should be.

    The draws are NumPy's with fixed seeds, the same everywhere. What fails on a device is most often the precision of
    its matrix products.

    Returns:
      The checks, in the order printed. All are expected to pass.

    Reference:
      For the published values: the notebook of Kornblith et al. 2019, google-research/representation_similarity.
    """
    # Here, so that importing the package, which takes this function from its module, does not load JAX.
    import jax

    from jaxalign.reference_cases import reference_cases

    start = time.perf_counter()
    device = jax.devices()[0]
    _write(f"jaxalign selfcheck on {device.platform} ({device.device_kind})\n")
    _write(f"{'':<4}  {'measured':>10}  {'expected':>10}  {'tolerance':>9}  case")
    checks = []
    for case in reference_cases():
        check = Check(*case)
        checks.append(check)
        mark = "ok" if check.passed else "FAIL"
        values = f"{check.measured:>10.6f}  {check.expected:>10.6f}  {check.tolerance:>9.1e}"
        _write(f"{mark:<4}  {values}  {check.name} ({check.source})")
    failed = sum(not check.passed for check in checks)
    _write(f"\n{len(checks) - failed} of {len(checks)} passed in {time.perf_counter() - start:.1f} s")
    return checks


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
