"""uv or pip: which one, and the commands of either."""

from pathlib import Path

import pytest

from qtool.envs.failure import of_step, without_credentials
from qtool.envs.indexes import first_reachable
from qtool.envs.installers import Installer, InstallerKind, choose_installer
from qtool.envs.pythons import Python
from qtool.errors import EnvironmentFault, NetworkError, ResourceError

PYTHON = Path("/e/bin/python")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """Return a PATH with a uv and a pip that has no configuration."""
    for name in ("uv", "pip"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\n[ -z "$FAKE_CONFIG" ] || echo "$FAKE_CONFIG"\n')
        program.chmod(0o755)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, "uv"),
        ({"PIP_INDEX_URL": "https://mirror/simple"}, "pip"),
        ({"PIP_FIND_LINKS": "/wheels"}, "pip"),
        ({"FAKE_CONFIG": "global.index-url='https://mirror/simple'"}, "pip"),
        ({"FAKE_CONFIG": "global.timeout='60'"}, "uv"),
        ({"PIP_INDEX_URL": "https://mirror/simple", "UV_INDEX_URL": "https://mirror"}, "uv"),
    ],
)
def test_uv_is_taken_unless_pip_alone_knows_the_index(
    path: str, tmp_path: Path, variables: dict[str, str], kind: str
) -> None:
    environ = {"PATH": path, "HOME": str(tmp_path), **variables}

    assert choose_installer(environ).kind == kind


def test_uvs_own_settings_count(path: str, tmp_path: Path) -> None:
    (tmp_path / ".config" / "uv").mkdir(parents=True)
    (tmp_path / ".config" / "uv" / "uv.toml").write_text("")
    environ = {"PATH": path, "HOME": str(tmp_path), "PIP_INDEX_URL": "https://mirror"}

    assert choose_installer(environ).kind is InstallerKind.UV


def test_asking_for_uv_without_uv_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="uv is not on PATH"):
        choose_installer({"PATH": str(tmp_path)}, InstallerKind.UV)
    assert choose_installer({"PATH": str(tmp_path)}).kind is InstallerKind.PIP


def test_the_commands_differ_and_their_options_do_not() -> None:
    pip = Installer(InstallerKind.PIP, "")
    uv = Installer(InstallerKind.UV, "", "/bin/uv")
    options = {"index_url": "https://i", "constraints": Path("/c.txt"), "is_bare": True}

    for_pip = pip.install(PYTHON, ["a>=1"], **options)
    for_uv = uv.install(PYTHON, ["a>=1"], **options)

    common = ["--index-url", "https://i", "--constraint", "/c.txt", "--no-deps", "a>=1"]
    assert for_pip[:4] == ["/e/bin/python", "-m", "pip", "install"]
    assert for_uv[:5] == ["/bin/uv", "pip", "install", "--python", "/e/bin/python"]
    assert for_pip[-6:] == for_uv[-6:] == common


def test_uv_may_fetch_the_python_and_venv_cannot() -> None:
    fetched = Python(None, "3.12")

    assert "3.12" in Installer(InstallerKind.UV, "", "/bin/uv").make(fetched, Path("/e"))
    with pytest.raises(EnvironmentFault):
        Installer(InstallerKind.PIP, "").make(fetched, Path("/e"))


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("ERROR: Could not find a version that satisfies the requirement x", EnvironmentFault),
        ("NewConnectionError: Failed to establish a new connection: [Errno 111]", NetworkError),
        ("  Caused by: error sending request for url (https://pypi.org/simple/x/)", NetworkError),
        ("OSError: [Errno 28] No space left on device", ResourceError),
    ],
)
def test_failures_are_told_apart(line: str, kind: type[Exception]) -> None:
    failure = of_step("install x", 1, [line], Path("/l.log"), "e")

    assert type(failure) is kind
    assert line in failure.message
    assert "/l.log" in failure.message


def test_passwords_of_indexes_are_not_shown() -> None:
    text = "Looking in indexes: https://me:secret@host/simple, https://other/simple"

    assert "secret" not in without_credentials(text)
    assert "https://***@host/simple, https://other/simple" in without_credentials(text)


def test_the_first_index_that_answers_is_taken(tmp_path: Path) -> None:
    (tmp_path / "cpu" / "torch").mkdir(parents=True)
    here, nowhere = f"file://{tmp_path}/cpu", "http://127.0.0.1:9/cpu"

    assert first_reachable((nowhere, here), "torch") == here
    assert first_reachable((nowhere, None), "torch") is None
    assert first_reachable((f"file://{tmp_path}/gone", None, here), "torch") is None
