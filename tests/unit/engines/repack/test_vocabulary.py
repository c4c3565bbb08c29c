"""Vocabularies that llama.cpp would read differently are refused; the others are complete."""

from collections.abc import Callable
from typing import Any

import pytest

from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.vocabulary import TokenType, Vocabulary, read_vocabulary
from qtool.errors import IntegrityError
from qtool.models.fields import Fields
from tests.unit.engines.repack.checkpoints import tokenizer_json

LLAMA2_STEPS = [
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
]


def spaced_json() -> dict[str, Any]:
    """Return a tokenizer of SentencePiece's kind."""
    vocab = {"<unk>": 0, "<s>": 1, "<0x41>": 2, "▁": 3, "a": 4, "b": 5, "ab": 6, "▁ab": 7}
    return {
        "added_tokens": [
            {"id": 0, "content": "<unk>", "special": True},
            {"id": 1, "content": "<s>", "special": True},
        ],
        "normalizer": {"type": "Sequence", "normalizers": LLAMA2_STEPS},
        "pre_tokenizer": None,
        "model": {
            "type": "BPE",
            "byte_fallback": True,
            "unk_token": "<unk>",
            "vocab": vocab,
            "merges": ["a b", ["▁", "ab"]],
        },
    }


def read(raw: dict[str, Any], n_rows: int = 264) -> Vocabulary:
    return read_vocabulary(Fields(raw, "tokenizer.json"), n_rows)


def test_scores_follow_the_order_of_merges() -> None:
    vocabulary = read(spaced_json(), 8)
    scores = vocabulary.metadata["tokenizer.ggml.scores"]
    assert isinstance(scores, list)
    assert scores[6:] == [0.0, -1.0]
    assert max(scores[:6]) < -1000
    assert vocabulary.metadata["tokenizer.ggml.add_space_prefix"] is True
    kinds = (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.BYTE, TokenType.NORMAL)
    assert vocabulary.types[:4] == kinds


def test_a_space_goes_before_text_only_where_the_tokenizer_puts_it() -> None:
    raw = spaced_json()
    raw["normalizer"] = LLAMA2_STEPS[1]
    assert read(raw, 8).metadata["tokenizer.ggml.add_space_prefix"] is False


def test_rows_without_a_token_are_filled() -> None:
    vocabulary = read(spaced_json(), 10)
    assert vocabulary.tokens[8:] == ("[PAD8]", "[PAD9]")
    assert vocabulary.types[8:] == (TokenType.UNUSED, TokenType.UNUSED)


def test_added_tokens_that_are_not_special_are_the_users() -> None:
    raw = tokenizer_json()
    raw["added_tokens"].append({"id": 260, "content": "<tool>", "special": False})
    assert read(raw).types[260] is TokenType.USER_DEFINED


def test_tokens_of_phi_3_swallow_the_spaces_after_them() -> None:
    raw = spaced_json()
    for index, content in enumerate(("</s>", "<|endoftext|>", "<|user|>"), start=8):
        swallows = content != "<|endoftext|>"
        raw["added_tokens"].append(
            {"id": index, "content": content, "special": True, "rstrip": swallows}
        )
    assert read(raw, 11).is_phi3


def set_model(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw["model"].update(values)


def set_top(**values: object) -> Callable[[dict[str, Any]], None]:
    return lambda raw: raw.update(values)


def add(**flags: object) -> Callable[[dict[str, Any]], None]:
    token = {"id": 260, "content": "<x>", "special": True, **flags}
    return lambda raw: raw["added_tokens"].append(token)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (set_model(type="Unigram"), "Unigram, not BPE"),
        (set_model(dropout=0.1), "dropout"),
        (set_model(ignore_merges=True), "cuts text"),
        (set_top(pre_tokenizer={"type": "Whitespace"}), "cuts text"),
        (set_top(pre_tokenizer=None), "cuts text"),
        (set_top(normalizer={"type": "Lowercase"}), "normalises text (Lowercase)"),
        (add(lstrip=True), "'<x>' has lstrip"),
        (add(rstrip=True), "'<x>' has rstrip"),
        (add(content="a\0b"), "NUL"),
        (add(content="he"), "same text"),
    ],
)
def test_what_llama_cpp_would_read_differently_is_refused(
    change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    raw = tokenizer_json()
    change(raw)
    with pytest.raises(NotRepackable) as caught:
        read(raw)
    assert reason in caught.value.message


def test_a_token_that_no_merge_makes_is_refused() -> None:
    raw = spaced_json()
    raw["model"]["merges"] = ["a b"]
    with pytest.raises(NotRepackable, match="never makes its token '▁ab'"):
        read(raw, 8)


def test_unknown_ways_with_spaces_are_refused() -> None:
    raw = spaced_json()
    raw["normalizer"] = {"type": "NFKC"}
    with pytest.raises(NotRepackable, match="spaces"):
        read(raw, 8)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({**tokenizer_json(), "added_tokens": [7]}, "added_tokens"),
        ({**tokenizer_json(), "model": {"type": "BPE", "vocab": {"a": "b"}}}, "malformed"),
        ({**tokenizer_json(), "model": {"type": "BPE", "vocab": {"a": 999}}}, "no row"),
        ({**tokenizer_json(), "model": {"type": "BPE"}}, "vocab"),
        ({**tokenizer_json(), "model": {"type": "BPE", "vocab": {}, "merges": [7]}}, "merges"),
    ],
)
def test_a_damaged_tokenizer_is_an_integrity_error(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        read(raw)
