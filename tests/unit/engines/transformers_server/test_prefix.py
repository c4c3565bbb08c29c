from hypothesis import given
from hypothesis import strategies as st

from qtool.engines.transformers_server.prefix import Reuse, common_prefix, plan_reuse

IDS = st.lists(st.integers(0, 2), max_size=12)


@given(IDS, IDS)
def test_common_prefix_is_the_longest_one(one: list[int], other: list[int]):
    n = common_prefix(one, other)
    assert one[:n] == other[:n]
    assert one[n : n + 1] != other[n : n + 1] or n in (len(one), len(other))


@given(st.lists(IDS, min_size=1, max_size=4), IDS.filter(bool))
def test_plan_keeps_only_what_is_a_prefix_of_the_prompt(slots: list[list[int]], prompt: list[int]):
    plan = plan_reuse(slots, list(range(len(slots))), prompt)
    assert plan.n_kept < len(prompt)
    if plan.source is None:
        assert plan.n_kept == 0
    else:
        assert slots[plan.source][: plan.n_kept] == prompt[: plan.n_kept]


def test_next_turn_goes_on_in_its_slot():
    assert plan_reuse([[1, 2, 3], []], [1, 0], [1, 2, 3, 4]) == Reuse(0, 0, 3)


def test_same_prompt_again_computes_its_last_token():
    assert plan_reuse([[1, 2, 3]], [1], [1, 2, 3]) == Reuse(0, 0, 2)


def test_regenerated_reply_cuts_the_slot():
    assert plan_reuse([[1, 2, 3, 4, 9, 9], []], [1, 0], [1, 2, 3, 4, 5]) == Reuse(0, 0, 4)


def test_other_conversation_with_the_same_beginning_is_copied_to_an_empty_slot():
    assert plan_reuse([[1, 2, 3, 4, 5, 6], []], [1, 0], [1, 2, 9, 9]) == Reuse(1, 0, 2)


def test_without_an_empty_slot_the_one_used_longest_ago_goes():
    assert plan_reuse([[1, 1], [2, 2], [3, 3]], [5, 2, 4], [9, 9]) == Reuse(1, None, 0)


def test_single_slot_is_cut_when_there_is_no_other():
    assert plan_reuse([[1, 2, 3, 4, 5, 6]], [1], [1, 2, 9, 9]) == Reuse(0, 0, 2)
