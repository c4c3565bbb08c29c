"""The right Python is found, or asked for."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qtool.envs.pythons import ask, find_python
from qtool.envs.recipes import Variant
from qtool.errors import EnvironmentFault, NotFoundError


def variant(python: str, *prefer: str) -> Variant:
    return Variant("cpu", ("Linux",), ("x86_64",), python, (), "modules", 0, prefer=prefer)


def fake_python(
    folder: Path, name: str, version: str, *, has_venv: bool = True, has_headers: bool = True
) -> Path:
    """Write a program that answers as an interpreter of that version would."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    answer = (
        f'{{"version": "{version}", "executable": "{path}", "implementation": "cpython", '
        f'"is_final": true, "has_venv": {str(has_venv).lower()}, '
        f'"has_headers": {str(has_headers).lower()}}}'
    )
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def environ(*folders: Path, home: Path) -> dict[str, str]:
    return {"PATH": os.pathsep.join(map(str, folders)), "HOME": str(home)}


def test_the_preferred_version_on_path_is_taken(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    fake_python(bin_, "python3.99", "3.99.0")
    wanted = fake_python(bin_, "python3.98", "3.98.1")

    found = find_python(variant(">=3.90", "3.98"), environ(bin_, home=tmp_path))

    assert (found.path, found.version) == (str(wanted), "3.98.1")


def test_one_without_headers_is_passed_over_where_something_is_compiled(tmp_path: Path) -> None:
    fake_python(tmp_path / "a", "python3", "3.99.0", has_headers=False)
    env = environ(tmp_path / "a", home=tmp_path)
    compiling = replace(variant(">=3.98"), compiles=True)

    with pytest.raises(EnvironmentFault, match=r"no Python\.h"):
        find_python(compiling, env)
    wanted = fake_python(tmp_path / ".pyenv/versions/3.98.1/bin", "python", "3.98.1")
    assert find_python(compiling, env).path == str(wanted)
    assert find_python(variant(">=3.98"), env).version == "3.99.0"


def test_without_a_preference_the_newest_is_taken(tmp_path: Path) -> None:
    for minor in (9, 98, 100):
        fake_python(tmp_path / "bin", f"python3.{minor}", f"3.{minor}.0")

    found = find_python(variant("<3.10,>=3.0"), environ(tmp_path / "bin", home=tmp_path))
    newest = find_python(variant(">=3.90"), environ(tmp_path / "bin", home=tmp_path))

    assert (found.version, newest.version) == ("3.9.0", "3.100.0")


def test_pyenvs_pythons_are_found(tmp_path: Path) -> None:
    wanted = fake_python(tmp_path / ".pyenv/versions/3.98.1/bin", "python", "3.98.1")

    found = find_python(variant(">=3.98", "3.99", "3.98"), environ(home=tmp_path))

    assert found.path == str(wanted)


def test_one_without_venv_is_passed_over_unless_uv_makes_it(tmp_path: Path) -> None:
    bin_ = tmp_path / "bin"
    fake_python(bin_, "python3", "3.99.0", has_venv=False)
    env = environ(bin_, home=tmp_path)

    with pytest.raises(EnvironmentFault) as caught:
        find_python(variant(">=3.99"), env)
    assert caught.value.hint == "sudo apt-get install -y python3-venv"
    assert find_python(variant(">=3.99"), env, needs_venv=False).version == "3.99.0"


def test_where_there_is_none_the_hint_is_a_command(tmp_path: Path) -> None:
    pyenv = fake_python(tmp_path / "bin", "pyenv", "0").parent

    with pytest.raises(EnvironmentFault) as caught:
        find_python(variant(">=3.99,<4", "3.99"), environ(pyenv, home=tmp_path))

    assert "Python >=3.99,<4" in caught.value.message
    assert (caught.value.hint or "").startswith("pyenv install 3.99")


def test_uv_fetches_one_where_there_is_none(tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\necho '[]'\n")
    uv.chmod(0o755)

    found = find_python(variant(">=3.99", "3.99"), environ(home=tmp_path), uv=str(uv))

    assert (found.path, found.spec) == (None, "3.99")


@pytest.mark.parametrize(
    ("version", "error"), [("3.10.1", EnvironmentFault), ("nonsense", NotFoundError)]
)
def test_what_was_asked_for_is_checked(
    tmp_path: Path, version: str, error: type[Exception]
) -> None:
    path = fake_python(tmp_path, "mypython", version)
    if error is NotFoundError:
        path.write_text("#!/bin/sh\necho hello\n")

    with pytest.raises(error, match="mypython"):
        find_python(variant(">=3.11"), environ(home=tmp_path), asked_for=str(path))


def test_a_folder_of_an_environment_will_do(tmp_path: Path) -> None:
    fake_python(tmp_path / "venv" / "bin", "python", "3.99.0")

    found = find_python(variant(">=3.99"), environ(home=tmp_path), asked_for=str(tmp_path / "venv"))

    assert found.version == "3.99.0"


def test_this_interpreter_tells_its_version() -> None:
    python = ask(sys.executable)

    assert python is not None
    assert python.version == ".".join(map(str, sys.version_info[:3]))
    assert python.has_venv
