"""Untrusted JSON, and typed reading of it."""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.errors import IntegrityError, NotFoundError, UsageError
from qtool.models.fields import MAX_COUNT, Fields, brief
from qtool.models.json_file import parse_json_object, read_json_fields


def test_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"a": 1, "limit": [0.0, Infinity], "a": 2}')
    fields = read_json_fields(path)
    assert (fields.integer("a"), fields.source) == (2, str(path))


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"a": "x" * 100}))
    with pytest.raises(IntegrityError, match="larger than 100 bytes"):
        read_json_fields(path, limit_bytes=100)


def test_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read_json_fields(tmp_path / "config.json")


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    with pytest.raises(UsageError):
        read_json_fields(tmp_path / "config.json")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[1]",
        b'"x"',
        b"{",
        b"\xff\xfe{\0}\0",
        b'{"a": "\\ud800"}',
        b'{"\\uDC00": 1}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    ],
)
def test_what_is_not_a_sound_object_is_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"config\.json"):
        parse_json_object(data, source="config.json")


def test_escaped_emoji_is_sound() -> None:
    assert parse_json_object(b'{"a": "\\ud83d\\ude00"}', source="x") == {"a": "😀"}


@given(st.binary(max_size=60))
def test_any_bytes_give_an_object_or_integrity_error(data: bytes) -> None:
    with suppress(IntegrityError):
        assert isinstance(parse_json_object(data, source="x"), dict)


@pytest.mark.parametrize("value", [True, "7", 7.5, float("nan"), float("inf"), [7], {}, -1])
def test_integer_refuses_other_values(value: object) -> None:
    with pytest.raises(IntegrityError, match=r"config\.json: 'n' should be"):
        Fields({"n": value}, "config.json").integer("n")


@pytest.mark.parametrize(
    "value", [MAX_COUNT + 1, 1 << 20_000, -(1 << 20_000)], ids=["2**48+1", "2**20000", "-2**20000"]
)
def test_integer_out_of_range_is_refused_on_one_short_line(value: int) -> None:
    with pytest.raises(IntegrityError) as caught:
        Fields({"n": value}, "x").integer("n")
    assert len(caught.value.message) < 150


def test_integer_may_be_written_as_a_float() -> None:
    assert Fields({"n": 4096.0}, "x").integer("n") == 4096


def test_first_synonym_that_is_present_counts() -> None:
    fields = Fields({"a": None, "b": 2, "c": 3}, "x")
    assert fields.integer("a", "b", "c") == 2
    assert fields.integer("z") is None


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("boolean", 1),
        ("boolean", "true"),
        ("text", 1),
        ("text", ["a"]),
        ("texts", "a"),
        ("texts", [1]),
        ("section", [1]),
        ("section", "a"),
    ],
)
def test_other_types_are_refused(method: str, value: object) -> None:
    with pytest.raises(IntegrityError, match="'k' should be"):
        getattr(Fields({"k": value}, "x"), method)("k")


def test_section_names_itself_in_errors() -> None:
    section = Fields({"q": {"bits": "four"}}, "config.json").section("q")
    assert section is not None
    with pytest.raises(IntegrityError, match=r"config\.json: q: 'bits' should be"):
        section.integer("bits")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(JSON)
def test_brief_is_one_short_printable_line(value: Any) -> None:
    assert len(brief(value)) <= 60
    assert brief(value).isprintable()
