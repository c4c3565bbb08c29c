"""uv, else venv and pip: the commands of either, with the user's own index and cache settings.

Both read their configuration by themselves (``pip.conf``, ``uv.toml``, ``PIP_*``, ``UV_*``); we
only never override it. uv is the faster one and is taken where it is present, unless somebody has
told pip alone where packages come from (a mirror, a folder of wheels): uv does not read that.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from qtool.envs.pythons import Python
from qtool.errors import EnvironmentFault
from qtool.language.message import say

TIMEOUT_S = 10.0
_PIP_SOURCES = ("index-url", "extra-index-url", "find-links", "no-index")
_UV_SOURCES = (
    *("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS"),
    *("UV_NO_INDEX", "UV_CONFIG_FILE"),
)

_MEDDLING = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "PIP_TARGET", "PIP_PREFIX")


class InstallerKind(StrEnum):
    """The two ways to make an environment."""

    UV = "uv"
    PIP = "pip"


@dataclass(frozen=True, slots=True)
class Installer:
    """Spells commands. ``uv`` is the program's path where ``kind`` is UV."""

    kind: InstallerKind
    why: str
    uv: str | None = None

    def make(self, python: Python, folder: Path) -> list[str]:
        """Return the command that makes an empty environment in ``folder``.

        Raises:
            EnvironmentFault: pip was chosen and there is no interpreter.
        """
        if self.uv:
            return [self.uv, "venv", "--no-project", "--python", python.spec, str(folder)]
        if python.path is None:
            raise EnvironmentFault(
                say("venv needs an interpreter"), hint="qtool env create --python"
            )
        return [python.path, "-I", "-m", "venv", str(folder)]

    def install(
        self,
        python: Path,
        requirements: Sequence[str],
        *,
        index_url: str | None = None,
        extra_index_url: str | None = None,
        only_binary: str | None = None,
        constraints: Path | None = None,
        is_bare: bool = False,
    ) -> list[str]:
        """Return the command that installs ``requirements`` into the environment of ``python``."""
        if self.uv:
            argv = [self.uv, "pip", "install", "--python", str(python)]
        else:
            argv = [str(python), "-m", "pip", "install", "--no-input"]
            argv += ["--disable-pip-version-check", "--progress-bar", "off"]
        argv += ["--index-url", index_url] if index_url else []
        argv += ["--extra-index-url", extra_index_url] if extra_index_url else []
        argv += ["--only-binary", only_binary] if only_binary else []
        argv += ["--constraint", str(constraints)] if constraints else []
        argv += ["--no-deps"] if is_bare else []
        return [*argv, *requirements]


def choose_installer(environ: Mapping[str, str], wanted: InstallerKind | None = None) -> Installer:
    """Return the installer to use: as asked, else uv where it knows what pip knows, else pip.

    Raises:
        EnvironmentFault: uv is asked for and not here.
    """
    uv = shutil.which("uv", path=environ.get("PATH"))
    if wanted is InstallerKind.UV and uv is None:
        raise EnvironmentFault(say("uv is not on PATH"), hint="pip install uv")
    if uv is None:
        return Installer(InstallerKind.PIP, say("uv is not here"))
    if wanted is InstallerKind.PIP:
        return Installer(InstallerKind.PIP, say("asked for"))
    if wanted is None and has_pip_sources(environ) and not has_uv_sources(environ):
        why = say("only pip has an index configured")
        return Installer(InstallerKind.PIP, why)
    return Installer(
        InstallerKind.UV, say("it is here") if wanted is None else say("asked for"), uv
    )


def has_pip_sources(environ: Mapping[str, str]) -> bool:
    """Tell whether a variable or a file tells pip of an index or a folder of wheels."""
    if any(environ.get("PIP_" + name.upper().replace("-", "_")) for name in _PIP_SOURCES):
        return True
    pip = shutil.which("pip3", path=environ.get("PATH")) or shutil.which(
        "pip", path=environ.get("PATH")
    )
    if pip is None:
        return False
    try:
        done = subprocess.run(
            [pip, "config", "list"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=dict(environ),
            timeout=TIMEOUT_S,
            check=False,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    keys = [line.partition("=")[0].rpartition(".")[2] for line in done.stdout.splitlines()]
    return any(key in _PIP_SOURCES for key in keys)


def has_uv_sources(environ: Mapping[str, str]) -> bool:
    """Tell whether uv has been told of an index, by a variable or by a file of settings.

    Places: https://docs.astral.sh/uv/concepts/configuration-files/
    """
    if any(environ.get(name) for name in _UV_SOURCES):
        return True
    home = Path(environ.get("HOME") or Path.home())
    user = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    places = [user / "uv" / "uv.toml", Path("/etc/uv/uv.toml"), Path("/etc/xdg/uv/uv.toml")]
    if environ.get("APPDATA"):
        places.append(Path(environ["APPDATA"]) / "uv" / "uv.toml")
    return any(path.is_file() for path in places)


def python_of(folder: Path) -> Path:
    """Return the interpreter of the environment in ``folder``."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def for_children(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those that would lead installers or Python elsewhere."""
    kept = {name: value for name, value in environ.items() if name not in _MEDDLING}
    return {**kept, "PIP_USER": "0", "PIP_NO_INPUT": "1", "PYTHONUNBUFFERED": "1"}
