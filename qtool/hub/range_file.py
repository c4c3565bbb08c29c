"""The beginning of a file on a hub, read by range requests as if it were a file here."""

import io

from qtool.errors import NetworkError
from qtool.hub.client import HubClient, unreachable
from qtool.hub.connection import WIRE_ERRORS
from qtool.hub.refusals import refusal
from qtool.hub.repo import Listing, RemoteFile

PIECE_BYTES = 256 * 1024
"""What is asked for at least: most headers are smaller."""


class RangeFile(io.RawIOBase):
    """A seekable binary file that fetches what is read of it, from its beginning on.

    ``head`` is what has been fetched so far. Made for headers: whoever reads the end of a large
    file gets all that is before it.
    """

    def __init__(self, client: HubClient, listing: Listing, file: RemoteFile) -> None:
        """Read ``file`` of ``listing`` by way of ``client``."""
        super().__init__()
        self._client, self._listing, self._file = client, listing, file
        self._position = 0
        self.head = bytearray()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is fetched."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._file.size_bytes}
        self._position = max(0, base[whence] + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes from the position on, all where it is negative.

        Raises:
            NetworkError: the hub does not answer, or not with what was asked for.
            AuthError: it wants a token, or another one.
        """
        left = max(0, self._file.size_bytes - self._position)
        size = left if size < 0 else min(size, left)
        end = self._position + size
        if end > len(self.head):
            self._fetch(min(self._file.size_bytes, max(end, len(self.head) + PIECE_BYTES)))
        found = bytes(self.head[self._position : end])
        self._position += len(found)
        return found

    def _fetch(self, end: int) -> None:
        """Have the bytes before ``end``."""
        start, client = len(self.head), self._client
        url = client.endpoint.file_url(self._listing.repo, self._listing.commit, self._file.path)
        wanted = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        try:
            exchange, _ = client.follow(url, wanted)
            is_whole = exchange.status == 200 and start == 0 and end == self._file.size_bytes
            if exchange.status != 206 and not is_whole:
                exchange.close()
                if exchange.status == 200:
                    raise NetworkError(
                        f"{client.endpoint.url} sends whole files where a part is asked for",
                        hint=f"qtool download {self._listing.repo.repo_id}",
                    )
                raise refusal(
                    exchange.status,
                    exchange.headers,
                    client.endpoint,
                    self._listing.repo,
                    has_token=client.has_token,
                    path=self._file.path,
                )
            piece = exchange.read_all(end - start)
        except WIRE_ERRORS as exc:
            raise unreachable(client.endpoint, exc) from exc
        if len(piece) != end - start:
            raise NetworkError(f"{client.endpoint.url} sends {len(piece)} bytes of {end - start}")
        self.head += piece
