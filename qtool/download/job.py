"""A file on its way: what is known of it, shared by the connections that fetch it."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from qtool.download.events import FileResult, FileStatus
from qtool.download.pacing import Patience
from qtool.download.schedule import Task
from qtool.download.sinks import MemorySink, PartialFile
from qtool.download.source import Source
from qtool.errors import QtoolError
from qtool.hub.repo import RemoteFile


@dataclass(slots=True, eq=False)
class Job:
    """One file to fetch. ``sources`` are tried in order; ``outcome`` is set once, at the end."""

    file: RemoteFile
    sink: MemorySink | PartialFile
    task: Task
    sources: Sequence[Source]
    is_resumed: bool = False
    patience: Patience = field(default_factory=Patience)
    outcome: FileResult | None = None
    bytes_received: int = 0
    _source_index: int = 0
    _is_finishing: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def source(self) -> Source:
        """Return the source in use."""
        return self.sources[self._source_index]

    @property
    def is_complete(self) -> bool:
        """Return whether all bytes have arrived."""
        return self.sink.size_done() == self.file.size_bytes

    def try_next_source(self, failed: Source) -> bool:
        """Change over to the next endpoint; return False when ``failed`` was the last."""
        with self._lock:
            if self.source is not failed:
                return True
            if self._source_index + 1 == len(self.sources):
                return False
            self._source_index += 1
            self.patience = Patience()
            return True

    def begin_finish(self) -> bool:
        """Return True to the one caller that may finish the file."""
        with self._lock:
            if self._is_finishing or self.outcome is not None or not self.is_complete:
                return False
            self._is_finishing = True
            return True

    def settle(self, status: FileStatus, error: QtoolError | None = None) -> FileResult | None:
        """Set the outcome and return it; None when it was set before."""
        with self._lock:
            if self.outcome is not None:
                return None
            file = self.file
            self.outcome = FileResult(file.path, file.size_bytes, file.sha256, status, error)
            return self.outcome
