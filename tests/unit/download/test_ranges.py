import itertools

from hypothesis import given
from hypothesis import strategies as st

from qtool.download.ranges import RangeSet

RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def members(ranges):
    return {byte for start, end in ranges for byte in range(start, end)}


@given(RANGES)
def test_set_holds_exactly_what_was_added(ranges):
    known = RangeSet(ranges)
    assert members(known) == members(ranges)
    assert known.size_bytes == len(members(ranges))


@given(RANGES)
def test_ranges_are_sorted_and_do_not_touch(ranges):
    listed = list(RangeSet(ranges))
    assert all(start < end for start, end in listed)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(listed))


@given(RANGES, st.integers(0, 60), st.integers(0, 60))
def test_gaps_are_what_is_missing(ranges, start, end):
    missing = members(RangeSet(ranges).gaps(start, end))
    assert missing == set(range(start, end)) - members(ranges)


@given(RANGES)
def test_front_is_the_first_missing_byte(ranges):
    known = members(ranges)
    assert RangeSet(ranges).front() == next(n for n in range(62) if n not in known)


@given(RANGES, st.integers(0, 60))
def test_clipping_cuts_off_what_lies_beyond(ranges, end):
    assert members(RangeSet(ranges).clipped(end)) == {n for n in members(ranges) if n < end}


@given(RANGES, RANGES)
def test_common_part_is_in_both(one, other):
    common = RangeSet(one).common(other)
    assert members(common) == members(one) & members(other)
