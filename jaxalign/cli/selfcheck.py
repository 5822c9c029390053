"""`jaxalign selfcheck`."""

import dataclasses

import jaxalign


class CheckFailed(Exception):
    """A measure differs from its reference value on this device."""


@dataclasses.dataclass(frozen=True)
class Selfcheck:
    """Compute reference cases on this device and print them beside what they should be; status 1 if one is off."""

    def run(self) -> None:
        """Prints the table.

        Raises:
          CheckFailed: if a case is off.
        """
        failed = [check.name for check in jaxalign.selfcheck() if not check.passed]
        if failed:
            raise CheckFailed(f"{len(failed)} checks failed: {', '.join(failed)}")
