"""Misbehaviour on request: which responses go wrong, where in them, and how often.

A fault is described by a frozen ``Fault``; a ``FaultTable`` holds those of one hub and hands each
out as often as it may fire. A fault counts as fired at the moment it takes effect, not before: a
drop in the middle of a file is still there when the client went away before the middle.
"""

import fnmatch
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Role = Literal["hub", "cdn"]


class FaultKind(StrEnum):
    """What goes wrong. The first group happens in the body, at ``Fault.at``."""

    DROP = "drop"  # the connection ends (FIN)
    RESET = "reset"  # the connection is reset (RST)
    STALL = "stall"  # nothing further is sent, the connection stays open
    PAUSE = "pause"  # nothing is sent for delay_s, then the rest
    TRICKLE = "trickle"  # count bytes a second from there on
    FLIP = "flip"  # one byte has all its bits inverted

    # In place of the response, or around it.
    UNAVAILABLE = "unavailable"  # 503, with Retry-After if retry_after_s is given
    RATE_LIMITED = "rate-limited"  # 429 with Retry-After
    STATUS = "status"  # any status, see Fault.status
    EXPIRED = "expired"  # 403 with the XML of a store whose signed link ran out
    LOGIN_PAGE = "login-page"  # 200 with an HTML page
    REDIRECT_LOOP = "redirect-loop"  # 302 to the same address
    REDIRECT_HOST = "redirect-host"  # 302 to the same path at Fault.target
    NO_REPLY = "no-reply"  # the connection ends before the first byte of the head
    SLOW_HEAD = "slow-head"  # the head arrives byte by byte over delay_s
    DELAY = "delay"  # the response starts delay_s later
    CLOSE_AFTER = "close-after"  # the response is complete, then the connection ends unannounced

    # In what a response to GET claims about its body; those of ranges strike 206 only.
    SHORT_LENGTH = "short-length"  # Content-Length and body are count bytes too small
    LONG_LENGTH = "long-length"  # Content-Length and body are count bytes too large
    BROKEN_LENGTH = "broken-length"  # Content-Length is count bytes larger than the body, then FIN
    IGNORE_RANGE = "ignore-range"  # 200 with the whole file
    WRONG_RANGE = "wrong-range"  # 206 of a range count bytes further on, and it says so
    MISPLACED = "misplaced"  # 206 that claims the right range but holds bytes of another
    WRONG_TOTAL = "wrong-total"  # the total in Content-Range is count bytes too large
    CHANGED_ETAG = "changed-etag"  # another ETag (and X-Linked-ETag)
    CHUNKED = "chunked"  # Transfer-Encoding: chunked, without Content-Length

    # At the port.
    DEAD = "dead"  # connections are reset when they arrive; with times=None: refused


BODY_KINDS = frozenset(
    {
        FaultKind.DROP,
        FaultKind.RESET,
        FaultKind.STALL,
        FaultKind.PAUSE,
        FaultKind.TRICKLE,
        FaultKind.FLIP,
    }
)
LENGTH_KINDS = frozenset(
    {
        FaultKind.SHORT_LENGTH,
        FaultKind.LONG_LENGTH,
        FaultKind.BROKEN_LENGTH,
        FaultKind.CHUNKED,
    }
)
RANGE_KINDS = frozenset(
    {
        FaultKind.IGNORE_RANGE,
        FaultKind.WRONG_RANGE,
        FaultKind.MISPLACED,
        FaultKind.WRONG_TOTAL,
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of misbehaviour and where it strikes.

    ``path`` is a glob over the repository's file paths; one that begins with ``/`` is matched
    against the URL's path instead. ``at`` is a position: an int is a byte offset (negative: from
    the end), a float a fraction (1.0 is the last byte); it belongs to the file, or to each response
    when ``of`` says so. Faults of the body strike there; others strike the requests whose range
    covers the position, or all when ``at`` is None. ``times`` None means always.
    """

    kind: FaultKind
    path: str | None = None
    at: int | float | None = None
    times: int | None = 1
    role: Role | None = None
    of: Literal["file", "response"] = "file"
    method: Literal["GET", "HEAD"] | None = None
    repo_id: str | None = None
    count: int = 1000
    status: int = 500
    retry_after_s: int | None = None
    delay_s: float = 1.0
    target: str = ""

    def position(self, size: int) -> int:
        """Where in ``size`` bytes the fault strikes."""
        at = 0 if self.at is None else self.at
        offset = int(at * size) if isinstance(at, float) else at
        return max(0, min(size - 1, offset + size if offset < 0 else offset))


@dataclass(frozen=True, slots=True)
class Subject:
    """What a request is about, as far as faults are concerned.

    ``status`` is that of the response before any fault; ``start`` and ``stop`` bound the wanted
    bytes of a file of ``size_bytes``, which is None where no file is concerned.
    """

    role: Role
    method: str
    url_path: str
    status: int = 200
    repo_id: str | None = None
    path: str | None = None
    size_bytes: int | None = None
    start: int = 0
    stop: int = 0


def matches(fault: Fault, subject: Subject) -> bool:
    """Whether the fault is about this request at all (its position within it aside)."""
    return (
        fault.role in (None, subject.role)
        and fault.method in (None, subject.method)
        and fault.repo_id in (None, subject.repo_id)
        and _matches_path(fault.path, subject)
    )


def _matches_path(pattern: str | None, subject: Subject) -> bool:
    if pattern is None:
        return True
    if pattern.startswith("/"):
        return fnmatch.fnmatchcase(subject.url_path, pattern)
    return subject.path is not None and fnmatch.fnmatchcase(subject.path, pattern)


def can_strike_head(kind: FaultKind, subject: Subject) -> bool:
    """Whether a fault of this kind would change this response as a whole.

    A redirect has no range to be wrong about; a fault that waits for one must not be used up.
    """
    if kind in LENGTH_KINDS:
        return subject.method == "GET" and subject.status in (200, 206)
    if kind in RANGE_KINDS:
        return subject.method == "GET" and subject.status == 206
    return kind not in BODY_KINDS and kind is not FaultKind.DEAD


def strike_offset(fault: Fault, subject: Subject) -> int | None:
    """The file offset where the fault strikes this request, or None when it lies outside."""
    if subject.size_bytes is None:
        return None
    if fault.of == "response":
        return subject.start + fault.position(subject.stop - subject.start)
    if fault.at is None:
        return subject.start
    offset = fault.position(subject.size_bytes)
    return offset if subject.start <= offset < subject.stop else None


class FaultTable:
    """The faults of one hub. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: dict[int, int | None] = {}
        self._faults: dict[int, Fault] = {}
        self._next = 0

    def add(self, fault: Fault) -> None:
        with self._lock:
            self._faults[self._next] = fault
            self._left[self._next] = fault.times
            self._next += 1

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()
            self._left.clear()

    def claim_head(self, subject: Subject) -> list[Fault]:
        """Take the faults that change this response as a whole; each counts as fired."""
        return [
            fault
            for number, fault in self._matching(subject)
            if can_strike_head(fault.kind, subject)
            and (fault.at is None or strike_offset(fault, subject) is not None)
            and self._claim(number)
        ]

    def body_strikes(self, subject: Subject) -> list["Strike"]:
        """The places in the body where faults wait, in order; claim each on arrival."""
        strikes = []
        for number, fault in self._matching(subject):
            offset = strike_offset(fault, subject)
            if fault.kind in BODY_KINDS and offset is not None:
                strikes.append(Strike(offset, fault, number))
        return sorted(strikes, key=lambda strike: (strike.offset, strike.number))

    def claim_strike(self, strike: "Strike") -> bool:
        return self._claim(strike.number)

    def claim_dead(self, role: Role) -> bool:
        """Whether a connection that just arrived at this port shall be reset."""
        return any(
            self._claim(number)
            for number, fault in self._snapshot()
            if fault.kind is FaultKind.DEAD and fault.role in (None, role)
        )

    def _matching(self, subject: Subject) -> list[tuple[int, Fault]]:
        return [(number, fault) for number, fault in self._snapshot() if matches(fault, subject)]

    def _snapshot(self) -> list[tuple[int, Fault]]:
        with self._lock:
            return list(self._faults.items())

    def _claim(self, number: int) -> bool:
        with self._lock:
            if number not in self._faults:
                return False
            left = self._left[number]
            if left is None:
                return True
            if left == 0:
                return False
            self._left[number] = left - 1
            return True


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault of the body at its place in the file."""

    offset: int
    fault: Fault
    number: int
