from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.errors import IntegrityError
from qtool.hub.paths import check_path, has_control, printable


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "./x", "a//b", "a/"),
        *("C:/x", "c:x", "a\\b", "..\\x", "\\\\host\\share", "a\0b", "a\nb", "a\x7f", "\ud800"),
        *("a\x80b", "a\x9b31m", "a\u2028b", "a\u2029", "a\u202eb", "\u202a", "\u2066", "a\u2069"),
        *("con", "a/NUL", "aux.txt", "COM1.bin", "x" * 256, "中" * 86, "a/" * 2100 + "b"),
    ],
)
def test_unsafe_name_is_refused(path):
    with pytest.raises(IntegrityError):
        check_path(path)


@pytest.mark.parametrize(
    "path",
    ["a", ".gitattributes", "a b/#%?.txt", "模型/权重.gguf", "a..b", "...", "console.py", "ab:c"],
)
def test_ordinary_name_is_accepted(path):
    check_path(path)


@given(st.text(alphabet="ab./\\:\0 中", max_size=12))
def test_accepted_name_stays_below_its_folder(path):
    try:
        check_path(path)
    except IntegrityError:
        return
    parts = PurePosixPath(path).parts
    assert "/".join(parts) == path
    assert ".." not in parts and not path.startswith("/")


@given(st.text(max_size=20))
def test_printable_text_keeps_all_but_control_characters(text):
    assert printable(text) == "".join(char for char in text if not has_control(char))


def test_terminal_sequences_are_taken_apart():
    assert printable("a\x1b]0;t\x07\x9b2J\u202eb\r\n中") == "a]0;t2Jb中"
