"""Files in place that a run replaces: what of them is kept, and what is said.

A ``config.json`` that is neither what the hub lists nor any version that was fetched is a person's
work. It is copied before the hub's content takes its name, so that no moment is without it.
A Git LFS pointer is no work. Weights are damaged, not edited, and are the affair of ``repair``,
unless they are whole and of another making: then they change their name, which costs no copying.
"""

import itertools
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from qtool.download.damage import DamageKind
from qtool.download.disk import check_space, disk_errors
from qtool.download.layout import place_of
from qtool.download.partials import is_small
from qtool.download.target import Target, size_and_mtime
from qtool.download.verify import Verifier, is_text
from qtool.errors import QtoolError
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
        final = target.layout.final_path(file)
        with disk_errors(place):
            if is_text(place) or (is_small(file) and place.is_file()):
                if _is_somebodys_work(target, verifier, file):
                    kept = _keep_copy(place, final)
                    yield (
                        f"{file.path} was not as the hub has it, and is replaced; "
                        f"what it was is kept as {kept.name}"
                    )
            elif place.is_file() and _are_other_weights(target, verifier, file):
                check_space(target.layout.root, file.size_bytes)
                kept = place.rename(_free_name(final))
                yield f"{file.path} held other weights than the hub's; they are kept as {kept.name}"
            elif place.is_file() and _was_right(target, file):
                yield f"{file.path} was damaged after it had been verified; it is fetched anew"


def _was_right(target: Target, file: RemoteFile) -> bool:
    """Return whether a file in place was once verified to be what the hub lists now."""
    entry = target.manifest.find(file.path)
    return entry is not None and entry.digest is not None and entry.digest == file.digest


def _is_as_recorded(target: Target, file: RemoteFile) -> bool:
    """Return whether size and time are those of the file that was verified once."""
    entry = target.manifest.find(file.path)
    as_fetched = (entry.size, abs(entry.mtime_ns)) if entry is not None else None
    return size_and_mtime(place_of(file, target.layout)) == as_fetched


def _is_somebodys_work(target: Target, verifier: Verifier, file: RemoteFile) -> bool:
    if file.digest is None:  # then only the time tells
        return not _is_as_recorded(target, file)
    damage = verifier.damage_of(file)
    return damage is not None and damage.kind not in _NOBODYS_WORK


def _are_other_weights(target: Target, verifier: Verifier, file: RemoteFile) -> bool:
    """Return whether somebody has put weights of another making in the place of a file.

    They are whole by their header, written since the file was verified, and not the hub's with
    damage somewhere behind their beginning.
    """
    place = place_of(file, target.layout)
    if _is_as_recorded(target, file) or not _are_whole_weights(place):
        return False
    damage = verifier.damage_of(file)
    if damage is None or damage.kind in _NOBODYS_WORK:
        return False
    is_of_same_size = damage.kind is DamageKind.CORRUPT
    return not (is_of_same_size and damage.bad_ranges and damage.bad_ranges[0][0] > 0)


def _are_whole_weights(path: Path) -> bool:
    """Return whether the header of a weight file is sound, and agrees with its size."""
    from qtool.models.gguf import read_gguf_header
    from qtool.models.gguf_header import check_layout
    from qtool.models.safetensors import read_safetensors_header

    try:
        match path.suffix.lower():
            case ".safetensors":
                read_safetensors_header(path)
            case ".gguf":
                check_layout(read_gguf_header(path), path.name)
            case _:
                return False
    except QtoolError:
        return False
    return True


def _keep_copy(place: Path, final: Path) -> Path:
    """Return a copy of a file, beside it. Raises OSError.

    It is no link: until the replacement comes, the file may be written to once more.
    """
    for kept in _names(final):
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


def _free_name(final: Path) -> Path:
    return next(kept for kept in _names(final) if not os.path.lexists(kept))


def _names(final: Path) -> Iterator[Path]:
    """Yield the names that what was in place of ``final`` may be kept by."""
    for number in itertools.count(1):
        yield final.with_name(f"{final.name}{SUFFIX}{'' if number == 1 else f'-{number}'}")


def _is_same(path: Path, other: Path) -> bool:
    """Return whether two files have the same content, each its own. Raises OSError."""
    return not path.samefile(other) and path.read_bytes() == other.read_bytes()
