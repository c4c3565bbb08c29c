"""Finding an interpreter that a recipe can be made with."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qtool.envs.recipes import Variant
from qtool.errors import EnvironmentFault, NotFoundError
from qtool.language.message import say

TIMEOUT_S = 10.0
_QUESTION = """
import json, os, sys, sysconfig, importlib.util
print(json.dumps({"version": "%d.%d.%d" % sys.version_info[:3], "executable": sys.executable,
    "implementation": sys.implementation.name, "is_final": sys.version_info[3] == "final",
    "has_venv": all(importlib.util.find_spec(n) is not None for n in ("venv", "ensurepip")),
    "has_headers": os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))}))
"""


@dataclass(frozen=True, slots=True)
class Python:
    """An interpreter, or with ``path`` ``None`` one that uv would fetch."""

    path: str | None
    version: str
    has_venv: bool = True
    has_headers: bool = True

    @property
    def spec(self) -> str:
        """What ``uv venv --python`` takes for it."""
        return self.path or self.version


def find_python(
    variant: Variant,
    environ: Mapping[str, str],
    *,
    asked_for: str | None = None,
    needs_venv: bool = True,
    uv: str | None = None,
) -> Python:
    """Return the interpreter to make ``variant`` with: the one asked for, else the best found.

    Looked for on PATH, below pyenv's root and among uv's, the versions that the recipe prefers
    first. ``needs_venv``: it has to make environments by itself. ``uv``: where to find uv, which
    fetches a Python where none is here.

    Raises:
        NotFoundError: what was asked for is no interpreter.
        EnvironmentFault: it is of the wrong version, or there is none of the right one.
    """
    if asked_for is not None:
        return _checked(asked_for, variant, environ, needs_venv)
    found: dict[str, Python] = {}
    lacks: list[EnvironmentFault] = []
    for path in _candidates(environ, uv):
        python = ask(path)
        if python is None or not _is_version(python.version, variant.python):
            continue
        if lack := _lack(python, variant, needs_venv):
            lacks.append(lack)
            continue
        minor = python.version.rpartition(".")[0]
        found.setdefault(minor, python)
        if minor in variant.prefer[:1]:
            return python
    newest_first = sorted(found, key=lambda minor: int(minor.partition(".")[2]), reverse=True)
    for minor in (*variant.prefer, *newest_first):
        if minor in found:
            return found[minor]
    if uv and variant.prefer:
        return Python(None, variant.prefer[0])
    if lacks:
        raise lacks[0]
    raise EnvironmentFault(
        say(
            "there is no Python {versions} here (on PATH, with pyenv or uv)",
            versions=variant.python,
        ),
        hint=say("{command}    (or --python PATH)", command=_fetch_command(environ, variant)),
    )


def ask(path: str) -> Python | None:
    """Return what an interpreter says of itself; ``None`` where it is none for our purposes."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", _QUESTION],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIMEOUT_S,
            check=False,
        )
        said = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if said["implementation"] != "cpython" or not said["is_final"]:
        return None
    return Python(
        said["executable"] or path, said["version"], said["has_venv"], said["has_headers"]
    )


def _checked(
    asked_for: str, variant: Variant, environ: Mapping[str, str], needs_venv: bool
) -> Python:
    path = shutil.which(asked_for, path=environ.get("PATH")) or asked_for
    inside = Path(path) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    python = ask(str(inside if inside.exists() else path))
    if python is None:
        raise NotFoundError(
            say("{path} is no Python interpreter", path=asked_for), hint="qtool env list"
        )
    if not _is_version(python.version, variant.python):
        raise EnvironmentFault(
            say(
                "{path} is Python {version}; the recipe needs {versions}",
                path=asked_for,
                version=python.version,
                versions=variant.python,
            ),
            hint=_fetch_command(environ, variant),
        )
    if lack := _lack(python, variant, needs_venv):
        raise lack
    return python


def _lack(python: Python, variant: Variant, needs_venv: bool) -> EnvironmentFault | None:
    """Return what keeps a Python of the right version from being used, ``None`` for nothing."""
    if needs_venv and not python.has_venv:
        return EnvironmentFault(
            say(
                "{path} cannot make environments: its venv or ensurepip is missing",
                path=python.path,
            ),
            hint="sudo apt-get install -y python3-venv",
        )
    if variant.compiles and not python.has_headers:
        return EnvironmentFault(
            say(
                "{path} has no Python.h, and a package of the recipe is built from source",
                path=python.path,
            ),
            hint=say(
                "{command}    (or --python PATH)", command="sudo apt-get install -y python3-dev"
            ),
        )
    return None


def _candidates(environ: Mapping[str, str], uv: str | None) -> Iterator[str]:
    """Yield interpreters, each once: qtool's own base, PATH, pyenv's, uv's."""
    seen = set()
    own = getattr(sys, "_base_executable", sys.executable)
    for path in (own, *_on_path(environ), *_of_pyenv(environ), *_of_uv(uv)):
        real = os.path.realpath(path)
        if real not in seen and os.access(path, os.X_OK):
            seen.add(real)
            yield path


def _on_path(environ: Mapping[str, str]) -> Iterator[str]:
    name = re.compile(r"python(3(\.\d+)?)?(\.exe)?")
    for folder in environ.get("PATH", "").split(os.pathsep):
        if not folder or Path(folder).name == "shims":  # pyenv's answer for themselves below
            continue
        try:
            names = sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - names are enough
        except OSError:
            continue
        yield from (str(Path(folder) / one) for one in names if name.fullmatch(one))


def _of_pyenv(environ: Mapping[str, str]) -> Iterator[str]:
    root = Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME", "/")) / ".pyenv")
    yield from (str(path) for path in sorted(root.glob("versions/*/bin/python"), reverse=True))


def _of_uv(uv: str | None) -> Iterator[str]:
    if uv is None:
        return
    argv = [uv, "python", "list", "--only-installed", "--output-format", "json", "--offline"]
    try:
        done = subprocess.run(
            argv, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False
        )
        for one in json.loads(done.stdout):
            if one.get("path"):
                yield str(one["path"])
    except (OSError, ValueError, AttributeError, TypeError, subprocess.TimeoutExpired):
        return


def _is_version(version: str, specifier: str) -> bool:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(specifier).contains(version)


def _fetch_command(environ: Mapping[str, str], variant: Variant) -> str:
    wanted = variant.prefer[0] if variant.prefer else "3.11"
    if shutil.which("uv", path=environ.get("PATH")):
        return f"uv python install {wanted}"
    if shutil.which("pyenv", path=environ.get("PATH")):
        return f"pyenv install {wanted}"
    return f"pip install uv && uv python install {wanted}"
