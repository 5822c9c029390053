import pytest

from jaxalign.tasks import datasets


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """Keeps tests out of the user's cache, and what one test has read out of the next."""
    monkeypatch.setenv("JAXALIGN_CACHE_DIR", str(tmp_path / "own_cache"))
    datasets._load_prepared.cache_clear()
    return tmp_path / "own_cache"
