from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.engines.transformers_server.reasoning import ReasoningSplitter


def split(text: str, cuts: list[int], is_open: bool = False) -> tuple[str, str]:
    """Return (reasoning, reply) of ``text`` that comes in pieces."""
    splitter = ReasoningSplitter(is_open)
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [splitter.push(text[a:b]) for a, b in pairwise(places) if a < b]
    flat = [piece for some in [*pieces, splitter.flush()] for piece in some]
    assert all(piece.text for piece in flat)
    return (
        "".join(piece.text for piece in flat if piece.is_reasoning),
        "".join(piece.text for piece in flat if not piece.is_reasoning),
    )


CASES = [
    ("<think>\nhm\n</think>\n\nyes", False, ("hm\n", "yes")),
    ("\n<think>hm</think>yes", False, ("hm", "yes")),
    ("hm</think>\nyes", True, ("hm", "yes")),
    ("\nhm", True, ("hm", "")),
    ("<think>hm", False, ("hm", "")),
    ("<thin air", False, ("", "<thin air")),
    ("<thi", False, ("", "<thi")),
    ("plain <think>text</think>", False, ("", "plain <think>text</think>")),
    ("<think></think>yes </think> again", False, ("", "yes </think> again")),
    ("", False, ("", "")),
    ("  indented", False, ("", "  indented")),
]


@pytest.mark.parametrize(("text", "is_open", "expected"), CASES)
@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_reasoning_is_told_apart_however_it_is_cut(
    text: str, is_open: bool, expected: tuple[str, str], cuts: list[int]
):
    assert split(text, cuts, is_open) == expected
