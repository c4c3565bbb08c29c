"""One generation at a time: requests wait in a short line, and leave it when their client does."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Callable, Union

from .reasoning import Piece
from .refusal import UNAVAILABLE, Refusal
from .reply import Outcome, Rendered
from .request import Request

Event = Union[Piece, Outcome, Rendered, Refusal]


class Job:
    """One request on its way. The worker puts in what the client's thread takes out."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._is_cancelled = threading.Event()

    @property
    def is_cancelled(self) -> bool:
        """Tell whether nobody waits for the reply any more."""
        return self._is_cancelled.is_set()

    def cancel(self) -> None:
        """Stop the generation before its next token."""
        self._is_cancelled.set()

    def put(self, event: Event) -> None:
        """Pass an event on to the client's thread."""
        self._events.put(event)

    def events(self, is_client_there: Callable[[], bool], poll_s: float) -> Iterator[Event]:
        """Yield what happens, to the outcome; stop the job when the client goes.

        Raises:
            Refusal: the request was not answered, or not to its end.
        """
        while True:
            if not is_client_there():
                self.cancel()
                return
            try:
                event = self._events.get(timeout=poll_s)
            except queue.Empty:
                continue
            if isinstance(event, Refusal):
                raise event
            yield event
            if isinstance(event, (Outcome, Rendered)):
                return


class WaitingLine:
    """The line of requests before the worker, ``max_waiting`` long."""

    def __init__(self, max_waiting: int) -> None:
        self._jobs: queue.Queue[Job] = queue.Queue(max_waiting)

    def join(self, request: Request) -> Job:
        """Line up.

        Raises:
            Refusal: the line is full.
        """
        job = Job(request)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            message = f"{self._jobs.maxsize} requests are waiting already"
            raise Refusal(503, UNAVAILABLE, message) from None
        return job

    def serve(self, answer: Callable[[Job], None]) -> None:
        """Answer one job after the other, for ever, in the calling thread."""
        while True:
            job = self._jobs.get()
            if not job.is_cancelled:
                answer(job)
