"""Why a hub cannot be reached, in words."""

import errno
import socket
import ssl

import pytest

from qtool.hub.unreachable import MIRROR_URL, no_hub_answers, reason_of


def wrong_version() -> ssl.SSLError:
    """Return what the client of a server without TLS gets."""
    here, there = socket.socketpair()
    with here, there:
        there.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError) as caught:
            ssl.create_default_context().wrap_socket(here, server_hostname="x")
    return caught.value


@pytest.mark.parametrize(
    ("exc", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), "its name cannot be looked up"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "connection refused"),
        (TimeoutError("timed out"), "no answer in time"),
        (TimeoutError("_ssl.c:989: The handshake operation timed out"), "no TLS handshake in time"),
        (wrong_version(), "it does not speak TLS (http://"),
        (ConnectionError(), "ConnectionError"),
        (ConnectionError("the server closed the connection"), "the server closed the connection"),
    ],
)
def test_reason_is_said_in_words(exc, said):
    reason = reason_of(exc)
    assert reason.startswith(said)
    assert "Errno" not in reason and "_ssl" not in reason


def test_every_hub_is_named_with_its_reason():
    reasons = {"https://a": "https://a does not answer: no network", "https://c": "it is ill"}
    failure = no_hub_answers("gives org/name", reasons)
    assert failure.message.splitlines() == [
        "no hub gives org/name:",
        "  https://a: does not answer: no network",
        "  https://c: it is ill",
    ]
    assert MIRROR_URL in (failure.hint or "")


def test_mirror_that_has_just_failed_is_not_recommended():
    failure = no_hub_answers("gives org/name", {MIRROR_URL: "it is ill"}, instead="")
    assert MIRROR_URL not in (failure.hint or "")
    assert (failure.hint or "").endswith("HF_ENDPOINT=URL")
