"""Where environments live, and the one step that makes one exist.

A virtual environment cannot be renamed: scripts and ``pyvenv.cfg`` hold its absolute path. So it
is built where it will stay, under a name that nobody looks for, and *registered* afterwards::

    <data>/environments/
        transformers/
            environment.json          the record: what exists is what this names
            20261122T193000-3f9a2c/   the virtual environment
        .locks/transformers

The record is replaced in one step when the probe has passed. Whatever else lies in the folder is
the rest of an attempt that was killed (or the predecessor), used by nobody, and swept away by the
next ``create`` or ``remove`` of that name, which hold its lock.
"""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from qtool.config import Config
from qtool.envs.environment import Environment, read_record, write_record
from qtool.envs.recipes import load_recipes
from qtool.envs.task import PATIENCE_S
from qtool.errors import EnvironmentFault, NotFoundError, UsageError
from qtool.language.message import say
from qtool.locks import ProcessLock

RECORD = "environment.json"
LOCKS = ".locks"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def find_environment(name: str, root: Path | None = None) -> Environment:
    """Return the environment ``name``, ready for use.

    Raises:
        NotFoundError: there is none of that name.
        EnvironmentFault: its record cannot be read, or its interpreter is gone.
    """
    return Store(root).find(name)


def list_environments(root: Path | None = None) -> list[Environment]:
    """Return every environment by name; those whose records cannot be read are left out."""
    return list(Store(root).all())


class Store:
    """The folder of environments."""

    def __init__(self, root: Path | None = None) -> None:
        """Use ``root``, else the platform's data folder (``paths.data``, ``QTOOL_DATA``)."""
        self.root = (root or Config().data_dir() / "environments").absolute()

    def folder(self, name: str) -> Path:
        """Return the folder of an environment, there or not.

        Raises:
            UsageError: no environment may have that name.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                say(
                    "{name} is no name for an environment: small letters, digits, '.', '_', '-'",
                    name=repr(name),
                ),
                hint="qtool env list",
            )
        return self.root / name

    def lock(self, name: str, *, patience_s: float = PATIENCE_S) -> ProcessLock:
        """Return the lock of an environment, not yet taken."""
        folder = self.folder(name)
        path = self.root / LOCKS / name
        work = say("at work on the environment {name}", name=folder.name)
        return ProcessLock(path, work, patience_s=patience_s)

    def find(self, name: str) -> Environment:
        """Return the environment ``name``; see ``find_environment``."""
        environment = self.read(name)
        again = f"qtool env create {environment.recipe} --name {name} --force"
        if not environment.is_intact:
            raise EnvironmentFault(
                say(
                    "the environment {name} has lost its Python: {python}",
                    name=name,
                    python=environment.python,
                ),
                hint=again,
            )
        return environment

    def read(self, name: str) -> Environment:
        """Return what the record of ``name`` tells, whether or not its Python is still there.

        Raises:
            NotFoundError, EnvironmentFault: as ``find_environment``.
        """
        folder = self.folder(name)
        try:
            return read_record(folder, (folder / RECORD).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as exc:
            is_recipe = name in load_recipes()
            raise NotFoundError(
                say("there is no environment {name}", name=name),
                hint=f"qtool env create {name}" if is_recipe else "qtool env list",
            ) from exc
        except (OSError, ValueError) as exc:
            raise EnvironmentFault(
                say("{path} cannot be read: {why}", path=folder / RECORD, why=exc),
                hint=f"qtool env remove {name}",
            ) from exc

    def all(self) -> Iterator[Environment]:
        """Yield every environment whose record can be read, by name."""
        for path in sorted(self.root.glob(f"*/{RECORD}")):
            try:
                yield read_record(path.parent, path.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue

    def has(self, name: str) -> bool:
        """Tell whether there is a record of ``name``, readable or not."""
        return (self.folder(name) / RECORD).exists()

    def new_build(self, name: str) -> Path:
        """Return a folder of its own for an environment to be built in; hold the lock."""
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        path = self.folder(name) / f"{stamp}-{os.urandom(3).hex()}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def register(self, environment: Environment) -> None:
        """Make ``environment`` the one of its name, in one step; hold the lock."""
        record = self.folder(environment.name) / RECORD
        part = record.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write(write_record(environment))
            file.flush()
            os.fsync(file.fileno())
        part.replace(record)

    def sweep(self, name: str) -> None:
        """Delete what no record names: killed attempts, predecessors; hold the lock."""
        folder = self.folder(name)
        kept = {RECORD, self._build_of(name)}
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in kept:
                _delete(path)
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def remove(self, name: str) -> None:
        """Delete an environment: first its record, so that nobody takes a half for a whole.

        Raises:
            NotFoundError: there is none of that name.
            ResourceError: it is being made at this moment.
        """
        if not self.folder(name).is_dir():
            raise NotFoundError(
                say("there is no environment {name}", name=name), hint="qtool env list"
            )
        with self.lock(name, patience_s=0):
            (self.folder(name) / RECORD).unlink(missing_ok=True)
            self.sweep(name)

    def _build_of(self, name: str) -> str | None:
        """Return the name of the folder that the record points to, if it can be read."""
        try:
            return self.read(name).path.name
        except (NotFoundError, EnvironmentFault):
            return None


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
