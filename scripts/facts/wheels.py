"""Wheels on a package index: which there are, and single files out of them by range requests.

The index speaks PEP 691 (JSON); what serves the files has to understand ``Range``.
"""

import io
import json
import re
import shutil
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

INDEX = "https://pypi.org/simple"
ACCEPT = "application/vnd.pypi.simple.v1+json"
TIMEOUT_S = 60
BUFFER_BYTES = 512 * 1024
"""A wheel of torch lists 13,000 files at its end, 1.5 MB; of each file we want little."""
_NAME = re.compile(
    r"(?P<name>.+?)-(?P<version>[^-]+)(-\d[^-]*)?-(?P<python>[^-]+)-[^-]+-(?P<platform>[^-]+)\.whl"
)


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the index; ``platform`` and ``python`` are tags, several joined by dots."""

    name: str
    version: str
    python: str
    platform: str
    url: str


def list_wheels(package: str, index: str = INDEX) -> Iterator[Wheel]:
    """Yield the wheels of a package, withdrawn ones left out.

    Raises:
        OSError: the index does not answer, or does not know the package.
    """
    request = urllib.request.Request(f"{index.rstrip('/')}/{package}/", headers={"Accept": ACCEPT})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        base, document = response.url, json.load(response)
    for file in document["files"]:
        match = _NAME.fullmatch(file["filename"])
        if match and not file.get("yanked"):
            url = urllib.parse.urljoin(base, file["url"])
            yield Wheel(match["name"], match["version"], match["python"], match["platform"], url)


def choose_linux(wheels: Iterable[Wheel]) -> dict[str, Wheel]:
    """Return one wheel a version for Linux on x86-64, whichever Python it is for.

    Compiled modules of one release are the same for every Python, as far as torch is concerned.
    """
    linux = [one for one in wheels if "linux" in one.platform and "x86_64" in one.platform]
    return {one.version: one for one in sorted(linux, key=lambda one: one.python, reverse=True)}


def extract(wheel: Wheel, wanted: re.Pattern[str], folder: Path) -> list[Path]:
    """Fetch the files of a wheel whose names match ``wanted`` into ``folder``, flat.

    What is there already is not fetched again.
    """
    done = folder / "done"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(io.BufferedReader(RemoteFile(wheel.url), BUFFER_BYTES)) as archive:
            for name in filter(wanted.search, archive.namelist()):
                part = folder / f"{Path(name).name}.part"
                with archive.open(name) as source, part.open("wb") as target:
                    shutil.copyfileobj(source, target)
                part.replace(folder / Path(name).name)
        done.touch()
    return sorted(path for path in folder.iterdir() if path != done and path.suffix != ".part")


class RemoteFile(io.RawIOBase):
    """A file behind an address, read by ranges."""

    def __init__(self, url: str) -> None:
        """Ask for its size.

        Raises:
            OSError: nothing answers, or it does not serve ranges.
        """
        self._url = url
        self._position = 0
        with self._open(0, 0) as response:
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
        if not size.isdecimal():
            raise OSError(f"{url} does not serve ranges")
        self._size = int(size)

    def _open(self, first: int, last: int) -> "urllib.request._UrlopenRet":  # type: ignore[name-defined]
        headers = {"Range": f"bytes={first}-{last}"}
        request = urllib.request.Request(self._url, headers=headers)
        return urllib.request.urlopen(request, timeout=TIMEOUT_S)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        n_bytes = min(len(buffer), self._size - self._position)
        if n_bytes <= 0:
            return 0
        with self._open(self._position, self._position + n_bytes - 1) as response:
            data = response.read(n_bytes)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
