"""Damaged files on their way to being right again: good bytes are kept, nothing is lost.

Where it is known from which block on it is wrong, the file itself becomes a partial download: a
journal that leaves that block out is written and synced, then the file is renamed to the partial
file. From then on it is a download that was interrupted: what is missing is fetched, further wrong
blocks are found one after the other (``front``), the digest of the whole is compared, and only that
gives it its final name. No second copy is written, so a disk that is full but for the damage will
do, and a death at any moment leaves either the damaged file under its name or a download that the
next run resumes.

Where nothing is known, the file is set aside in ``damaged`` of the state folder until its
replacement is in place; that takes the room of a second copy, and room is checked before.
"""

import logging
import os
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from qtool.download.damage import Damage, DamageKind
from qtool.download.digests import hash_file
from qtool.download.disk import check_space, disk_errors, sync_data, sync_folder
from qtool.download.events import FileResult
from qtool.download.finish import ASIDE_FOLDER
from qtool.download.journal import Journal, boot_id
from qtool.download.layout import place_of
from qtool.download.partials import (
    PARTIAL_FOLDER,
    identity_of,
    is_small,
    part_name,
    partial_paths,
)
from qtool.download.prefixes import NotingDigest
from qtool.download.ranges import Range, RangeSet
from qtool.download.sinks import PartialFile
from qtool.download.target import Target
from qtool.hub.repo import RemoteFile

log = logging.getLogger(__name__)

_NOT_OF_USE = frozenset({DamageKind.MISSING, DamageKind.OUTDATED, DamageKind.POINTER})


class Salvager:
    """Prepares damaged files for being fetched; call it with the target's lock held."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._layout = target.layout
        self._listing = target.listing
        self._partial = target.layout.state_dir / PARTIAL_FOLDER
        self._aside = target.layout.state_dir / ASIDE_FOLDER

    def prepare(self, wrong: Mapping[RemoteFile, Damage], stop: threading.Event) -> None:
        """Take over what may be good of each file, and set aside those of which nothing is known.

        Raises ResourceError, before anything is moved when the disk is too small.
        """
        for file, damage in wrong.items():
            if damage.kind is DamageKind.MISSING:
                self._recall(file, stop)
        pairs = [(file, wrong[file]) for file in self._target.by_content(wrong).values()]
        check_space(self._layout.root, sum(self._needed_bytes(*pair) for pair in pairs))
        for file, damage in pairs:
            if damage.kind in _NOT_OF_USE:
                continue
            if damage.bad_ranges is None or is_small(file):
                self.set_aside(file)
            else:
                self.take_over(file, damage.bad_ranges)
                if self._target.prefixes.find(file) is None:
                    self._link_aside(file)

    def reuse(self, file: RemoteFile, stop: threading.Event) -> None:
        """Take over a file of unknown state if it begins as it should.

        Raises ResourceError.
        """
        place = place_of(file, self._layout)
        if not place.is_file():
            self._recall(file, stop)
            return
        block = self._first_bad_block(file, place, stop)
        if block is not None:
            check_space(self._layout.root, self._written_bytes(file, block[1] - block[0]))
            self.take_over(file, [block])

    def _recall(self, file: RemoteFile, stop: threading.Event) -> None:
        """Go on with a file that was set aside for its notes, when these are believed again."""
        aside, (part, _) = self._aside_path(file), self._partial_paths(file)
        if not aside.is_file() or part.exists() or is_small(file):
            return
        block = self._first_bad_block(file, aside, stop)
        if block is not None and not _must_stay(aside):
            with disk_errors(aside):
                self._begin(file, aside.stat().st_size, [block])
                aside.replace(part)

    def _first_bad_block(self, file: RemoteFile, path: Path, stop: threading.Event) -> Range | None:
        """Return where content begins to differ from what notes say, None where none do."""
        right = self._target.prefixes.find(file)
        if right is None:
            return None
        digest = NotingDigest(file)
        with disk_errors(path):
            if not hash_file(path, digest, stop, file.size_bytes):
                raise KeyboardInterrupt
        return right.first_difference(digest.prefixes())

    def take_over(self, file: RemoteFile, bad_ranges: Sequence[Range]) -> None:
        """Make a partial download of a file without ``bad_ranges``. Raises ResourceError."""
        place = place_of(file, self._layout)
        with disk_errors(place):
            self._target.disown(file)
            part, must_stay = self._partial_paths(file)[0], _must_stay(place)
            self._begin(file, place.stat().st_size, bad_ranges, place if must_stay else None)
            if must_stay:
                place.unlink()
            else:
                place.replace(part)

    def _begin(
        self,
        file: RemoteFile,
        size_bytes: int,
        bad_ranges: Sequence[Range],
        copied: Path | None = None,
    ) -> None:
        """Write the journal of a partial file that is about to be there, or is to be copied.

        Raises OSError.
        """
        good = RangeSet([(0, min(size_bytes, file.size_bytes))]).without(bad_ranges)
        part, journal = self._partial_paths(file)
        self._partial.mkdir(parents=True, exist_ok=True)
        # A journal must never vouch for bytes of another partial file than its own.
        part.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        if copied is not None:
            _copy(copied, part)
        Journal.start(journal, identity_of(self._listing, file), good, boot_id()).close()
        sync_folder(self._partial)
        log.debug("%s: %d bytes of it are good", file.path, good.size_bytes)

    def set_aside(self, file: RemoteFile) -> None:
        """Keep a damaged file out of the way until its replacement is there."""
        place, aside = place_of(file, self._layout), self._aside_path(file)
        with disk_errors(place):
            aside.parent.mkdir(parents=True, exist_ok=True)
            if _is_shared(place):
                place.unlink()
            else:
                place.replace(aside)

    def _link_aside(self, file: RemoteFile) -> None:
        """Give bytes that are only presumed good a second name, lest a wrong digest cost them."""
        part, aside = self._partial_paths(file)[0], self._aside_path(file)
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.unlink(missing_ok=True)
            aside.hardlink_to(part)
        except OSError as exc:  # a disk without links, such as a stick in exFAT
            log.debug("%s: no second name: %s", file.path, exc)

    def tidy(self, results: Sequence[FileResult]) -> None:
        """Remove what was set aside, in this run or an earlier one, of files in place again.

        Notes about content that is not there any more go as well. Raises ResourceError.
        """
        self._target.prefixes.prune({entry.digest for entry in self._target.manifest.entries()})
        right = {result.path for result in results if result.error is None}
        if not self._aside.is_dir():
            return
        with disk_errors(self._aside):
            for file in self._listing.files:
                if file.path in right:
                    self._aside_path(file).unlink(missing_ok=True)
            if not any(self._aside.iterdir()):
                self._aside.rmdir()

    def kept(self, results: Sequence[FileResult]) -> tuple[str, ...]:
        """Return a note for each failed file whose damaged predecessor is still set aside."""
        failed = {result.path for result in results if result.error is not None}
        return tuple(
            f"{file.path}: the damaged file is kept as {aside} until its replacement is there"
            for file in self._listing.files
            if file.path in failed and (aside := self._aside_path(file)).exists()
        )

    def _needed_bytes(self, file: RemoteFile, damage: Damage) -> int:
        if damage.kind in _NOT_OF_USE:
            begun = PartialFile(self._partial, file, identity_of(self._listing, file))
            return file.size_bytes - begun.size_done()
        if damage.bad_bytes is None:
            return file.size_bytes
        return self._written_bytes(file, damage.bad_bytes)

    def _written_bytes(self, file: RemoteFile, bad_bytes: int) -> int:
        """Return how much it takes to replace a part of a file in place."""
        return file.size_bytes if _must_stay(place_of(file, self._layout)) else bad_bytes

    def _partial_paths(self, file: RemoteFile) -> tuple[Path, Path]:
        return partial_paths(self._partial, identity_of(self._listing, file))

    def _aside_path(self, file: RemoteFile) -> Path:
        return self._aside / part_name(identity_of(self._listing, file))


def _is_shared(path: Path) -> bool:
    """Return whether a file has another name, so that writing to it would change that as well."""
    return path.is_symlink() or path.stat().st_nlink > 1


def _must_stay(path: Path) -> bool:
    """Return whether a file cannot be written to as it is: only a copy of it can."""
    return _is_shared(path) or not os.access(path, os.W_OK)


def _copy(source: Path, target: Path) -> None:
    """Copy a file and sync it. Raises OSError."""
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1024 * 1024)
        writer.flush()
        sync_data(writer.fileno())
