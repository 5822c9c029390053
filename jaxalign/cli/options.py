"""How options look in the help, and what the subcommands write."""

import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jaxalign import checks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Flag = tyro.conf.FlagCreatePairsOff[bool]
"""An option without a value, that exists only in the form which changes its default."""

_IMAGES = (".pdf", ".png", ".svg")


def shown(metavar: str | None = None, default: str | None = None) -> Any:
    """How an option is shown.

    Args:
      metavar: what stands for its value; by default its type.
      default: what happens without it, in words; by default its value.
    """
    hint = None if default is None else f"(default: {default})"
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=hint)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in options.items() if value is not None}


def check_ending(name: str, path: Path, endings: tuple[str, ...] = _IMAGES) -> None:
    """Refuses a file of another ending.

    Raises:
      ValueError: naming the allowed ones.
    """
    if path.suffix.lower() not in endings:
        checks.reject(name, f"a file whose name ends in {' or '.join(endings)}", str(path))


def save_figure(figure: "Figure", path: Path) -> None:
    """Writes an image when all of it is drawn, and makes its folder."""
    image = io.BytesIO()
    figure.savefig(image, format=path.suffix[1:].lower(), dpi=150)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image.getvalue())


def write(text: str) -> None:
    """Writes text and the end of a line to the standard output."""
    sys.stdout.write(text + "\n")
