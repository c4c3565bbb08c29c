from hypothesis import given
from hypothesis import strategies as st

from qtool.download.pacing import (
    FIRST_WAIT_S,
    LONGEST_RETRY_AFTER_S,
    MAX_ROUNDS,
    ConnectionLimit,
    Patience,
    RateLimit,
    Silence,
)


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


def test_waits_grow_until_patience_is_at_its_end():
    clock = Clock()
    patience = Patience(clock)
    waits = []
    while not patience.is_exhausted:
        waits.append(patience.note_failure())
        clock.advance(waits[-1])
    assert waits == [FIRST_WAIT_S * 2**n for n in range(MAX_ROUNDS)]


def test_connections_that_fail_together_fail_once():
    clock = Clock()
    patience = Patience(clock)
    for _ in range(50):
        assert patience.note_failure() <= FIRST_WAIT_S
    assert not patience.is_exhausted


def test_bytes_restore_patience():
    clock = Clock()
    patience = Patience(clock)
    for _ in range(10 * MAX_ROUNDS):
        clock.advance(patience.note_failure())
        patience.note_bytes()
    assert not patience.is_exhausted


def test_the_wish_of_the_server_is_honoured_within_reason():
    assert Patience(Clock()).note_failure(7.0) == 7.0
    assert Patience(Clock()).note_failure(1e9) == LONGEST_RETRY_AFTER_S


def test_protest_halves_the_connections_once_a_second():
    clock = Clock()
    limit = ConnectionLimit(16, clock)
    limit.push_back()
    limit.push_back()
    assert limit.allowed() == 8
    clock.advance(1.5)
    limit.push_back()
    assert limit.allowed() == 4


def test_connections_come_back_one_by_one():
    clock = Clock()
    limit = ConnectionLimit(4, clock)
    limit.push_back()
    seen = []
    for _ in range(4):
        clock.advance(5.5)
        seen.append(limit.allowed())
    assert seen == [3, 4, 4, 4]


def test_one_connection_always_stays():
    clock = Clock()
    limit = ConnectionLimit(2, clock)
    for _ in range(9):
        limit.push_back()
        clock.advance(1.5)
    assert limit.allowed() == 1


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
def test_bytes_take_as_long_as_the_rate_says(counts):
    clock = Clock()
    limit = RateLimit(10_000.0, clock=clock, sleep=clock.advance)
    for count in counts:
        limit.spend(count)
    assert abs(clock.now - 100.0 - sum(counts) / 10_000) < 1e-6


def test_silence_is_borne_longer_when_it_comes_again():
    clock = Clock()
    silence = Silence(clock)
    factors = []
    for _ in range(5):
        silence.note_stall()
        factors.append(silence.factor)
        clock.advance(4.0)
    assert factors == [1, 2, 4, 4, 4]


def test_connections_that_fall_silent_together_count_once():
    silence = Silence(Clock())
    for _ in range(16):
        silence.note_stall()
    assert silence.factor == 1


def test_silence_of_long_ago_is_forgotten():
    clock = Clock()
    silence = Silence(clock)
    for _ in range(4):
        silence.note_stall()
        clock.advance(4.0)
    clock.advance(Silence.FORGET_S)
    assert silence.factor == 1
    silence.note_stall()
    assert silence.factor == 1
