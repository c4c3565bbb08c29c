"""Which Python is examined, and where its packages are."""

import ast
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qtool.doctor.probes.child import Child
from qtool.doctor.snapshot import UNKNOWN, Interpreter, Unknown
from qtool.errors import NotFoundError
from qtool.language.message import say

TIMEOUT_S = 5.0
ASKED_FOR = "--python"
FIRST_ON_PATH = "the first python3 on PATH"
# Runs on any Python from 3.6 on. User site-packages are added by hand, for -I leaves them out.
# The marker's place: PEP 668, "in the Python standard library directory".
_QUESTION = """
import os, site, sys
paths = [p for p in sys.path if p]
stdlib = os.path.dirname(os.__file__)
is_environment = sys.prefix != sys.base_prefix
if not is_environment:
    paths.append(site.getusersitepackages())
print(repr({"version": sys.version.split()[0], "paths": paths, "executable": sys.executable,
    "managed": not is_environment and os.path.exists(os.path.join(stdlib, "EXTERNALLY-MANAGED")),
    "has_venv": os.path.isdir(os.path.join(stdlib, "ensurepip"))}))
"""


@dataclass(frozen=True, slots=True)
class Target:
    """The examined interpreter: its version and the folders that it imports from."""

    interpreter: Interpreter
    version: str | Unknown
    paths: tuple[Path, ...]
    failure: str | None = None


def choose(python: str | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the interpreter to examine and why it is that one.

    Order: ``python`` as asked, the active virtual environment, ``python3`` on PATH, qtool's own.

    Raises:
        NotFoundError: ``python`` is neither an interpreter nor an environment's folder.
    """
    if python is not None:
        return _asked_for(python), ASKED_FOR
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        active = _python_in(Path(environ[variable])) if environ.get(variable) else None
        if active:
            return active, f"the active environment ({variable})"
    on_path = shutil.which("python3", path=environ.get("PATH"))
    if on_path:
        return on_path, FIRST_ON_PATH
    return sys.executable, "qtool's own, for there is no other"


def _asked_for(python: str) -> str:
    path = Path(python).expanduser()
    if path.is_dir():
        inside = _python_in(path)
        if inside:
            return inside
    elif path.is_file():
        return str(path.absolute())
    elif os.sep not in python:
        found = shutil.which(python)
        if found:
            return found
    raise NotFoundError(
        say("there is no Python interpreter {python}", python=python),
        hint=f"qtool doctor --python {_suggestion()}",
    )


def _suggestion() -> str:
    """Return an interpreter or environment that is there for certain."""
    for folder in (".venv", "venv"):
        if _python_in(Path(folder)):
            return folder
    return shlex.quote(shutil.which("python3") or sys.executable)


def _python_in(environment: Path) -> str | None:
    for name in ("bin/python", "bin/python3", "Scripts/python.exe", "python.exe"):
        if (environment / name).exists():
            return str((environment / name).absolute())
    return None


class TargetProbe:
    """Asks the interpreter for its version and paths; the question runs while others do."""

    def __init__(self, python: str | None, environ: Mapping[str, str]) -> None:
        """Choose the interpreter and put the question to it, unless it is qtool's own."""
        self._path, self._reason = choose(python, environ)
        self._environ = environ
        is_own = self._path == sys.executable
        self._child = None if is_own else Child([self._path, "-I", "-c", _QUESTION])

    def result(self) -> Target:
        """Return what is known; where it does not answer, what its folder shows.

        Raises:
            NotFoundError: what was asked for answers nothing and has no packages: no interpreter.
        """
        if self._child is None:
            return self._own()
        answer = self._child.result(TIMEOUT_S)
        try:
            known = ast.literal_eval(answer.output.strip())
            self._path = str(known["executable"] or self._path)  # of a pyenv shim, the real one
            paths = [str(path) for path in known["paths"]]
            is_managed, has_venv = known["managed"] is True, known["has_venv"] is True
            return self._target(str(known["version"]), paths, is_managed, has_venv)
        except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
            failure = answer.failure or "it answered nothing of use"
            paths = [str(path) for path in site_packages(prefix_of(Path(self._path)))]
            if not paths and self._reason == ASKED_FOR:
                raise NotFoundError(
                    say("{python} is no Python interpreter: {why}", python=self._path, why=failure),
                    hint=f"qtool doctor --python {_suggestion()}",
                ) from None
            return self._target(UNKNOWN, paths, failure=failure)

    def _own(self) -> Target:
        """Describe the interpreter that runs qtool, without a child."""
        stdlib = Path(os.__file__).parent
        is_managed = sys.prefix == sys.base_prefix and (stdlib / "EXTERNALLY-MANAGED").exists()
        return self._target(
            ".".join(map(str, sys.version_info[:3])),
            [path for path in sys.path if path],
            is_managed,
            (stdlib / "ensurepip").is_dir(),
        )

    def _target(
        self,
        version: str | Unknown,
        paths: list[str],
        is_managed: bool = False,
        has_venv: bool = True,
        failure: str | None = None,
    ) -> Target:
        extra = [p for p in self._environ.get("PYTHONPATH", "").split(os.pathsep) if p]
        unique = dict.fromkeys(Path(path) for path in [*extra, *paths])
        folders = tuple(path for path in unique if path.is_dir())
        installer = _installer(folders, needs_environment=is_managed)
        interpreter = Interpreter(self._path, self._reason, installer, is_managed, has_venv)
        return Target(interpreter, version, folders, failure)


def _installer(folders: Iterable[Path], *, needs_environment: bool) -> str:
    """Return ``uv`` where there is no pip, or an environment has to be made, and uv is at hand."""
    has_pip = any((folder / "pip").is_dir() for folder in folders)
    return "uv" if (needs_environment or not has_pip) and shutil.which("uv") else "pip"


def prefix_of(python: Path) -> Path:
    """Return an interpreter's prefix by its place: a virtual environment's, else the real one."""
    for path in (python, Path(os.path.realpath(python))):
        prefix = path.parent.parent if path.parent.name in ("bin", "Scripts") else path.parent
        if (prefix / "pyvenv.cfg").is_file() or next(site_packages(prefix), None):
            return prefix
    return python.parent.parent


def site_packages(prefix: Path) -> Iterator[Path]:
    """Yield the folders of packages under an environment's prefix."""
    yield from sorted(prefix.glob("lib/python3*/site-packages"))
    windows = prefix / "Lib" / "site-packages"
    if windows.is_dir():
        yield windows


def others(target: Target, environ: Mapping[str, str]) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Yield other interpreters within reach and their folders of packages.

    Those on PATH, the active environments, and ``.venv`` or ``venv`` in the current folder.
    """
    folders = [Path(p) for p in environ.get("PATH", "").split(os.pathsep) if p]
    pythons = [folder / name for folder in folders for name in ("python3", "python", "python.exe")]
    environments = [environ.get("VIRTUAL_ENV"), environ.get("CONDA_PREFIX"), ".venv", "venv"]
    inside = [_python_in(Path(one)) for one in environments if one]
    pythons += [Path(path) for path in inside if path]
    seen = {os.path.realpath(path) for path in target.paths}
    for python in dict.fromkeys(pythons):
        if not python.is_file():
            continue
        paths = tuple(site_packages(prefix_of(python)))
        fresh = tuple(path for path in paths if os.path.realpath(path) not in seen)
        seen.update(os.path.realpath(path) for path in fresh)
        if fresh:
            yield str(python), fresh
