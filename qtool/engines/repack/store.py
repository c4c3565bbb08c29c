"""Where repacked models lie in the cache, and which checkpoint each was made of.

    <cache>/repacked/<content's SHA-256, 16 digits>/<model>.gguf
    <cache>/repacked/<…>/source.json

``source.json`` names the folder of the checkpoint and its stamp, so that a second start need not
hash gigabytes: as long as no file was touched the stamp proves enough. A GGUF is there only when
it is whole; ``source.json`` may be newer or missing without harm.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qtool.errors import IntegrityError
from qtool.locks import try_lock
from qtool.models.json_file import read_json_fields

DIGITS = 16
SOURCE = "source.json"


@dataclass(frozen=True, slots=True)
class Repacked:
    """A GGUF in the cache. ``source`` is the folder it was made of, unless that is not known."""

    key: str
    path: Path
    size_bytes: int
    source: Path | None
    stamp: str | None

    @property
    def is_orphan(self) -> bool:
        """Tell whether the checkpoint is gone from where it was."""
        return self.source is None or not self.source.is_dir()


class RepackStore:
    """The repacked models of a cache folder."""

    def __init__(self, cache_dir: Path) -> None:
        self.folder = cache_dir / "repacked"

    def all(self) -> Iterator[Repacked]:
        """Yield what is there, sorted by its file's name."""
        found = (path for path in self.folder.glob("*/*.gguf") if os.path.isfile(path))  # noqa: PTH113
        for path in sorted(found, key=lambda path: (path.name, path.parent.name)):
            source, stamp = _read_source(path.parent / SOURCE)
            yield Repacked(path.parent.name, path, path.stat().st_size, source, stamp)

    def find_by_stamp(self, folder: Path, stamp: str) -> Repacked | None:
        """Return what was made of the checkpoint in ``folder``, if it still has that stamp."""
        source = folder.resolve()
        return next(
            (one for one in self.all() if one.source == source and one.stamp == stamp), None
        )

    def find_by_digest(self, digest: str) -> Repacked | None:
        """Return what was made of the same content, wherever it lay."""
        return next((one for one in self.all() if one.key == digest[:DIGITS]), None)

    def path_for(self, digest: str, name: str) -> Path:
        """Return where the GGUF of a checkpoint with that ``digest`` belongs."""
        return self.folder / digest[:DIGITS] / f"{name}.gguf"

    def note_source(self, path: Path, folder: Path, stamp: str) -> None:
        """Remember which checkpoint the GGUF at ``path`` was made of.

        What was made of it before it was changed is forgotten, so that ``--prune`` removes it.
        """
        kind = stamp.partition("-")[2]
        for one in self.all():
            is_older = one.source == folder.resolve() and one.path != path
            if is_older and (one.stamp or "").partition("-")[2] == kind:
                (one.path.parent / SOURCE).unlink(missing_ok=True)
        document = {"source": str(folder.resolve()), "stamp": stamp}
        part = path.parent / f"{SOURCE}.part"
        part.write_text(json.dumps(document), encoding="utf-8")
        part.replace(path.parent / SOURCE)

    def remove_leftovers(self) -> int:
        """Delete what killed runs left, and return how many bytes that were."""
        freed_bytes = 0
        for part in self.folder.glob("*/*.gguf.part"):
            with part.open("rb") as file:
                if try_lock(file.fileno()):  # and held until the name is gone
                    freed_bytes += part.stat().st_size
                    part.unlink()
        return freed_bytes

    def remove(self, one: Repacked) -> None:
        """Delete a GGUF and what is known of it."""
        remove_file(one.path)


def remove_file(path: Path) -> None:
    """Delete a model of qtool's cache, and its folder unless there is another one in it.

    Raises OSError.
    """
    path.unlink()
    if not any(path.parent.glob("*.gguf")):
        (path.parent / SOURCE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is something else in it
            path.parent.rmdir()


def _read_source(path: Path) -> tuple[Path | None, str | None]:
    if not path.is_file():
        return None, None
    try:
        fields = read_json_fields(path)
        source, stamp = fields.text("source"), fields.text("stamp")
    except IntegrityError:
        return None, None  # it only saves time
    return (Path(source) if source else None), stamp
