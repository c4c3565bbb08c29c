"""An environment is put back exactly, wherever its change, or putting it back, was interrupted."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qtool.doctor.backup import FOLDER, Backup

Tree = dict[str, tuple[int, bytes | str]]


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Return what an environment looks like, with a project in the same folder."""
    prefix = tmp_path / "project"
    site = prefix / "lib" / "python3.11" / "site-packages"
    (site / "good").mkdir(parents=True)
    (prefix / "bin").mkdir()
    (site / "good" / "__init__.py").write_text("one\n")
    (site / "good" / "kernel.so").write_bytes(b"\x7fELF" * 1000)
    (site / "good.dist-info").mkdir()
    (site / "good.dist-info" / "RECORD").write_text("good/__init__.py,,\n")
    (site / "x.pth").write_text("import x\n")
    (prefix / "pyvenv.cfg").write_text("home = /usr\n")
    (prefix / "bin" / "tool").write_text("#!x\n")
    (prefix / "bin" / "tool").chmod(0o755)
    (prefix / "bin" / "python").symlink_to("/usr/bin/python3")
    (prefix / "lib64").symlink_to("lib")
    (site / "good").chmod(0o750)
    (prefix / "main.py").write_text("the user's own\n")
    return prefix


def tree_of(prefix: Path) -> Tree:
    found: Tree = {}
    for path in sorted(prefix.rglob("*")):
        name = path.relative_to(prefix).as_posix()
        if name.startswith(FOLDER):
            continue
        if path.is_symlink():
            found[name] = (0, os.readlink(path))
        elif path.is_file():
            found[name] = (path.stat().st_mode, path.read_bytes())
        else:
            found[name] = (path.stat().st_mode, "")
    return found


def change(prefix: Path) -> None:
    """Do what installers do: remove, replace, add, and write into metadata."""
    site = prefix / "lib" / "python3.11" / "site-packages"
    (site / "good" / "kernel.so").unlink()
    (site / "part").write_text("two\n")
    (site / "part").replace(site / "good" / "__init__.py")
    with (site / "good.dist-info" / "RECORD").open("a") as file:
        file.write("more\n")
    with (site / "x.pth").open("a") as file:
        file.write("more\n")
    with (prefix / "bin" / "tool").open("a") as file:
        file.write("more\n")
    (site / "new").mkdir()
    (prefix / "share" / "man").mkdir(parents=True)
    (prefix / "bin" / "python").unlink()


def test_it_is_put_back_exactly(prefix: Path) -> None:
    before = tree_of(prefix)
    backup = Backup(prefix)
    backup.take(["pip install x"], {"good": "1"})
    change(prefix)
    assert tree_of(prefix) != before

    assert backup.restore() == []

    assert tree_of(prefix) == before
    assert not (prefix / FOLDER).exists()


def test_what_is_not_the_environments_stays_as_it_is_now(prefix: Path) -> None:
    backup = Backup(prefix)
    backup.take([], {})
    (prefix / "main.py").write_text("written meanwhile\n")
    backup.restore()

    assert (prefix / "main.py").read_text() == "written meanwhile\n"


def test_a_kept_change_leaves_no_trace(prefix: Path) -> None:
    backup = Backup(prefix)
    backup.take([], {})
    change(prefix)
    after = tree_of(prefix)
    backup.drop()

    assert tree_of(prefix) == after
    assert backup.unfinished() is None
    assert not (prefix / FOLDER).exists()


def test_the_next_run_knows_what_was_under_way(prefix: Path) -> None:
    Backup(prefix).take(["pip install x"], {"good": "1"})

    journal = Backup(prefix).unfinished()

    assert journal is not None
    assert journal.commands == ("pip install x",)
    assert journal.dists == {"good": "1"}


def test_a_copy_that_was_never_finished_is_no_change(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree_of(prefix)

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qtool.doctor.backup.shutil.copy2", refuse)
    with pytest.raises(OSError, match="No space"):
        Backup(prefix).take([], {})

    assert Backup(prefix).unfinished() is None
    assert tree_of(prefix) == before


def test_files_that_were_written_into_are_told(prefix: Path) -> None:
    backup = Backup(prefix)
    backup.take([], {})
    name = "lib/python3.11/site-packages/good/__init__.py"
    with (prefix / name).open("a") as file:
        file.write("in place\n")

    assert backup.restore() == [name]


class Killed(BaseException):
    """Stands for ``kill -9``: nothing after it runs."""


@pytest.mark.parametrize("fatal", range(12))
def test_putting_back_can_be_killed_anywhere_and_done_again(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, fatal: int
) -> None:
    before = tree_of(prefix)
    Backup(prefix).take([], {})
    change(prefix)
    countdown = _killing_after(fatal, Path.rename)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", countdown)
        try:
            Backup(prefix).restore()
        except Killed:
            assert Backup(prefix).unfinished() is not None

    Backup(prefix).restore()

    assert tree_of(prefix) == before


def _killing_after(number: int, real: Callable[..., Path]) -> Callable[..., Path]:
    left = [number]

    def rename(path: Path, target: Path) -> Path:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return real(path, target)

    return rename
