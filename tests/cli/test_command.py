import dataclasses
import re
import subprocess
import sys

import pytest

import jaxalign
from jaxalign import cli
from jaxalign.selfcheck import Check

COMMANDS = {"sweep": cli.Sweep, "plot": cli.Plot, "report": cli.Report, "align": cli.Align, "selfcheck": cli.Selfcheck}


def help_of(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([*arguments, "--help"])
    assert not stop.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("name", [*COMMANDS, None])
def test_help_fits_a_screen(monkeypatch, capsys, name):
    monkeypatch.setenv("COLUMNS", "100")
    lines = help_of(capsys, *([name] if name else [])).splitlines()
    assert 3 < len(lines) <= 50 and max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_of_every_option_what_it_is_and_its_default(monkeypatch, capsys, name):
    monkeypatch.setenv("COLUMNS", "100")
    described = {}
    for line in help_of(capsys, name).splitlines():
        text = line.strip(" │")
        if re.match("--?[a-z]", text):
            option, text = re.split("  +", text, maxsplit=1)
            described[option.split()[0].rstrip(",")] = text
        elif described and not text.startswith("╰"):
            described[[*described][-1]] += " " + text
    fields = [field for field in dataclasses.fields(COMMANDS[name]) if field.name not in ("store", "files", "preset")]
    assert described.keys() == {"-h", *(shown_as(field) for field in fields)}
    for field in fields:
        assert re.fullmatch(r"\S+ .+ \(default: \S.*\) *", described[shown_as(field)]), field.name


def shown_as(field):
    name = field.name.replace("_", "-")
    return "--no-progress" if name == "progress" else f"--{name}"


def test_help_names_the_commands_and_units(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    assert all(f"• {name} " in help_of(capsys) for name in COMMANDS)
    sweep = help_of(capsys, "sweep")
    for unit in ("SNR = Var[teacher]/Var[noise]", "nats", "fractions", "BYTES", "Optimizer steps"):
        assert unit in sweep


def test_help_does_not_wait_for_jax():
    code = (
        "import sys; from jaxalign import cli\n"
        "for arguments in (['--help'], ['align', '--help'], ['plot', '--help']):\n"
        "    try: cli.main(arguments)\n"
        "    except SystemExit as end: assert not end.code\n"
        "assert cli.main(['swep']) == cli.main(['plot']) == cli.main(['plot', 'x', '--what']) == 2\n"
        "heavy = {'jax', 'flax', 'scipy', 'xarray', 'matplotlib'} & {*sys.modules}\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "a subcommand is required, one of sweep, plot"),
        (["--what"], "{sweep, plot, report, align, selfcheck}"),
        (
            ["swep", "quickstart"],
            "must be one of align, plot, report, selfcheck, sweep; got 'swep' (did you mean 'sweep'",
        ),
        (["sweep"], "a PRESET is required, one of quickstart, "),
        (["sweep", "quikstart"], "did you mean 'quickstart'?"),
        (["sweep", "quickstart", "figure4"], "figure4 is not an argument that is wanted"),
        (["sweep", "quickstart", "--membrs", "3"], "--membrs is not an option (did you mean --members"),
        (["sweep", "quickstart", "--members", "few"], "--members must be INT, got 'few'; see jaxalign --help"),
        (["sweep", "quickstart", "--members"], "Missing value for argument '--members'"),
        (["sweep", "quickstart", "--members", "0"], "members must be an integer of at least 1, got 0"),
        (["sweep", "quickstart", "--members", "-3"], "members must be an integer of at least 1, got -3"),
        (["sweep", "quickstart", "--seed", "-1"], "seed must be an integer of at least 0"),
        (["sweep", "quickstart", "--noise", "-0.2"], "noise[0] must be a finite number of at least 0"),
        (["sweep", "quickstart", "--noise", "2"], "noise[0] must be a finite number"),
        (["sweep", "quickstart", "--n-train", "0"], "n_train must be positive integers"),
        (["sweep", "quickstart", "--metrics", "ccca"], "metrics must be one of"),
        (["sweep", "quickstart", "--theory"], "task must be a LinearTeacher"),
        (["sweep", "quickstart", "--between"], "between must be False for a single network"),
        (["sweep", "quickstart", "--scale", "paper"], "scale (of quickstart) must be one of laptop; got 'paper'"),
        (["sweep", "figure4", "--scale", "papr"], "scale (of figure4) must be one of laptop, paper; got 'papr'"),
        (["sweep", "quickstart", "--x", "alpha"], "x must be one of n_parameters, n_train; got 'alpha'"),
        (["sweep", "figure3", "--x", "n_parameters"], "x must be n_train or alpha for alignment between networks"),
        (["sweep", "quickstart", "--memory-budget", "-5", "--no-progress"], "memory_budget must be"),
        (["sweep", "--config", "nowhere.json"], "nowhere.json"),
        (["sweep", "quickstart", "--config", "nowhere.json"], "cannot be given together with --config"),
        (["plot"], "Missing from jaxalign plot: STORE"),
        (["plot", "nowhere.zarr"], "there is no store at nowhere.zarr"),
        (["plot", "nowhere.zarr", "--kind", "heatmp"], "did you mean 'heatmap'"),
        (["plot", "nowhere.zarr", "--out", "image.xyz"], "out must be a file whose name ends in .pdf or .png or .svg"),
        (["report"], "Missing from jaxalign report: STORE"),
        (["report", "nowhere.zarr"], "there is no store at nowhere.zarr"),
        (["report", "nowhere.zarr", "--out", "report.pdf"], "out must be a file whose name ends in .html"),
        (["align"], "files must be at least one npy or npz file"),
        (["align", "nowhere.npy"], "nowhere.npy"),
        (["align", "nowhere.npy", "--null", "1.5"], "--null must be INT, got '1.5'"),
        (["selfcheck", "--what"], "--what is not an option; jaxalign selfcheck --help lists them"),
        (["--tyro-print-completion", "basch"], "the shell must be one of bash, tcsh, zsh; got 'basch'"),
    ],
)
def test_bad_input_is_one_line_and_status_2(folder, capsys, arguments, message):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("jaxalign: ") and err.count("\n") == 1 and message in err, err
    assert list(folder.iterdir()) == []


def test_selfcheck_tells_what_failed(monkeypatch, capsys):
    good, bad = (Check(name, 1.0, expected, 0.1, "") for name, expected in (("this", 1.05), ("that", 2.0)))
    monkeypatch.setattr(jaxalign, "selfcheck", lambda: [good, bad])
    assert cli.main(["selfcheck"]) == 1
    assert capsys.readouterr().err == "jaxalign: 1 checks failed: that\n"
    monkeypatch.setattr(jaxalign, "selfcheck", lambda: [good])
    assert cli.main(["selfcheck"]) == 0


@pytest.mark.parametrize(
    ("raised", "status", "message"),
    [(KeyboardInterrupt(), 130, "interrupted"), (SystemExit(143), 143, ""), (OSError("no space left"), 2, "no space")],
)
def test_statuses_of_what_interrupts(monkeypatch, capsys, raised, status, message):
    def interrupt(self):
        raise raised

    monkeypatch.setattr(cli.Sweep, "run", interrupt)
    assert cli.main(["sweep", "quickstart"]) == status and message in capsys.readouterr().err


def test_module_is_the_command(folder):
    done = subprocess.run([sys.executable, "-m", "jaxalign", "sweep", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    done = subprocess.run([sys.executable, "-m", "jaxalign", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("usage: jaxalign ") and done.stderr == ""
