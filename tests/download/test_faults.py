"""Every way in which a hub can misbehave: right in the end or clearly failed, never wrong bytes.

TABLE says for each fault, striking once, a few times or always, what must come of it. Every row is
tried on the first byte of a file, in its middle and on its last. After a failure the fault is
taken away, and the same command must finish the job.
"""

import re
from dataclasses import dataclass, replace

import pytest

import tests.hub.api as hub_api
from qtool.cli.download_run import exit_code
from qtool.download.journal import Identity
from qtool.download.sinks import PartialFile
from qtool.errors import ExitCode, NetworkError, QtoolError
from qtool.hub.repo import RemoteFile
from tests.hub import Fault, FaultKind, Generated, HubStyle, Repo, read_content

MIB = 1024 * 1024
SIZE = 5 * MIB + 7
LARGE, SMALL = "m.gguf", "small.txt"
PLACES = {"first": 0, "middle": 0.5, "last": -1}
ALWAYS = None
RIGHT, NETWORK, INTEGRITY = ExitCode.OK, ExitCode.NETWORK, ExitCode.INTEGRITY
STALL_S = 0.25
STATE_FILES = {"lock", "manifest", "source.json", ".gitignore"}


@dataclass(frozen=True, slots=True)
class Row:
    """A fault, and how a download ends on which it strikes; ``says`` is found in the message."""

    kind: FaultKind
    times: int | None
    outcome: ExitCode
    says: str = ""
    path: str = LARGE
    retry_after_s: int | None = None

    def fault(self, at: float | None) -> Fault:
        role = "cdn" if self.path == LARGE else "hub"
        return Fault(
            self.kind,
            path=self.path,
            at=at,
            times=self.times,
            role=role,
            retry_after_s=self.retry_after_s,
        )

    def __str__(self) -> str:
        times = {1: "once", ALWAYS: "always"}.get(self.times, f"{self.times}-times")
        return f"{self.path.partition('.')[0]}-{self.kind}-{times}"


TABLE = [
    # The body.
    Row(FaultKind.FLIP, 1, INTEGRITY, "the content is wrong: its sha256 is"),
    Row(FaultKind.FLIP, ALWAYS, INTEGRITY, "the content is wrong: its sha256 is"),
    Row(FaultKind.FLIP, 1, INTEGRITY, "the content is wrong: its git sha1 is", SMALL),
    Row(FaultKind.MISPLACED, 1, INTEGRITY, "the content is wrong"),
    Row(FaultKind.DROP, 1, RIGHT),
    Row(FaultKind.DROP, 3, RIGHT),
    Row(FaultKind.DROP, ALWAYS, NETWORK, "the connection ended too early, again and again"),
    Row(FaultKind.DROP, 3, RIGHT, path=SMALL),
    Row(FaultKind.DROP, ALWAYS, NETWORK, "ended too early", SMALL),
    Row(FaultKind.RESET, 3, RIGHT),
    Row(FaultKind.RESET, ALWAYS, NETWORK, "reset"),
    Row(FaultKind.STALL, 1, RIGHT),
    Row(FaultKind.STALL, ALWAYS, NETWORK, "no byte for seconds, again and again"),
    Row(FaultKind.STALL, 1, RIGHT, path=SMALL),
    # Lengths that lie, in both directions.
    Row(FaultKind.SHORT_LENGTH, 3, RIGHT),
    Row(FaultKind.SHORT_LENGTH, ALWAYS, INTEGRITY, r"\d+ bytes announced for a range of \d+"),
    Row(FaultKind.SHORT_LENGTH, ALWAYS, INTEGRITY, "2000 bytes announced", SMALL),
    Row(FaultKind.LONG_LENGTH, 3, RIGHT),
    Row(FaultKind.LONG_LENGTH, ALWAYS, INTEGRITY, r"\d+ bytes announced for a range of \d+"),
    Row(FaultKind.BROKEN_LENGTH, 3, RIGHT),
    Row(FaultKind.BROKEN_LENGTH, ALWAYS, INTEGRITY, r"\d+ bytes announced"),
    Row(FaultKind.CHUNKED, ALWAYS, RIGHT),
    # Ranges.
    Row(FaultKind.IGNORE_RANGE, 1, RIGHT),
    Row(FaultKind.IGNORE_RANGE, ALWAYS, RIGHT),
    Row(FaultKind.WRONG_RANGE, 3, RIGHT),
    Row(FaultKind.WRONG_RANGE, ALWAYS, INTEGRITY, r"bytes \d+-\d+ came where \d+-\d+ were asked"),
    Row(FaultKind.WRONG_TOTAL, 3, RIGHT),
    Row(FaultKind.WRONG_TOTAL, ALWAYS, INTEGRITY, "the listing says 5242887"),
    Row(FaultKind.CHANGED_ETAG, ALWAYS, RIGHT),
    # Refusals.
    Row(FaultKind.UNAVAILABLE, 3, RIGHT),
    Row(FaultKind.UNAVAILABLE, ALWAYS, NETWORK, "the server answered 503, again and again"),
    Row(FaultKind.UNAVAILABLE, ALWAYS, NETWORK, "the server answered 503", SMALL),
    Row(FaultKind.EXPIRED, 3, RIGHT),
    Row(FaultKind.EXPIRED, ALWAYS, NETWORK, "the server answered 403, again and again"),
    Row(FaultKind.STATUS, 3, RIGHT),
    Row(FaultKind.STATUS, ALWAYS, NETWORK, "the server answered 500"),
    Row(FaultKind.LOGIN_PAGE, 3, RIGHT),
    Row(FaultKind.LOGIN_PAGE, ALWAYS, INTEGRITY, "a web page came instead of the file"),
    Row(FaultKind.LOGIN_PAGE, 3, RIGHT, path=SMALL),
    Row(FaultKind.NO_REPLY, 3, RIGHT),
    Row(FaultKind.NO_REPLY, ALWAYS, NETWORK, "closed the connection without an answer"),
    Row(FaultKind.REDIRECT_LOOP, 1, RIGHT),
    Row(FaultKind.REDIRECT_LOOP, ALWAYS, NETWORK, "redirects in circles"),
]


@pytest.fixture
def repo():
    return Repo("org/name", {LARGE: Generated(SIZE), SMALL: Generated(3000)})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("qtool.download.pacing.FIRST_WAIT_S", 0.005)
    monkeypatch.setattr("qtool.download.run.STALL_TIMEOUT_S", STALL_S)


@pytest.fixture
def is_sound(fetch):
    """Return whether no wrong byte has a final name, and nothing lies about but what is known."""

    def check(repo: Repo, *unfinished: str) -> bool:
        expected = {path: read_content(file.blob.content) for path, file in repo.head.files.items()}
        in_parts = {name.rpartition(".")[2] for name in fetch.partial_files()}
        state = [path for path in (fetch.target / ".cache/qtool").rglob("*") if path.is_file()]
        names = {path.name for path in state if path.parent.name != "prefixes"} - STATE_FILES
        return (
            fetch.files().items() <= expected.items()
            and expected.keys() - fetch.files().keys() == set(unfinished)
            and in_parts <= ({"part", "journal"} if unfinished else set())
            and names == set(fetch.partial_files())
        )

    return check


def ended(result) -> tuple[int, str, str]:
    """Return the exit code of the command, what it says, and its hint."""
    errors = [file.error for file in result.failures]
    says = "\n".join(error.message for error in errors)
    return exit_code(result.failures), says, "\n".join(error.hint or "" for error in errors)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", TABLE, ids=str)
def test_fault(hub_factory, fetch, is_right, is_sound, repo, row, place):
    hub = hub_factory([repo])
    hub.add_fault(row.fault(PLACES[place]))
    code, says, hint = ended(fetch(hub, connections=4))
    assert any(request.faults for request in hub.requests), "the fault did not strike"
    assert code == row.outcome, says
    assert re.search(row.says, says)
    if row.outcome is not RIGHT:
        assert row.path in says
        assert hint
        assert is_sound(repo, row.path)
        hub.clear_faults()
        assert fetch(hub).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize(
    ("kind", "path"), [(FaultKind.UNAVAILABLE, LARGE), (FaultKind.RATE_LIMITED, SMALL)]
)
def test_retry_after_is_waited_for(hub_factory, fetch, is_right, repo, kind, path):
    hub = hub_factory([repo])
    hub.add_fault(Row(kind, 2, RIGHT, path=path, retry_after_s=1).fault(0.5))
    result = fetch(hub, connections=1)
    assert result.failures == ()
    assert is_right(fetch, repo)
    assert 2.0 <= result.seconds < 3.5


def test_retry_after_for_ever_is_a_clear_failure(hub_factory, fetch, is_sound, repo, monkeypatch):
    monkeypatch.setattr("qtool.download.pacing.MAX_ROUNDS", 2)
    hub = hub_factory([repo])
    hub.add_fault(Row(FaultKind.RATE_LIMITED, ALWAYS, NETWORK, retry_after_s=1).fault(0.5))
    code, says, hint = ended(fetch(hub, connections=4))
    assert code == NETWORK
    assert f"{LARGE}: the server answered 429" in says
    assert "--endpoint" in hint
    assert is_sound(repo, LARGE)


@pytest.mark.parametrize(
    ("connections", "place"), [(1, "middle"), (8, "first"), (8, "middle"), (8, "last")]
)
def test_stall_costs_at_most_five_seconds(
    hub_factory, fetch, is_right, repo, place, connections, monkeypatch
):
    monkeypatch.undo()  # the program's own patience
    hub = hub_factory([repo])
    hub.add_fault(Row(FaultKind.STALL, 1, RIGHT).fault(PLACES[place]))
    assert fetch(hub, connections=connections).seconds < 5.0
    assert is_right(fetch, repo)


def test_server_that_is_silent_for_long_before_every_answer_is_waited_for(
    hub_factory, fetch, is_right, repo, monkeypatch
):
    monkeypatch.setattr("qtool.download.pacing.Silence.SAME_S", STALL_S / 2)
    hub = hub_factory([repo])
    pause = Fault(FaultKind.PAUSE, path=LARGE, times=ALWAYS, of="response", role="cdn")
    hub.add_fault(replace(pause, delay_s=3 * STALL_S))
    assert fetch(hub, connections=4).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize("status", [405, 416, 418, 501])
def test_status_that_is_no_answer_is_a_network_error(hub_factory, fetch, is_sound, repo, status):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.STATUS, path=LARGE, status=status, times=ALWAYS, role="cdn"))
    code, says, _ = ended(fetch(hub, connections=4))
    assert (code, f"the server answered {status}" in says) == (NETWORK, True), says
    assert is_sound(repo, LARGE)


@pytest.mark.parametrize("connections", [1, 8])
@pytest.mark.parametrize("surplus", [1, 3 * MIB])
def test_listing_with_a_size_too_large_is_wrong_whichever_range_is_asked_first(
    hub_factory, fetch, is_sound, repo, monkeypatch, connections, surplus
):
    true_entry = hub_api.lfs_entry
    too_large = {"size": SIZE + surplus}
    monkeypatch.setattr(hub_api, "lfs_entry", lambda *of: true_entry(*of) | too_large)
    hub = hub_factory([repo])
    code, says, _ = ended(fetch(hub, connections=connections))
    assert (code, f"the server's file has {SIZE} bytes" in says) == (INTEGRITY, True), says
    assert is_sound(repo, LARGE)


# Whole servers.


@pytest.mark.parametrize("times", [1, 3])
def test_store_dead_for_a_moment_is_overcome(hub_factory, fetch, is_right, repo, times):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.DEAD, role="cdn", times=times))
    assert fetch(hub, connections=4).failures == ()
    assert is_right(fetch, repo)


def test_dead_store_is_a_clear_failure(hub_factory, fetch, is_right, is_sound, repo):
    hub = hub_factory([repo])
    hub.refuse("cdn")
    code, says, hint = ended(fetch(hub, connections=4))
    assert code == NETWORK
    assert "refused" in says and LARGE in says
    assert "--endpoint URL" in hint
    assert is_sound(repo, LARGE)
    hub.revive("cdn")
    assert fetch(hub).failures == ()
    assert is_right(fetch, repo)


def test_store_that_dies_in_the_middle_and_comes_back_costs_no_byte_twice(
    hub_factory, fetch, is_right, repo
):
    hub = hub_factory([repo], rate_bytes_per_s=2 * MIB)
    result = fetch(hub, connections=2, on_event=lambda event: die_at(hub, event, SIZE // 3))
    assert ended(result)[0] == NETWORK
    hub.revive("cdn")
    result = fetch(hub, connections=2)
    assert is_right(fetch, repo)
    assert result.bytes_transferred <= 0.75 * SIZE


def die_at(hub, event, count):
    if getattr(event, "bytes_done", 0) > count:
        hub.refuse("cdn")


@pytest.mark.parametrize(("status", "cap"), [(429, 1), (503, 2)])
def test_cap_on_connections_lowers_their_number(hub_factory, fetch, is_right, repo, status, cap):
    hub = hub_factory(
        [repo], max_connections=cap, over_limit_status=status, rate_bytes_per_s=4 * MIB
    )
    assert fetch(hub, connections=8).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize("path", ["/api/*", "/org/name/resolve/*/m.gguf"])
@pytest.mark.parametrize("kind", [FaultKind.UNAVAILABLE, FaultKind.RATE_LIMITED, FaultKind.DELAY])
def test_hub_that_is_busy_for_a_moment_is_overcome(hub_factory, fetch, is_right, repo, kind, path):
    hub = hub_factory([repo])
    hub.add_fault(Fault(kind, path=path, times=1, role="hub", retry_after_s=1, delay_s=0.5))
    assert fetch(hub).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize("status", [429, 503])
def test_hub_that_stays_busy_is_said(hub_factory, fetch, repo, status, monkeypatch):
    monkeypatch.setattr("qtool.hub.client.ATTEMPTS", 2)
    monkeypatch.setattr("qtool.download.run.ATTEMPTS", 2)
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.STATUS, status=status, path="/api/*", times=ALWAYS))
    with pytest.raises(QtoolError, match=f"{hub.url} answers {status}") as caught:
        fetch(hub)
    assert caught.value.exit_code == NETWORK
    assert "--endpoint" in (caught.value.hint or "")
    assert not fetch.target.exists()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (FaultKind.LOGIN_PAGE, "answers with a web page where the hub's API should be"),
        (FaultKind.BROKEN_LENGTH, "closed the connection in mid-answer"),
        (FaultKind.SHORT_LENGTH, "something that is not JSON"),
        (FaultKind.NO_REPLY, "does not answer"),
        (FaultKind.REDIRECT_LOOP, "redirects in circles"),
    ],
)
def test_listing_that_is_none_is_said(hub_factory, fetch, repo, kind, says, monkeypatch):
    monkeypatch.setattr("qtool.download.run.ATTEMPTS", 1)
    hub = hub_factory([repo])
    hub.add_fault(Fault(kind, path="/api/*", times=ALWAYS, count=100))
    with pytest.raises(NetworkError, match=says):
        fetch(hub)
    assert not fetch.target.exists()


@pytest.mark.parametrize(
    "target", ["http://" + "a" * 70 + ".example", "http://[::1", "http://é" + "a" * 63, "ftp://x"]
)
def test_redirect_to_what_is_no_address_is_a_network_error(hub_factory, fetch, repo, target):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.REDIRECT_HOST, path=LARGE, times=ALWAYS, target=target))
    assert ended(fetch(hub))[0] == NETWORK


@pytest.mark.parametrize("style", [HubStyle.HUGGINGFACE, HubStyle.OLAH])
@pytest.mark.parametrize("has_xet", [True, False])
def test_xet_store_out_of_reach_is_not_asked(hub_factory, fetch, is_right, repo, style, has_xet):
    hub = hub_factory([repo], style=style, has_xet=has_xet)
    result = fetch(hub)
    assert result.failures == ()
    assert is_right(fetch, repo)
    assert result.seconds < 3.0


# What is there already.


def test_wrong_copy_of_what_is_there_changes_nothing(hub_factory, fetch, is_right, repo):
    blob = repo.head.files[LARGE].blob
    identity = Identity("model:org/name", LARGE, SIZE, blob.sha256)
    folder = fetch.target / ".cache/qtool/partial"
    part = PartialFile(folder, RemoteFile(LARGE, SIZE, blob.sha256), identity)
    for start in (0, 2 * MIB):
        part.write(start, memoryview(read_content(blob.content))[start : start + MIB])
    part.close()
    hub = hub_factory([repo])
    hub.add_fault(Row(FaultKind.IGNORE_RANGE, ALWAYS, RIGHT).fault(None))
    hub.add_fault(replace(Row(FaultKind.FLIP, ALWAYS, RIGHT).fault(None), at=5 * MIB // 2))
    assert fetch(hub, connections=4).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize("path", [LARGE, SMALL])
@pytest.mark.parametrize("place", PLACES)
def test_wrong_bytes_do_not_replace_what_is_right(hub_factory, fetch, is_right, repo, path, place):
    hub = hub_factory([repo])
    fetch(hub)
    hub.add_fault(Fault(FaultKind.FLIP, path=path, at=PLACES[place], times=ALWAYS))
    assert ended(fetch(hub, is_forced=True))[0] == INTEGRITY
    assert is_right(fetch, repo)
