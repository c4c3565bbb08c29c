import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.chat.context import Fill, Relief, describe_relief
from qtool.chat.messages import SUMMARY_HEAD, Message, Role

SYSTEM = Message(Role.SYSTEM, "S" * 84)


def turns(count: int) -> list[Message]:
    """Return turns of 200 counted characters each."""
    roles = (Role.USER, Role.ASSISTANT)
    return [Message(roles[n % 2], f"{n:084}") for n in range(2 * count)]


def test_fill_is_measured_and_estimated_for_what_was_added():
    fill = Fill(1000).measure(turns(2), 100)
    assert fill.estimate(turns(2)) == 100
    assert fill.estimate(turns(4)) == 200
    assert fill.share(turns(4)) == 0.2
    assert fill.describe(turns(4)) == "20% full (200 of 1000 tokens)"


def test_nothing_is_planned_where_nothing_is_known():
    assert Fill().plan_relief(turns(9), None) == 0
    assert Fill(10).plan_relief(turns(9), None) == 0
    assert Fill().share(turns(9)) is None
    assert Fill(10).describe(turns(9)) == "of 10 tokens"


def test_oldest_turns_go_until_a_reply_finds_room():
    fill = Fill(800, tokens_per_character=1.0)
    messages = [SYSTEM, *turns(4), Message(Role.USER, "now")]
    count = fill.plan_relief(messages, None)
    assert count == 4  # 919 are more than 700; 519 are not, 719 would be
    assert Relief(count).apply(messages) == [SYSTEM, *turns(4)[4:], Message(Role.USER, "now")]
    assert Relief(count).gone(messages) == turns(4)[:4]


@given(st.integers(0, 8), st.integers(1, 2000), st.booleans())
def test_system_prompt_and_last_turn_always_stay(n_turns: int, n_ctx: int, has_system: bool):
    head = [SYSTEM] if has_system else []
    messages = [*head, *turns(n_turns), Message(Role.USER, "now")]
    fill = Fill(n_ctx, tokens_per_character=1.0)
    left = Relief(fill.plan_relief(messages, 64)).apply(messages)
    assert left[: len(head)] == head
    assert left[-1].content == "now"
    assert left[len(head)].role is Role.USER


def test_summary_stands_as_a_turn_of_its_own():
    left = Relief(2, "They said hello.").apply([SYSTEM, *turns(2)])
    assert [m.role for m in left] == ["system", "user", "assistant", "user", "assistant"]
    assert left[1].content == f"{SUMMARY_HEAD}\n\nThey said hello."


@pytest.mark.parametrize("summary", [None, "They said hello."])
@pytest.mark.parametrize("later", [None, "And more."])
def test_what_goes_in_two_steps_goes_in_one(summary: str | None, later: str | None):
    messages = [SYSTEM, *turns(6)]
    first, second = Relief(4, summary), Relief(4, later)
    at_once = first.and_then(second)
    assert at_once.apply(messages) == second.apply(first.apply(messages))
    assert first.and_then(Relief()) == first


@pytest.mark.parametrize(("count", "shown"), [(1, "“0 …”"), (5, "“0 …”, “2 …”, 2 more, “8 …”")])
def test_what_went_is_named(count: int, shown: str):
    gone = [Message(m.role, f"{n} " + "x" * 90) for n, m in enumerate(turns(count))]
    text = describe_relief(Relief(len(gone)), gone, width=3)
    assert text == f"the context is full: the oldest {2 * count} messages were dropped: {shown}"
