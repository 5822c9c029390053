import shutil

import pytest

from jaxalign import cli


@pytest.mark.parametrize("arguments", [[], ["--no-theory"], ["--out", "deep/page.html"]])
def test_a_report_is_written(swept, folder, capsys, arguments):
    shutil.copytree(swept / "sweep.zarr", folder / "sweep.zarr")
    assert cli.main(["report", "sweep.zarr", *arguments]) == 0, capsys.readouterr().err
    out = arguments[-1] if "--out" in arguments else "report.html"
    assert capsys.readouterr().out == f"wrote {out}\n"
    page = (folder / out).read_text()
    assert page.startswith("<!doctype html>") or page.startswith("<!DOCTYPE html>")
    assert "MLP(hidden=3" in page


def test_a_theory_that_there_is_not_is_refused(swept, folder, capsys):
    assert cli.main(["report", str(swept / "sweep.zarr"), "--theory", "--out", "page.html"]) == 2
    assert "task must be a LinearTeacher" in capsys.readouterr().err and list(folder.iterdir()) == []
