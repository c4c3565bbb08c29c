"""What goes wrong with one response, and the check that finds it.

A ``TransferFault`` concerns one connection and is answered by trying again; what no retry cures is
raised as an exception of ``qtool.errors``.
"""

import re
from enum import StrEnum

from qtool.hub.headers import Headers
from qtool.hub.refusals import BUSY_STATUSES, retry_after_s
from qtool.hub.repo import RemoteFile
from qtool.hub.unreachable import reason_of

_UNSATISFIABLE = 416
_UNSATISFIED_RANGE = re.compile(r"bytes\s+\*/(\d{1,19})", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes\s+(\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
_LINK_REFUSED = frozenset({400, 401, 403, 404, 410})


class FaultKind(StrEnum):
    """How a response failed."""

    BROKEN = "broken"  # no connection, cut short, or silent for too long
    BUSY = "busy"  # the server asks for patience (429, 503, …)
    REFUSED = "refused"  # 401, 403 and the like: for a signed link, it has expired
    WRONG = "wrong"  # an answer that cannot be this file
    UNRANGED = "unranged"  # the whole file where a range was asked for


class TransferFault(Exception):
    """One response failed; ``retry_after_s`` is the server's own wish."""

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s


def check_response(
    status: int,
    headers: Headers,
    length: int | None,
    file: RemoteFile,
    start: int,
    end: int,
    *,
    accepts_whole: bool,
) -> int:
    """Check that a response brings bytes ``[start, end)`` of ``file``; return how many to skip.

    ``length`` is the body's length if the response says it. Bytes must be skipped when the server
    sends the whole file; that is accepted for ``start == 0`` or ``accepts_whole``. The body may end
    before ``end``. Raises TransferFault.
    """
    if status == _UNSATISFIABLE:
        _check_total_of_refusal(headers, file)
    if status not in (200, 206):
        raise _fault_of_status(status, headers)
    if _is_web_page(headers) and not file.path.lower().endswith((".html", ".htm", ".xhtml")):
        raise TransferFault(FaultKind.WRONG, "a web page came instead of the file")
    if status == 206:
        _check_range(headers, length, file, start, end)
        return 0
    if length is not None and length != file.size_bytes:
        raise TransferFault(
            FaultKind.WRONG, f"{length} bytes announced where the file has {file.size_bytes}"
        )
    if start > 0 and not accepts_whole:
        raise TransferFault(FaultKind.UNRANGED, "the server does not send ranges")
    return start


def broken(exc: BaseException) -> TransferFault:
    """Return the fault for what the wire raised: no connection, a reset, silence."""
    reason = "no byte for seconds" if isinstance(exc, TimeoutError) else reason_of(exc)
    return TransferFault(FaultKind.BROKEN, reason)


def _check_range(
    headers: Headers, length: int | None, file: RemoteFile, start: int, end: int
) -> None:
    text = headers.get("Content-Range") or ""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise TransferFault(FaultKind.WRONG, f"an unreadable Content-Range: {text[:80]!r}")
    first, last, total = int(match[1]), int(match[2]), match[3]
    if first != start or not start <= last < end:
        raise TransferFault(
            FaultKind.WRONG, f"bytes {first}-{last} came where {start}-{end - 1} were asked for"
        )
    if total != "*":
        _check_total(int(total), file)
    if length is not None and length != last - first + 1:
        raise TransferFault(
            FaultKind.WRONG, f"{length} bytes announced for a range of {last - first + 1}"
        )


def _check_total_of_refusal(headers: Headers, file: RemoteFile) -> None:
    """Check the size that a refused range tells of: ``bytes */SIZE`` (RFC 9110, 15.5.17)."""
    match = _UNSATISFIED_RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    if match is not None:
        _check_total(int(match[1]), file)


def _check_total(size_bytes: int, file: RemoteFile) -> None:
    if size_bytes != file.size_bytes:
        raise TransferFault(
            FaultKind.WRONG,
            f"the server's file has {size_bytes} bytes, the listing says {file.size_bytes}",
        )


def _fault_of_status(status: int, headers: Headers) -> TransferFault:
    message = f"the server answered {status}"
    if status in BUSY_STATUSES:
        wait_s = retry_after_s(headers)
        return TransferFault(FaultKind.BUSY, message, status=status, retry_after_s=wait_s)
    if status in _LINK_REFUSED:
        return TransferFault(FaultKind.REFUSED, message, status=status)
    return TransferFault(FaultKind.WRONG, message, status=status)


def _is_web_page(headers: Headers) -> bool:
    kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml")
