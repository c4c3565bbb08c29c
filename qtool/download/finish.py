"""From all bytes there to the final name: compare the digest, sync, rename, remember."""

from collections.abc import Callable, Sequence
from pathlib import Path

from qtool.download.digests import new_digest
from qtool.download.disk import create_file, disk_errors, move_file
from qtool.download.events import FileResult, FileStatus
from qtool.download.job import Job
from qtool.download.prefixes import NotingDigest, Prefixes
from qtool.download.progress import Tally
from qtool.download.ranges import Range, RangeSet
from qtool.download.schedule import Schedule
from qtool.download.sinks import MemorySink, PartialFile
from qtool.download.target import Target
from qtool.errors import IntegrityError, QtoolError
from qtool.hub.repo import RemoteFile

# Where small files are written before they get their final names.
SMALL_FOLDER = "small"
# Where damaged files are kept until their replacement is in place.
ASIDE_FOLDER = "damaged"


class Finisher:
    """Verifies complete files and gives them their final names. Thread-safe."""

    def __init__(
        self,
        target: Target,
        schedule: Schedule,
        tally: Tally,
        report: Callable[[FileResult], None],
    ) -> None:
        self._target = target
        self._schedule = schedule
        self._tally = tally
        self._report = report

    def finish_empty(self, job: Job) -> None:
        """Make a file of no bytes, for which there is nothing to ask."""
        try:
            if isinstance(job.sink, MemorySink) and job.begin_finish():
                self.finish_small(job, job.sink)
        except QtoolError as exc:
            self.fail(job, exc)

    def finish_small(self, job: Job, sink: MemorySink) -> None:
        """Verify a file in memory, then write it. Raises IntegrityError or ResourceError."""
        digest = new_digest(job.file)
        digest.update(sink.content)
        if self._is_doubtful(job, digest.hexdigest()):
            return
        content = sink.take_content()
        fresh = self._target.layout.state_dir / SMALL_FOLDER / f"{id(job):x}"
        with disk_errors(fresh):
            create_file(fresh, content, is_synced=True)
        self._publish(job, fresh)

    def finish_partial(
        self, job: Job, sink: PartialFile, digest: NotingDigest, bad_ranges: Sequence[Range]
    ) -> bool:
        """Publish a partial file whose digest is known; return False when parts come anew.

        ``bad_ranges`` is what is known to be wrong of it, empty when nothing is known. Raises
        IntegrityError or ResourceError.
        """
        try:
            if self._is_doubtful(job, digest.hexdigest(), bad_ranges):
                return False
        except IntegrityError:
            self._throw_away(job.file, sink, bad_ranges)
            raise
        sink.sync()
        self._target.prefixes.add(job.file, digest.prefixes())
        self._publish(job, sink.path)
        sink.forget()
        return True

    def known_prefixes(self, file: RemoteFile) -> Prefixes | None:
        """Return how the content of ``file`` begins, where an earlier download noted it."""
        return self._target.prefixes.find(file)

    def fetch_again(self, job: Job, ranges: Sequence[Range]) -> None:
        """Have wrong bytes of a file brought once more, by anyone. Raises ResourceError."""
        job.sink.remove(ranges)
        self._tally.add_bytes(-sum(end - start for start, end in ranges))
        job.reopen()
        self._schedule.reopen(job.task, ranges)

    def fail(self, job: Job, error: QtoolError) -> None:
        """Give a file up: no connection goes on with it."""
        self._schedule.drop(job.task)
        if (result := job.settle(FileStatus.FAILED, error)) is not None:
            self._report(result)

    def _throw_away(self, file: RemoteFile, sink: PartialFile, bad_ranges: Sequence[Range]) -> None:
        """Remove what is wrong of a partial file, or all of it where that is not known.

        Where notes say what is wrong, it may be the notes that are. So when a second try by them
        has failed too, what they call good is set aside together with them, and the file is fetched
        once without; if its content is wrong then as well, both are believed again.
        """
        prefixes = self._target.prefixes
        if self._target.layout.content_path(file).exists():
            prefixes.discard(file)
            sink.discard()
        elif not bad_ranges:
            sink.discard()
            if not prefixes.reinstate(file):
                prefixes.discard(file)
        elif prefixes.doubt(file):
            sink.remove(bad_ranges)
        else:
            aside = self._target.layout.state_dir / ASIDE_FOLDER / sink.path.stem
            with disk_errors(aside):
                move_file(sink.path, aside)
            prefixes.withdraw(file)
            sink.discard()

    def _is_doubtful(self, job: Job, hexdigest: str, bad_ranges: Sequence[Range] = ()) -> bool:
        """Return True when the digest is wrong and other sources are asked for doubtful parts.

        Where ``bad_ranges`` are known, nothing else is doubtful. Raises IntegrityError when there
        is nobody else to ask.
        """
        try:
            check_digest(job.file, hexdigest)
        except IntegrityError as exc:
            if not (ranges := _next_trial(job, bad_ranges)):
                urls = ", ".join(source.endpoint_url for source in job.sources)
                raise IntegrityError(f"{exc.message} (from {urls})", hint=exc.hint) from exc
            self.fetch_again(job, ranges)
            return True
        for source in job.convicted():
            source.mirror.drop(f"it sent wrong bytes of {job.file.path}")
        return False

    def _publish(self, job: Job, content: Path) -> None:
        self._target.publish(content, job.file)
        status = FileStatus.RESUMED if job.is_resumed else FileStatus.DOWNLOADED
        if (result := job.settle(status)) is not None:
            self._report(result)


def _next_trial(job: Job, bad_ranges: Sequence[Range]) -> list[Range] | None:
    """Return what to fetch again, None when all has been tried."""
    while (ranges := job.next_trial()) and bad_ranges:
        if narrowed := list(RangeSet(ranges).common(bad_ranges)):
            return narrowed
    return ranges


def check_digest(file: RemoteFile, actual: str) -> None:
    """Raise IntegrityError when a digest is not the one the hub lists."""
    if file.digest is None or actual == file.digest:
        return
    kind = "sha256" if file.sha256 else "git sha1"
    raise IntegrityError(
        f"{file.path}: the content is wrong: its {kind} is {actual}, the hub says {file.digest}; "
        "what is wrong was thrown away",
        hint="run the same command again to fetch this file anew; if it happens again, "
        "another endpoint: --endpoint URL",
    )
