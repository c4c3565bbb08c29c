"""Files in place that a run replaces: what of them is kept, and what is said.

A ``config.json`` that is neither what the hub lists nor any version that was fetched is a person's
work. It is copied before the hub's content takes its name, so that no moment is without it.
Weights are damaged, not edited, and are the affair of ``repair``; a Git LFS pointer is no work.
"""

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from qtool.download.damage import DamageKind
from qtool.download.disk import disk_errors
from qtool.download.layout import place_of
from qtool.download.target import Target, size_and_mtime
from qtool.download.verify import Verifier, is_text
from qtool.hub.repo import RemoteFile

SUFFIX = ".edited"
_NOBODYS_WORK = frozenset({DamageKind.MISSING, DamageKind.POINTER, DamageKind.OUTDATED})


def keep_edited(target: Target, verifier: Verifier, files: Iterable[RemoteFile]) -> Iterator[str]:
    """Copy each of ``files`` that is somebody's work, before it is replaced.

    Yields what the user is told of it, and of other files that are not as they were fetched. Raises
    ResourceError where it cannot be copied, KeyboardInterrupt when stopped.
    """
    for file in files:
        place = place_of(file, target.layout)
        with disk_errors(place):
            if is_text(place):
                if _is_somebodys_work(target, verifier, file):
                    kept = _keep(place, target.layout.final_path(file))
                    yield (
                        f"{file.path} was not as the hub has it, and is replaced; "
                        f"what it was is kept as {kept.name}"
                    )
            elif place.is_file() and _was_right(target, file):
                yield f"{file.path} was damaged after it had been verified; it is fetched anew"


def _was_right(target: Target, file: RemoteFile) -> bool:
    """Return whether a file in place was once verified to be what the hub lists now."""
    entry = target.manifest.find(file.path)
    return entry is not None and entry.digest is not None and entry.digest == file.digest


def _is_somebodys_work(target: Target, verifier: Verifier, file: RemoteFile) -> bool:
    if file.digest is None:  # then only the time tells
        entry = target.manifest.find(file.path)
        as_fetched = (entry.size, entry.mtime_ns) if entry is not None else None
        return size_and_mtime(place_of(file, target.layout)) != as_fetched
    damage = verifier.damage_of(file)
    return damage is not None and damage.kind not in _NOBODYS_WORK


def _keep(place: Path, final: Path) -> Path:
    """Return a copy of a file, beside it. Raises OSError.

    It is no link: until the replacement comes, the file may be written to once more.
    """
    for number in itertools.count(1):
        kept = final.with_name(f"{final.name}{SUFFIX}{'' if number == 1 else f'-{number}'}")
        if kept.is_file() and _is_same(kept, place):
            return kept
        if not os.path.lexists(kept):
            break
    try:
        shutil.copy2(place, kept)
    except OSError:  # half a copy would be taken for the whole
        kept.unlink(missing_ok=True)
        raise
    return kept


def _is_same(path: Path, other: Path) -> bool:
    """Return whether two files have the same content, each its own. Raises OSError."""
    return not path.samefile(other) and path.read_bytes() == other.read_bytes()
