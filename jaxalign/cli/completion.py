"""`jaxalign --tyro-print-completion SHELL`: what a shell needs to complete the command."""

import re

SHELLS = ("bash", "tcsh", "zsh")

_BASH = """
# Options and subcommands are completed by the function above, names of presets and the like here, all else as files.
_jaxalign() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
  COMPREPLY=()
  if [[ $COMP_CWORD -eq 1 || "$word" == -* ]]; then
    {function}
    return
  fi
  case "$before" in
{cases}
  esac
}}
complete -o default -F _jaxalign jaxalign
"""


def with_names(script: str) -> str:
    """The completion of bash that tyro made, with the names of presets, kinds, axes and measures, and with files.

    Args:
      script: it completes options and subcommands, by a function that it registers.
    """
    # Here, so that the command starts without loading JAX.
    import jaxalign
    from jaxalign.alignment.registry import METRICS
    from jaxalign.cli.plot import KINDS
    from jaxalign.plots import X_AXES

    scales = {scale for entry in jaxalign.presets.entries.values() for scale in entry.scales}
    words = {
        "sweep": jaxalign.presets,
        "--scale": sorted(scales),
        "--kind": KINDS,
        "--x": X_AXES,
        "--metric|--metrics": METRICS,
    }
    cases = [
        f'    {options}) COMPREPLY=($(compgen -W "{" ".join(names)}" -- "$word")) ;;'
        for options, names in words.items()
    ]
    registered = re.search(r"^complete .*-F (\S+) jaxalign$", script, re.MULTILINE)
    if registered is None:
        return script
    return script + _BASH.format(function=registered[1], cases="\n".join(cases))
