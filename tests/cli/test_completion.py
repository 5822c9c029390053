import shutil
import subprocess

import pytest

from jaxalign import cli, presets
from jaxalign.alignment import METRICS

BASH = shutil.which("bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """What the command prints for bash, in a file."""
    path = tmp_path_factory.mktemp("completion") / "jaxalign"
    with pytest.MonkeyPatch.context() as patch, path.open("w") as file:
        patch.setattr("sys.stdout", file)
        with pytest.raises(SystemExit) as stop:
            cli.main(["--tyro-print-completion", "bash"])
    assert not stop.value.code
    return path


@pytest.mark.skipif(BASH is None, reason="no bash")
def test_the_script_of_bash_is_valid(script):
    done = subprocess.run([str(BASH), "-n", str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.skipif(BASH is None, reason="no bash")
@pytest.mark.parametrize(
    ("words", "completions"),
    [
        (["sw"], {"sweep"}),
        (["sweep", "quick"], {"quickstart"}),
        (["sweep", ""], {*presets}),
        (["sweep", "quickstart", "--memb"], {"--members"}),
        (["sweep", "figure4", "--scale", ""], {"laptop", "paper"}),
        (["sweep", "quickstart", "--metrics", ""], {*METRICS}),
        (["plot", "--kind", "s"], {"sweep", "spectrum"}),
        (["plot", "--x", ""], {"n_train", "n_parameters", "alpha"}),
        # Nothing of ours, so files.
        (["plot", "some"], set()),
        (["sweep", "--config", "some"], set()),
    ],
)
def test_words_are_completed(script, words, completions):
    command = 'source "$0"; COMP_WORDS=(jaxalign "$@"); COMP_CWORD=$#; _jaxalign; printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run([str(BASH), "-c", command, str(script), *words], capture_output=True, text=True, check=True)
    assert {*done.stdout.split()} == completions


def test_the_script_of_zsh_is_printed(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--tyro-print-completion", "zsh"])
    assert capsys.readouterr().out.startswith("#compdef jaxalign")
