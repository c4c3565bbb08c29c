"""Where a file's bytes come from: the hub's address for it, or the signed link behind that.

A hub redirects large files to a content delivery network with a link that expires. The hub is
asked once a file, and once more when the link is refused.
"""

import logging
import threading

from qtool.download.faults import FaultKind, TransferFault, check_response
from qtool.download.mirrors import Mirror
from qtool.download.pacing import Patience
from qtool.hub.connection import WIRE_ERRORS
from qtool.hub.exchange import Exchange
from qtool.hub.origin import redact
from qtool.hub.refusals import refusal
from qtool.hub.repo import RemoteFile, RepoRef

log = logging.getLogger(__name__)


class Source:
    """One file on one endpoint. Thread-safe. ``is_given_up``: it is not asked any more."""

    __slots__ = (
        "_client",
        "_commit",
        "_file",
        "_link",
        "_repo",
        "_resolving",
        "is_given_up",
        "mirror",
        "patience",
    )

    def __init__(self, mirror: Mirror, repo: RepoRef, commit: str, file: RemoteFile) -> None:
        self.mirror = mirror
        self.patience = Patience()
        self.is_given_up = False
        self._client = mirror.client
        self._repo = repo
        self._commit = commit
        self._file = file
        self._link: str | None = None
        self._resolving = threading.Lock()

    @property
    def endpoint_url(self) -> str:
        """Return the endpoint's base URL."""
        return self.mirror.url

    @property
    def _hub_url(self) -> str:
        return self._client.endpoint.file_url(self._repo, self._commit, self._file.path)

    @property
    def link(self) -> str | None:
        """Return the address that serves the bytes, None while it is not known."""
        return self._link

    @property
    def is_usable(self) -> bool:
        """Return whether the file may still be asked for here."""
        return not self.is_given_up and self.mirror.dropped is None

    @property
    def is_waiting(self) -> bool:
        """Return whether a failure was so recent that it is better to ask elsewhere."""
        return self.patience.is_waiting or self.mirror.patience.is_waiting

    def note_bytes(self, count: int) -> None:
        """Note that bytes have arrived."""
        self.patience.note_bytes()
        self.mirror.note_bytes(count)

    def note_failure(self, retry_after_s: float | None = None) -> float:
        """Note a failed attempt; return how long to wait before the next, in seconds."""
        self.mirror.patience.note_failure(retry_after_s)
        return self.patience.note_failure(retry_after_s)

    def open(self, start: int, end: int, *, accepts_whole: bool = False) -> tuple[Exchange, int]:
        """Ask for bytes ``[start, end)``; return the exchange and how many body bytes to skip.

        Raises TransferFault, OSError or HTTPException for what may succeed when tried again,
        AuthError or NotFoundError when the hub itself refuses the file.
        """
        headers = {} if accepts_whole else {"Range": f"bytes={start}-{end - 1}"}
        exchange, url = self._send(headers)
        try:
            skip = check_response(
                exchange.status,
                exchange.headers,
                exchange.remaining,
                self._file,
                start,
                end,
                accepts_whole=accepts_whole,
            )
        except TransferFault as fault:
            exchange.close()
            self._react(fault, url, exchange)
            raise
        return exchange, skip

    def _send(self, headers: dict[str, str]) -> tuple[Exchange, str]:
        link = self._link
        if link is None:
            # One connection asks the hub; the others wait for the link it gets.
            with self._resolving:
                if (link := self._link) is None:
                    exchange, self._link = self._client.follow(self._hub_url, headers)
                    return exchange, self._link
        try:
            return self._client.follow(link, headers)
        except WIRE_ERRORS:
            self._forget(link)
            raise

    def _react(self, fault: TransferFault, url: str, exchange: Exchange) -> None:
        """Forget a link that led to a fault; raise what the hub itself says for good."""
        if url != self._hub_url:
            if fault.kind is not FaultKind.UNRANGED:
                self._forget(url)
        elif fault.kind is FaultKind.REFUSED and fault.status is not None:
            raise refusal(
                fault.status,
                exchange.headers,
                self._client.endpoint,
                self._repo,
                has_token=self._client.has_token,
                path=self._file.path,
            ) from fault

    def _forget(self, link: str) -> None:
        if self._link == link:
            log.debug("%s: link dropped: %s", self._file.path, redact(link))
            self._link = None
