import dataclasses

import pytest
from tiny_sweep import TINY

from jaxalign import MLP, cli, presets
from jaxalign.sweep.config import to_json


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def swept(tmp_path_factory):
    """The folder of a tiny sweep of two networks, run by the command from the configuration file two.json there."""
    folder = tmp_path_factory.mktemp("swept")
    two = dataclasses.replace(presets["quickstart"], networks=(MLP(3), MLP(4)))
    (folder / "two.json").write_text(to_json(two, readable=True))
    assert cli.main(["sweep", "--config", str(folder / "two.json"), "--out", str(folder), *TINY]) == 0
    return folder
