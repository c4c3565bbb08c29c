import pytest

from tests.cli.download import PROJECT_ROOT


@pytest.fixture
def qtool(run_qtool, tmp_path, monkeypatch):
    """Run ``qtool download org/name`` from a hub, in an empty folder."""

    def run(hub, *arguments, **options):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        return run_qtool("download", "org/name", *arguments, cwd=tmp_path, **options)

    monkeypatch.setenv("PYTHONPATH", str(PROJECT_ROOT))
    return run
