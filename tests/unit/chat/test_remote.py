from pathlib import Path

import pytest

from qtool.chat.client import stream_chat
from qtool.chat.messages import Message, Role
from qtool.chat.remote import RemoteEngine, is_exposed, parse_endpoint, read_api_key
from qtool.chat.request import Sampling
from qtool.errors import NetworkError, UsageError


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("localhost:11434", "http://localhost:11434"),
        ("https://example.org/api/v1/chat/completions", "https://example.org/api"),
        ("https://[::1]:443/v1", "https://[::1]:443"),
    ],
)
def test_address_loses_what_requests_add_again(text: str, url: str):
    assert parse_endpoint(text) == url


@pytest.mark.parametrize(
    "text", ["", "ftp://x", "http://", "http://x:99999", "http://[::1", "http://x:y"]
)
def test_address_that_is_none_is_refused(text: str):
    with pytest.raises(UsageError, match="no address"):
        parse_endpoint(text)


@pytest.mark.parametrize("text", ["https://me:key@example.org/v1", "https://example.org/v1?key=1"])
def test_key_in_the_address_is_refused_and_not_repeated(text: str):
    with pytest.raises(UsageError) as caught:
        parse_endpoint(text)
    assert "key@" not in f"{caught.value.message}{caught.value.hint}"


def test_key_comes_from_the_file_before_the_environment(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text("from-file\n")
    environ = {"OPENAI_API_KEY": "theirs", "QTOOL_API_KEY": " ours "}
    assert read_api_key(path, environ) == "from-file"
    assert read_api_key(None, environ) == "ours"
    assert read_api_key(None, {"OPENAI_API_KEY": "theirs"}) == "theirs"
    assert read_api_key(None, {"QTOOL_API_KEY": ""}) == ""


@pytest.mark.parametrize("content", [b"", b"two words", b"a\nb", b"\xff", "schlüssel".encode()])
def test_key_that_no_header_can_carry_is_refused(tmp_path: Path, content: bytes):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(UsageError):
        read_api_key(tmp_path / "key", {})
    with pytest.raises(UsageError, match="cannot read"):
        read_api_key(tmp_path / "none", {})


def test_key_over_plain_http_is_exposed_unless_it_stays_here():
    assert is_exposed("http://example.org", "key")
    assert not is_exposed("http://example.org", "")
    assert not is_exposed("https://example.org", "key")
    assert not is_exposed("http://127.0.0.1:8000", "key")


@pytest.mark.parametrize("model", ["named", None])
def test_address_where_nothing_listens_is_called_that(model: str | None):
    remote = RemoteEngine("http://127.0.0.1:9", "", model)
    with pytest.raises(NetworkError) as caught:
        list(stream_chat(remote.endpoint(), [Message(Role.USER, "Hi")], Sampling()))
    assert caught.value.message == ("no server answers at http://127.0.0.1:9 (connection refused)")
    assert "qtool serve" in (caught.value.hint or "")
