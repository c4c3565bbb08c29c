"""How far the files of another program are, by what is on the disk."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping

from qtool.download.events import DownloadResult, FileProgress, Progress
from qtool.download.progress import RecentRate
from qtool.hub.repo import RemoteFile


class Gauge:
    """Counts the bytes of files under way. Thread-safe.

    ``sizes`` says what is there of each file to fetch, ``known`` which files are in place.
    ``received`` is what has come in this run, also of what had to be fetched twice.
    """

    def __init__(
        self,
        sizes: Mapping[RemoteFile, int],
        others: Iterable[RemoteFile],
        known: DownloadResult,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.received = 0
        self.bytes_total = known.size_bytes + sum(f.size_bytes for f in (*sizes, *others))
        self._sizes = dict(sizes)
        self._known = known
        self._n_files = len(known.files) + len(self._sizes) + len(tuple(others))
        self._n_done = len(known.files)
        self._active: dict[str, RemoteFile] = {}
        self._rate = RecentRate(clock)
        self._lock = threading.Lock()

    @property
    def bytes_done(self) -> int:
        """Return how many bytes are there, files in place included."""
        with self._lock:
            return self._known.size_bytes + sum(self._sizes.values())

    def note(self, file: RemoteFile, size: int) -> None:
        """Note what is there of a file now."""
        with self._lock:
            self._active[file.path] = file
            self.received += max(0, size - self._sizes[file])
            self._sizes[file] = size

    def settle(self, file: RemoteFile) -> None:
        """Count a file as done, or given up."""
        with self._lock:
            self._active.pop(file.path, None)
            self._n_done += 1

    def read(self) -> Progress:
        """Return where the download stands now."""
        done = self.bytes_done
        with self._lock:
            return Progress(
                bytes_done=done,
                bytes_total=self.bytes_total,
                rate_bytes_per_s=self._rate.update(self.received),
                n_files_done=self._n_done,
                n_files=self._n_files,
                active=tuple(
                    FileProgress(file.path, self._sizes[file], file.size_bytes)
                    for file in self._active.values()
                ),
            )
