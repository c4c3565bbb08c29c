from hypothesis import given
from hypothesis import strategies as st

from qtool.download.provenance import EARLIER, Provenance, trials
from qtool.download.ranges import RangeSet


def test_bytes_of_others_are_forgotten_and_returned():
    provenance = Provenance([(0, 10)])
    provenance.add(10, 20, 0)
    provenance.add(20, 30, 1)
    assert provenance.origins() == {EARLIER, 0, 1}
    assert provenance.take_foreign({0, EARLIER}) == [(20, 30)]
    assert provenance.take_foreign({0}) == [(0, 10)]
    assert provenance.take_foreign({0}) == []


def test_one_source_is_its_own_trial():
    assert trials([3]) == [{3}]


def test_what_an_earlier_run_left_is_doubted_after_the_other_endpoints():
    assert trials([0, 1]) == [{0, EARLIER}, {0}, {1}]


@given(st.sets(st.integers(0, 5), min_size=1), st.data())
def test_some_trial_is_free_of_every_liar_as_long_as_one_is_honest(sources, data):
    honest = data.draw(st.sampled_from(sorted(sources)))
    assert {honest} in trials(sorted(sources))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50)), max_size=20),
    st.sets(st.integers(0, 3)),
)
def test_forgotten_and_kept_are_all_there_was(pieces, trusted):
    provenance, position = Provenance(), 0
    expected = RangeSet()
    for origin, length in pieces:
        provenance.add(position, position + length, origin)
        if origin not in trusted:
            expected.add(position, position + length)
        position += length
    assert provenance.take_foreign(trusted) == list(expected)
    assert provenance.origins() <= trusted
