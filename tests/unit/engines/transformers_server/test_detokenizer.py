"""Tokens here are bytes, or pairs of them: any character may be cut anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from qtool.engines.transformers_server.detokenizer import Detokenizer

SPECIAL = 1000
"""A token that is not written, as decoders leave special tokens out."""


def decode(ids: list[int]) -> str:
    raw = b"".join(b"" if i == SPECIAL else bytes([i % 256]) for i in ids)
    return raw.decode("utf-8", "replace")


def strips_first_space(ids: list[int]) -> str:
    """Decode as sentencepiece does."""
    return decode(ids).removeprefix(" ")


def run(detokenizer: Detokenizer, ids: list[int]) -> list[str]:
    return [*(detokenizer.push(token) for token in ids), detokenizer.flush()]


@given(st.text(max_size=20).map(str.encode))
def test_pieces_are_whole_characters_and_make_the_text(raw: bytes):
    pieces = run(Detokenizer(decode), list(raw))
    assert "".join(pieces) == raw.decode()
    if "\ufffd" not in raw.decode():
        assert not any("\ufffd" in piece for piece in pieces)


@given(st.text(max_size=20).map(str.encode), st.sets(st.integers(0, 20)))
def test_special_tokens_between_change_nothing(raw: bytes, places: set[int]):
    ids = [i for at, byte in enumerate(raw) for i in ([SPECIAL] * (at in places) + [byte])]
    assert "".join(run(Detokenizer(decode), ids)) == raw.decode()


@given(st.text(" aé", max_size=20).map(str.encode))
def test_spaces_of_a_decoder_that_strips_the_first_one_stay(raw: bytes):
    assert "".join(run(Detokenizer(strips_first_space), list(raw))) == raw.decode().removeprefix(
        " "
    )


@given(st.lists(st.integers(0, 255), max_size=60))
def test_no_bytes_are_waited_for_without_end(ids: list[int]):
    detokenizer = Detokenizer(decode)
    for token in ids:
        detokenizer.push(token)
        assert len(detokenizer._ids) <= 20


def test_context_decides_how_the_first_token_is_written():
    assert run(Detokenizer(strips_first_space), list(b" a"))[-2:] == ["a", ""]
    assert run(Detokenizer(strips_first_space, list(b"x")), list(b" a"))[:2] == [" ", "a"]


def test_emoji_comes_at_once_when_it_is_complete():
    assert run(Detokenizer(decode), list("🙂".encode())) == ["", "", "", "🙂", ""]
