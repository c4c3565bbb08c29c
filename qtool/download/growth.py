"""How many connections pay: doubled while the rate follows, few where the machine is the limit."""

from enum import StrEnum

MIB = 1024 * 1024


class _Phase(StrEnum):
    GROWING = "growing"
    LEAVING = "leaving"
    WITHDRAWN = "withdrawn"
    SETTLED = "settled"


class Growth:
    """Finds the number of connections that pays: doubled while the rate follows, else taken back.

    Where the line is faster than the machine, all but a few are withdrawn: more of them only wait
    for the interpreter (1 GiB over TLS on two cores: 2.4 s of CPU time with two, 3.1 with eight).
    They come back at once when they are missed.
    """

    STEP_S = 0.09
    PATIENT_S = 1.5
    # Before so many are answered, the rate tells nothing of their number.
    ANSWERED = 0.75
    RETRY_S = 15.0
    WORTH = 1.1
    # A connection as fast as this is not what limits the download.
    PLENTY_PER_CONNECTION = 32 * MIB
    SHORT_S = 0.5
    # As fast as this, a few of them keep the machine busy.
    FAST_PER_CONNECTION = 64 * MIB
    FEWEST = 2
    # Those withdrawn end their segments first; only then it shows whether they are missed.
    LEAVE_S = 0.3
    MISSED = 0.9
    # So much less than it was, for PATIENT_S: the line is another one now.
    FALLEN = 0.5

    def __init__(self, start: int, most: int) -> None:
        self.wanted = min(start, most)
        self._most = most
        self._before = self._required = self.wanted
        self._fewest = self.FEWEST
        self._base_rate = self._settled_rate = 0.0
        self._good_s = self._answer_s = 0.0
        self._begun_s: float | None = None
        self._phase = _Phase.GROWING
        self._step_s = self._window_s = 0.0
        self._window_bytes: int | None = None

    def require(self, count: int) -> None:
        """Use at least so many connections for now: there are more endpoints than before."""
        if count > self._required:
            self._required = count
            self.wanted = self._before = min(max(count, self.wanted), self._most)

    def hold(self, now: float) -> None:
        """Leave the number as it is for a while: a server protests."""
        self._settle(now)

    def observe(
        self, now: float, received: int, left_bytes: int, n_served: int | None = None
    ) -> int:
        """Return the number of connections wanted from now on.

        To be called a few times a second with the bytes received so far, and with how many
        connections are being answered if that is known.
        """
        if self._window_bytes is None or not received:
            self._begin_window(now, received)
            self._step_s = now
            self._answer_s = now - self._begun_s if self._begun_s is not None else 0.0
            self._begun_s = now if self._begun_s is None else self._begun_s
            return self.wanted
        if now - self._window_s < self._window_length_s:
            return self.wanted
        rate = (received - self._window_bytes) / (now - self._window_s)
        self._begin_window(now, received)
        match self._phase:
            case _Phase.GROWING if n_served is not None and n_served < self.ANSWERED * self.wanted:
                self._wait_for_answers(now)
            case _Phase.GROWING:
                self._judge(now, rate, left_bytes)
            case _Phase.LEAVING:
                self._phase = _Phase.WITHDRAWN
            case _Phase.WITHDRAWN:
                self._judge_withdrawal(now, rate)
            case _Phase.SETTLED:
                self._look_again(now, rate)
        return self.wanted

    @property
    def _window_length_s(self) -> float:
        has_withdrawn = self._phase in (_Phase.LEAVING, _Phase.WITHDRAWN)
        return self.LEAVE_S if has_withdrawn else self.STEP_S

    def _wait_for_answers(self, now: float) -> None:
        """Take back what a server does not get round to: it answers one after the other."""
        if now - self._step_s >= max(self.PATIENT_S, 2 * self._answer_s):
            self.wanted = self._before
            self._settle(now)

    def _judge(self, now: float, rate: float, left_bytes: int) -> None:
        if rate <= self.WORTH * self._base_rate:
            if now - self._step_s >= self.PATIENT_S:
                self.wanted = self._before
                self._settle(now)
        elif rate >= self.FAST_PER_CONNECTION * self.wanted and self.wanted > self._fewest:
            self._base_rate, self._before, self._phase = rate, self.wanted, _Phase.LEAVING
            self.wanted = self._fewest
        elif (
            rate >= self.PLENTY_PER_CONNECTION * self.wanted
            or left_bytes < rate * self.SHORT_S
            or self.wanted == self._most
        ):
            self._settle(now)
        else:
            self._base_rate, self._before, self._step_s = rate, self.wanted, now
            self.wanted = min(2 * self.wanted, self._most)

    def _judge_withdrawal(self, now: float, rate: float) -> None:
        if rate < self.MISSED * self._base_rate:
            self.wanted = self._fewest = self._before
        self._settle(now)

    def _look_again(self, now: float, rate: float) -> None:
        """Begin anew after a while, or when the rate has fallen and stays low."""
        self._settled_rate = max(self._settled_rate, rate)
        if rate >= self.FALLEN * self._settled_rate:
            self._good_s = now
        if now - self._step_s >= self.RETRY_S or now - self._good_s >= self.PATIENT_S:
            self._base_rate, self._phase = 0.0, _Phase.GROWING

    def _settle(self, now: float) -> None:
        self._phase, self._before, self._step_s = _Phase.SETTLED, self.wanted, now
        self._settled_rate, self._good_s = 0.0, now

    def _begin_window(self, now: float, received: int) -> None:
        self._window_s, self._window_bytes = now, received
