from contextlib import ExitStack

import pytest

from qtool.download.peers import WINDOW_S, Peers

MIB = 1024 * 1024


class Line:
    """Connections that bring bytes at given rates while a clock of its own moves on."""

    def __init__(self, stack: ExitStack, *rates: float) -> None:
        self.now = 0.0
        self.peers = Peers(lambda: self.now)
        self.rates = list(rates)
        self.paces = [stack.enter_context(self.peers.joined()) for _ in rates]

    def after(self, seconds: float) -> list[bool]:
        """Let time pass; return of each connection whether it is a laggard."""
        self.now += seconds
        for pace, rate in zip(self.paces, self.rates, strict=True):
            pace.n_bytes += int(rate * seconds)
        return [self.peers.is_laggard(pace) for pace in self.paces]


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def test_trickle_beside_fast_ones_is_a_laggard_after_some_seconds(stack):
    line = Line(stack, 4 * MIB, 4 * MIB, 100)
    assert line.after(WINDOW_S / 2) == [False, False, False]
    assert line.after(WINDOW_S / 2) == [False, False, True]


def test_trickles_in_the_majority_are_found_by_the_one_that_is_fast(stack):
    line = Line(stack, 100, 100, 100, 4 * MIB)
    assert line.after(WINDOW_S) == [True, True, True, False]


def test_line_that_is_slow_as_a_whole_is_left_alone(stack):
    line = Line(stack, 8000, 5000, 4000, 9000)
    assert not any(any(line.after(WINDOW_S)) for _ in range(10))


def test_usual_spread_between_connections_is_left_alone(stack):
    line = Line(stack, 4 * MIB, 3 * MIB, 1 * MIB, MIB // 2)
    assert not any(any(line.after(WINDOW_S)) for _ in range(10))


def test_connection_that_was_fast_and_trickles_now_is_found_without_others(stack):
    line = Line(stack, 4 * MIB)
    assert line.after(WINDOW_S) == [False]
    line.rates = [100]
    assert line.after(WINDOW_S) == [True]


def test_last_connection_is_compared_with_those_that_have_ended():
    now = [0.0]
    peers = Peers(lambda: now[0])
    with peers.joined() as last:
        with peers.joined() as first:
            now[0] += 0.2
            first.n_bytes += MIB
        last.n_bytes += 20_000
        now[0] += WINDOW_S
        assert peers.is_laggard(last)


def test_line_that_has_become_slow_costs_few_new_connections():
    now = [0.0]
    peers = Peers(lambda: now[0])
    verdicts = []
    for rate in [4 * MIB] * 3 + [5_000] * 10:
        with peers.joined() as pace:
            now[0] += WINDOW_S
            pace.n_bytes += int(rate * WINDOW_S)
            verdicts.append(peers.is_laggard(pace))
    assert sum(verdicts) in range(1, 5)
    assert not any(verdicts[-5:])
