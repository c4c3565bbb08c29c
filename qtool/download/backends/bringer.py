"""One file through another program: its link, the program, the digest, the final name."""

import logging
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from qtool.download.backends.child import Stopped, run_program
from qtool.download.backends.program import Order, ProgramFailure
from qtool.download.backends.programs import find_program, http_proxy_for
from qtool.download.backends.staging import Staging
from qtool.download.digests import hash_file
from qtool.download.disk import disk_errors, disk_full, size_on_disk, sync_data
from qtool.download.events import FileResult, FileStatus
from qtool.download.faults import TransferFault, broken
from qtool.download.finish import check_digest
from qtool.download.mirrors import Mirror
from qtool.download.prefixes import NotingDigest
from qtool.download.request import DownloadRequest
from qtool.download.source import Source
from qtool.download.target import Target
from qtool.errors import (
    AuthError,
    IntegrityError,
    NetworkError,
    NotFoundError,
    QtoolError,
)
from qtool.hub.choice import Choice
from qtool.hub.client import HubClient, is_hopeless, untrusted
from qtool.hub.connection import WIRE_ERRORS
from qtool.hub.repo import RemoteFile

log = logging.getLogger(__name__)

# Characters of a URL that stay as they are; all others could mean something to a program.
_URL_SAFE = "!#$%&'()*+,-./:;=?@[]_~"


@dataclass(frozen=True, slots=True)
class Shift:
    """What all files of a run share: connections of each, the claim on the folder, the end."""

    connections: int
    claim_fd: int
    stop: threading.Event
    on_wait: Callable[[str, str, float], None]


class Bringer:
    """Brings files one by one; several threads may do so at once."""

    def __init__(
        self,
        request: DownloadRequest,
        choice: Choice,
        target: Target,
        staging: Staging,
        shift: Shift,
    ) -> None:
        self._request = request
        self._program = find_program(request.backend)
        self._listing = choice.listing
        self._target = target
        self._staging = staging
        self._shift = shift
        anonymous = HubClient(choice.client.pool, choice.client.endpoint)
        self._mirror = Mirror(choice.client, 1, _ignore)
        self._anonymous = Mirror(anonymous, 1, _ignore)

    def bring(self, file: RemoteFile, on_size: Callable[[int], None]) -> FileResult | None:
        """Bring a file to its place, verified; None when its bytes cannot be had without a token.

        ``on_size`` is told how many bytes are there. Raises QtoolError when the file cannot be
        had at all, Stopped at the end of the shift.
        """
        try:
            is_resumed = self._staging.bytes_left(file) > 0
            if not self._fetch(file, on_size):
                return None
            digest = self._hash(file)
            if is_resumed and file.digest not in (None, digest.hexdigest()):
                # A power cut may leave less than was noted: once more, from nothing.
                log.debug("%s: what an earlier run left is wrong", file.path)
                self._staging.discard(file)
                self._fetch(file, on_size)
                digest = self._hash(file)
            self._check(file, digest)
        except (QtoolError, Stopped) as exc:
            if isinstance(exc, IntegrityError) or not self._staging.bytes_left(file):
                self._staging.discard(file)
            raise
        return self._publish(file, FileStatus.RESUMED if is_resumed else FileStatus.DOWNLOADED)

    def _source(self, mirror: Mirror, file: RemoteFile) -> Source:
        return Source(mirror, self._listing.repo, self._listing.commit, file)

    def _fetch(self, file: RemoteFile, on_size: Callable[[int], None]) -> bool:
        """Have the bytes fetched, in several attempts; return False when that needs a token."""
        if self._staging.is_complete(file):
            return True
        source = self._source(self._mirror, file)

        def note_size(size: int) -> None:
            if self._program.can_resume:
                source.patience.note_bytes()
            on_size(size)

        while True:
            try:
                if (link := self._link(source, file)) is None:
                    return False
                order, shift = self._order(file, link), self._shift
                run_program(self._program, order, shift.claim_fd, shift.stop, note_size)
                self._check_size(file)
            except (TransferFault, ProgramFailure) as exc:
                self._wait(file, source, exc)
            except WIRE_ERRORS as exc:
                if is_hopeless(exc):
                    raise untrusted(source.endpoint_url, exc) from exc
                self._wait(file, source, broken(exc))
            else:
                return True

    def _link(self, source: Source, file: RemoteFile) -> str | None:
        """Return an address that serves the bytes to anybody, None when there is none.

        A token stays in this process: aria2c takes a header along to wherever a server redirects
        it, which no option forbids. hf_transfer does not, but it need not know the token either.
        """
        link = _resolve(source)
        if not source.mirror.client.headers_for(link):
            return link
        try:
            return _resolve(self._source(self._anonymous, file))
        except (AuthError, NotFoundError) as exc:
            log.debug("%s: only with the token: %s", file.path, exc)
            return None

    def _order(self, file: RemoteFile, link: str) -> Order:
        target = self._staging.path(file)
        if not self._staging.bytes_left(file):
            self._staging.discard(file)
        return Order(
            quote(link, safe=_URL_SAFE),
            target,
            file.size_bytes,
            self._shift.connections,
            self._request.rate_limit_bytes_per_s,
            http_proxy_for(link, self._request.backend),
        )

    def _check_size(self, file: RemoteFile) -> None:
        """Raise ProgramFailure when the program says it is done and is not."""
        with disk_errors(self._staging.path(file)):
            size = self._staging.path(file).stat().st_size
        if size != file.size_bytes:
            self._staging.discard(file)
            raise ProgramFailure(f"{size} bytes came where the file has {file.size_bytes}")

    def _wait(self, file: RemoteFile, source: Source, exc: Exception) -> None:
        """Wait for the next attempt. Raises NetworkError when there were enough of them."""
        if self._shift.stop.is_set():
            raise Stopped
        retry_after_s = exc.retry_after_s if isinstance(exc, TransferFault) else None
        wait_s = source.note_failure(retry_after_s)
        log.debug("%s: %s; again in %.1f s", file.path, exc, wait_s)
        if source.patience.is_exhausted:
            raise NetworkError(
                f"{file.path}: {exc}, again and again, from {source.endpoint_url}",
                hint="run the same command again later, or without --backend",
            ) from exc
        if wait_s >= 1.0:
            self._shift.on_wait(file.path, str(exc), wait_s)
        if self._shift.stop.wait(wait_s):
            raise Stopped

    def _hash(self, file: RemoteFile) -> NotingDigest:
        path, digest = self._staging.path(file), NotingDigest(file)
        with disk_errors(path):
            if not hash_file(path, digest, self._shift.stop):
                raise Stopped
        return digest

    def _check(self, file: RemoteFile, digest: NotingDigest) -> None:
        """Raise IntegrityError for wrong content, ResourceError where a full disk made it so."""
        try:
            check_digest(file, digest.hexdigest())
        except IntegrityError as exc:
            self._blame_disk(file)
            source = f"(from {self._mirror.url}, by {self._request.backend})"
            raise IntegrityError(f"{exc.message} {source}", hint=exc.hint) from exc
        self._target.prefixes.add(file, digest.prefixes())

    def _blame_disk(self, file: RemoteFile) -> None:
        """Raise ResourceError when holes are left and no space is: hf_transfer is silent then."""
        path = self._staging.path(file)
        with disk_errors(path):
            missing = file.size_bytes - size_on_disk(path)
            if missing > 0 and shutil.disk_usage(path.parent).free < missing:
                raise disk_full(path.parent)

    def _publish(self, file: RemoteFile, status: FileStatus) -> FileResult:
        path = self._staging.path(file)
        with disk_errors(path), path.open("rb") as stream:
            sync_data(stream.fileno())
        self._target.publish(path, file)
        self._staging.discard(file)
        return FileResult.of(file, status)


def _resolve(source: Source) -> str:
    """Return the address that the file's bytes come from, after redirects.

    Raises what ``Source.open`` raises.
    """
    exchange, _ = source.open(0, 1)
    exchange.close()
    if source.link is None:
        raise AssertionError("an open source has a link")
    return source.link


def _ignore(url: str, reason: str) -> None:
    """Do nothing: the only endpoint is never dropped."""
