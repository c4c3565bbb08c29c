import itertools

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from qtool.download.ranges import RangeSet
from qtool.download.schedule import (
    MAX_SEGMENT_BYTES,
    MIN_SEGMENT_BYTES,
    QUIET_S,
    Schedule,
    Task,
)

MIB = 1024 * 1024


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def task_of(size, *gaps, **options):
    return Task(size, list(gaps) or [(0, size)], **options)


def drain(schedule, n_connections=4):
    """Fetch everything, one connection after the other; return the ranges in order."""
    ranges = []
    while (segment := schedule.take(n_connections)) is not None:
        ranges.append(schedule.claim(segment, segment.end - segment.position))
        schedule.release(segment)
    return ranges


@given(st.integers(1, 300 * MIB), st.integers(1, 32))
def test_segments_cover_a_file_once_and_in_order(size, n_connections):
    schedule = Schedule([task_of(size)])
    ranges = drain(schedule, n_connections)
    assert ranges[0][0] == 0 and ranges[-1][1] == size
    assert all(a[1] == b[0] for a, b in itertools.pairwise(ranges))
    assert all(end - start <= MAX_SEGMENT_BYTES * 1.5 for start, end in ranges)
    assert schedule.is_finished


def test_segments_shrink_towards_the_end():
    sizes = [end - start for start, end in drain(Schedule([task_of(200 * MIB)]), 16)]
    assert sizes[0] > 4 * MIB
    assert all(size < 2 * MIN_SEGMENT_BYTES for size in sizes[-16:])


def test_only_gaps_are_fetched():
    schedule = Schedule([task_of(10 * MIB, (0, 100), (5 * MIB, 5 * MIB + 7))])
    assert drain(schedule) == [(0, 100), (5 * MIB, 5 * MIB + 7)]


def test_dry_connection_takes_half_of_a_slow_segment():
    clock = Clock()
    schedule = Schedule([task_of(MIB)], clock=clock)
    slow = schedule.take(1)
    clock.now = 0.5
    helper = schedule.take(1)
    assert (slow.end, helper.position, helper.end) == (MIB // 2, MIB // 2, MIB)


def test_dry_connection_helps_the_segment_that_would_take_longest():
    clock = Clock()
    schedule = Schedule([task_of(2 * MIB)], clock=clock)
    quick, slow = schedule.take(1), schedule.take(1)
    clock.now = 0.5
    schedule.claim(quick, 300_000)
    schedule.claim(slow, 100_000)
    assert schedule.take(1).end == slow.task.size_bytes


def answer_slowly(schedule, clock, *, wait_s, bytes_per_s):
    """Fetch one segment from a server that takes ``wait_s`` to answer."""
    segment = schedule.take(8)
    for _ in range(20):  # the cost of asking is smoothed
        segment.started_s = clock.now
        clock.now += wait_s
        schedule.note_answered(segment)
    received = segment.end - segment.position
    clock.now += received / bytes_per_s
    schedule.claim(segment, received)
    schedule.release(segment)
    return received


def test_segments_are_long_where_the_server_is_slow_to_answer():
    clock = Clock()
    schedule = Schedule([task_of(64 * MIB)], clock=clock)
    first = answer_slowly(schedule, clock, wait_s=1.0, bytes_per_s=4 * MIB)
    segment = schedule.take(8)
    assert first == 4 * MIB
    assert 15 * MIB < segment.end - segment.position <= 16 * MIB


def test_rest_that_comes_sooner_than_an_answer_is_not_split():
    clock = Clock()
    schedule = Schedule([task_of(8 * MIB)], clock=clock)
    answer_slowly(schedule, clock, wait_s=1.0, bytes_per_s=4 * MIB)
    segment = schedule.take(1)
    clock.now += 0.5
    schedule.claim(segment, 2 * MIB)  # the rest takes 1.4 s, a helper's answer 1 s
    assert schedule.take(1) is None


def test_segment_that_is_done_in_a_moment_is_not_split():
    clock = Clock()
    schedule = Schedule([task_of(MIB)], clock=clock)
    quick = schedule.take(1)
    clock.now = 0.11
    schedule.claim(quick, MIB // 2)
    assert schedule.take(1) is not None
    schedule = Schedule([task_of(MIN_SEGMENT_BYTES)], clock=clock)
    schedule.take(1)
    clock.now += 0.01
    assert schedule.take(1) is None


def test_small_rest_is_not_split():
    schedule = Schedule([task_of(100_000)])
    assert schedule.take(1) is not None
    assert schedule.take(1) is None


def test_rest_of_a_quiet_segment_is_taken_over_whole():
    clock = Clock()
    schedule = Schedule([task_of(100_000)], clock=clock)
    stalled = schedule.take(1)
    schedule.claim(stalled, 40_000)
    clock.now = QUIET_S + 0.1
    helper = schedule.take(1)
    assert (helper.position, helper.end) == (40_000, 100_000)
    assert schedule.wanted(stalled) == 0


def test_take_over_needs_more_patience_each_time():
    clock = Clock()
    schedule = Schedule([task_of(100_000)], clock=clock)
    schedule.take(1)
    clock.now += QUIET_S + 0.1
    assert schedule.take(1) is not None
    clock.now += QUIET_S + 0.1
    assert schedule.take(1) is None
    clock.now += QUIET_S
    assert schedule.take(1) is not None


def test_late_bytes_beyond_a_lowered_end_are_not_claimed():
    clock = Clock()
    schedule = Schedule([task_of(MIB)], clock=clock)
    slow = schedule.take(1)
    clock.now = 0.5
    schedule.take(1)
    assert schedule.claim(slow, MIB) == (0, MIB // 2)
    assert schedule.claim(slow, 5) == (MIB // 2, MIB // 2)


def test_dropped_file_wants_nothing_more():
    task, other = task_of(50 * MIB), task_of(10)
    schedule = Schedule([task, other])
    segment = schedule.take(1)
    schedule.drop(task)
    assert schedule.wanted(segment) == 0
    schedule.release(segment)
    assert drain(schedule) == [(0, 10)]
    assert schedule.is_finished


def test_file_without_ranges_is_fetched_by_one_connection():
    task = task_of(50 * MIB)
    schedule = Schedule([task])
    first, second = schedule.take(4), schedule.take(4)
    schedule.make_whole(task)
    for segment in (first, second):
        schedule.release(segment)
    whole = schedule.take(4)
    assert (whole.position, whole.end) == (0, 50 * MIB)
    assert schedule.take(4) is None


def test_extra_connections_get_small_files_only():
    schedule = Schedule([task_of(10, is_small=True), task_of(50 * MIB)])
    assert schedule.has_small
    schedule.release(schedule.take(4, is_for_small=True))
    small = schedule.take(4, is_for_small=True)
    schedule.claim(small, 10)
    schedule.release(small)
    assert not schedule.has_small
    assert schedule.take(4, is_for_small=True) is None
    assert schedule.take(4) is not None


def test_file_that_is_fetched_again_opens_the_way_to_no_others():
    first, *others = tasks = [task_of(10), task_of(20), task_of(30)]
    schedule = Schedule(tasks, max_files=1)
    segment = schedule.take(1)
    schedule.claim(segment, 10)
    schedule.release(segment)
    begun = [schedule.take(1)]
    schedule.reopen(first, [(0, 10)])
    begun += [schedule.take(1), schedule.take(1)]
    assert [one.task for one in begun if one is not None] == [others[0], first]


def test_number_of_files_at_a_time_is_kept():
    schedule = Schedule([task_of(10), task_of(20)], max_files=1)
    assert schedule.take(4) is not None
    assert schedule.take(4) is None


class Connections(RuleBasedStateMachine):
    """Connections that take, receive, fail and finish in any order."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.sizes = [3 * MIB + 1, 700_000, 9 * MIB]
        self.tasks = [task_of(size) for size in self.sizes]
        self.schedule = Schedule(self.tasks, clock=self.clock)
        self.held = []
        self.written = {id(task): RangeSet() for task in self.tasks}
        self.bytes_claimed = 0

    @rule(n_connections=st.integers(1, 8))
    def take(self, n_connections):
        segment = self.schedule.take(n_connections)
        if segment is not None:
            assert segment.position < segment.end
            self.held.append(segment)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), share=st.floats(0, 1.5))
    def receive(self, data, share):
        segment = data.draw(st.sampled_from(self.held))
        count = int(share * (segment.end - segment.position))
        start, end = self.schedule.claim(segment, count)
        self.written[id(segment.task)].add(start, end)
        self.bytes_claimed += end - start

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def let_go(self, data):
        segment = data.draw(st.sampled_from(self.held))
        self.held.remove(segment)
        self.schedule.release(segment)

    @rule(seconds=st.sampled_from([0.1, 1.5, 5.0]))
    def wait(self, seconds):
        self.clock.now += seconds

    @invariant()
    def nothing_is_claimed_twice(self):
        assert self.bytes_claimed == sum(known.size_bytes for known in self.written.values())

    @invariant()
    def every_byte_is_written_or_to_come(self):
        for task, size in zip(self.tasks, self.sizes, strict=True):
            known = RangeSet(self.written[id(task)])
            to_come = [*task.gaps, *((s.position, s.end) for s in task.in_flight)]
            for start, end in to_come:
                before = known.size_bytes
                known.add(start, end)
                assert known.size_bytes == before + end - start, "a range overlaps another"
            assert list(known) == [(0, size)]

    def teardown(self):
        for segment in self.held:
            self.schedule.release(segment)
        while (segment := self.schedule.take(2)) is not None:
            start, end = self.schedule.claim(segment, segment.end - segment.position)
            self.written[id(segment.task)].add(start, end)
            self.schedule.release(segment)
        assert self.schedule.is_finished
        assert [self.written[id(task)].size_bytes for task in self.tasks] == self.sizes


TestConnections = Connections.TestCase
TestConnections.settings = TestConnections.settings.__class__(
    max_examples=40, stateful_step_count=30, deadline=None
)
