"""The `jaxalign` command: one file for each subcommand, with its options as a dataclass.

Files of this room import what loads JAX inside of functions, so that help and wrong options are answered at once.
"""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import sys
from typing import Annotated, NoReturn

import tyro

from jaxalign import checks
from jaxalign.cli.align import Align
from jaxalign.cli.completion import SHELLS, with_names
from jaxalign.cli.options import write
from jaxalign.cli.plot import Plot
from jaxalign.cli.report import Report
from jaxalign.cli.selfcheck import CheckFailed, Selfcheck
from jaxalign.cli.sweep import Sweep

_PRINT_COMPLETION, _WRITE_COMPLETION = "--tyro-print-completion", "--tyro-write-completion"
_INTERRUPTED, _TERMINATED = 130, 143
_SUBCOMMANDS = {"sweep": Sweep, "plot": Plot, "report": Report, "align": Align, "selfcheck": Selfcheck}
_DESCRIPTION = """Do networks that were trained on noisy data end up with the same representation?

A first sweep: jaxalign sweep quickstart"""

Command = (
    Annotated[Sweep, tyro.conf.subcommand("sweep", prefix_name=False)]
    | Annotated[Plot, tyro.conf.subcommand("plot", prefix_name=False)]
    | Annotated[Report, tyro.conf.subcommand("report", prefix_name=False)]
    | Annotated[Align, tyro.conf.subcommand("align", prefix_name=False)]
    | Annotated[Selfcheck, tyro.conf.subcommand("selfcheck", prefix_name=False)]
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
      arguments: those after the name of the command; by default those of this process.

    Returns:
      0, 1 for a failed check, 2 for a wrong option or input, 130 after Ctrl-C, or 143 after SIGTERM.
    """
    try:
        _parse(sys.argv[1:] if arguments is None else arguments).run()
    except CheckFailed as error:
        sys.stderr.write(f"jaxalign: {error}\n")
        return 1
    except (ValueError, OSError) as error:
        sys.stderr.write(f"jaxalign: {error}\n")
        return 2
    except KeyboardInterrupt as interrupt:
        sys.stderr.write(f"jaxalign: {str(interrupt) or 'interrupted'}\n")
        return _INTERRUPTED
    except SystemExit as end:
        if end.code != _TERMINATED:
            raise
        return _TERMINATED
    return 0


def script() -> NoReturn:
    """The command as a program of its own."""
    code = main()
    if code in (_INTERRUPTED, _TERMINATED):
        # Threads may be inside of an execution that cannot be interrupted, and need not be waited for.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _parse(arguments: list[str]) -> Sweep | Plot | Report | Align | Selfcheck:
    """Reads the arguments.

    Raises:
      ValueError: with a message on one line, where the parser would draw a box over several.
    """
    if not arguments:
        raise ValueError(f"a subcommand is required, one of {', '.join(_SUBCOMMANDS)}; see jaxalign --help")
    if not arguments[0].startswith("-"):
        checks.choice("the subcommand", arguments[0], _SUBCOMMANDS)
    if arguments[0] in (_PRINT_COMPLETION, _WRITE_COMPLETION):
        checks.choice("the shell", " ".join(arguments[1:2]), SHELLS)
    printed, message = io.StringIO(), io.StringIO()
    bash = arguments == [_PRINT_COMPLETION, "bash"]
    try:
        with (
            contextlib.redirect_stdout(printed) if bash else contextlib.nullcontext(),
            contextlib.redirect_stderr(message),
        ):
            command, unknown = tyro.cli(
                Command,
                prog="jaxalign",
                description=_DESCRIPTION,
                args=arguments,
                config=(tyro.conf.DisallowNone,),
                return_unknown_args=True,
            )
    except SystemExit as exit_:
        if exit_.code in (0, None):
            if bash:
                write(with_names(printed.getvalue()))
            raise
        raise ValueError(_one_line(message.getvalue())) from None
    except ImportError as error:
        # For some shells the parser needs a package that is not among its own dependencies.
        raise ValueError(" ".join(str(error).split())) from error
    if unknown:
        _reject_unknown(arguments[0], command, unknown[0])
    return command


def _one_line(message: str) -> str:
    """The message of the parser without its box, the title of the box, and the help of the option."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in message.splitlines()]
    # A box is drawn by dashes below its title where the encoding has no other lines.
    body = lines[1:] if lines[:1] and (lines[0].startswith("╭") or not lines[1].strip(" -")) else lines
    plain = " ".join(word for word in re.sub("[─-╿]", " ", " ".join(body)).split() if word.strip("-"))
    plain = re.sub(r" Argument helptext: .*(?= For full helptext)", "", plain)
    wrong = r"Error parsing (\S+): no type matching (.*) could be instantiated from \[(.*?)\]\..*(?= For full)"
    plain = re.sub(wrong, r"\1 must be \2, got \3", plain)
    return re.sub(r"\.? For full helptext, (?:see|run):? ", "; see ", plain)


def _reject_unknown(name: str, command: object, unknown: str) -> NoReturn:
    options = [f"--{field.name.replace('_', '-')}" for field in dataclasses.fields(command)]  # pyright: ignore
    near = difflib.get_close_matches(unknown, options, n=2, cutoff=0.6)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    what = "an option" if unknown.startswith("-") else "an argument that is wanted"
    raise ValueError(f"{unknown} is not {what}{hint}; jaxalign {name} --help lists them")
