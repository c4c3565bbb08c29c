"""Every way in which a hub can misbehave: right in the end or clearly failed, never wrong bytes."""

import errno

import pytest

from qtool.download import FileStatus
from qtool.download.disk import write_at
from qtool.download.journal import Identity
from qtool.download.sinks import PartialFile
from qtool.errors import IntegrityError, NetworkError, ResourceError
from qtool.hub.repo import RemoteFile
from tests.hub import Fault, FaultKind, Generated, HubStyle, Repo, read_content

MIB = 1024 * 1024
SIZE = 5 * MIB + 7
PLACES = [0, 0.5, -1]


@pytest.fixture
def repo():
    return Repo("org/name", {"m.gguf": Generated(SIZE), "small.txt": Generated(3000)})


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr("qtool.download.pacing.FIRST_WAIT_S", 0.02)
    monkeypatch.setattr("qtool.download.run.STALL_TIMEOUT_S", 0.5)


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(FaultKind.DROP),
        Fault(FaultKind.DROP, times=3),
        Fault(FaultKind.RESET),
        Fault(FaultKind.STALL),
        Fault(FaultKind.UNAVAILABLE, times=3),
        Fault(FaultKind.UNAVAILABLE, times=2, retry_after_s=1),
        Fault(FaultKind.RATE_LIMITED, retry_after_s=1),
        Fault(FaultKind.LOGIN_PAGE),
        Fault(FaultKind.NO_REPLY),
        Fault(FaultKind.SHORT_LENGTH),
        Fault(FaultKind.LONG_LENGTH),
        Fault(FaultKind.BROKEN_LENGTH),
        Fault(FaultKind.IGNORE_RANGE),
        Fault(FaultKind.WRONG_RANGE),
        Fault(FaultKind.WRONG_TOTAL),
        Fault(FaultKind.CHUNKED),
        Fault(FaultKind.REDIRECT_LOOP),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.times}",
)
def test_passing_fault_is_overcome(hub_factory, fetch, is_right, repo, fault, at):
    hub = hub_factory([repo])
    fields = {name: getattr(fault, name) for name in ("kind", "times", "retry_after_s")}
    hub.add_fault(Fault(**fields, path="m.gguf", at=at, role="cdn"))
    result = fetch(hub, connections=4)
    assert result.failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize(
    "kind",
    [FaultKind.EXPIRED, FaultKind.IGNORE_RANGE, FaultKind.CHUNKED, FaultKind.CHANGED_ETAG],
)
def test_lasting_oddity_is_lived_with(hub_factory, fetch, is_right, repo, kind):
    hub = hub_factory([repo])
    times = 5 if kind is FaultKind.EXPIRED else None
    hub.add_fault(Fault(kind, path="m.gguf", times=times, role="cdn"))
    assert fetch(hub, connections=4).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize(
    "target", ["http://" + "a" * 70 + ".example", "http://[::1", "http://é" + "a" * 63, "ftp://x"]
)
def test_redirect_to_what_is_no_address_is_a_network_error(hub_factory, fetch, repo, target):
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.REDIRECT_HOST, path="m.gguf", times=None, target=target))
    (failure,) = fetch(hub).failures
    assert isinstance(failure.error, NetworkError)


def test_wrong_copy_of_what_is_there_changes_nothing(hub_factory, fetch, is_right, repo):
    blob = repo.head.files["m.gguf"].blob
    identity = Identity("model:org/name", "m.gguf", SIZE, blob.sha256)
    folder = fetch.target / ".cache/qtool/partial"
    part = PartialFile(folder, RemoteFile("m.gguf", SIZE, blob.sha256), identity)
    for start in (0, 2 * MIB):
        part.write(start, memoryview(read_content(blob.content))[start : start + MIB])
    part.close()
    hub = hub_factory([repo])
    hub.add_fault(Fault(FaultKind.IGNORE_RANGE, path="m.gguf", times=None, role="cdn"))
    hub.add_fault(Fault(FaultKind.FLIP, path="m.gguf", at=5 * MIB // 2, times=None, role="cdn"))
    assert fetch(hub, connections=4).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize("at", PLACES)
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (FaultKind.FLIP, "m.gguf"),
        (FaultKind.FLIP, "small.txt"),
        (FaultKind.MISPLACED, "m.gguf"),
    ],
)
def test_wrong_bytes_never_get_the_final_name(hub_factory, fetch, is_right, repo, kind, at, path):
    hub = hub_factory([repo])
    hub.add_fault(Fault(kind, path=path, at=at))
    result = fetch(hub)
    failed = [file for file in result.failures if file.path == path]
    assert len(failed) == len(result.failures) == 1
    assert isinstance(failed[0].error, IntegrityError)
    assert repo.file(path).etag in failed[0].error.message
    assert path not in fetch.files()
    assert fetch(hub).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.DROP, NetworkError),
        (FaultKind.NO_REPLY, NetworkError),
        (FaultKind.UNAVAILABLE, NetworkError),
        (FaultKind.EXPIRED, NetworkError),
        (FaultKind.DEAD, NetworkError),
        (FaultKind.LOGIN_PAGE, IntegrityError),
        (FaultKind.WRONG_TOTAL, IntegrityError),
        (FaultKind.WRONG_RANGE, IntegrityError),
    ],
)
def test_lasting_fault_is_a_clear_failure_and_spares_other_files(
    hub_factory, fetch, repo, kind, error
):
    hub = hub_factory([repo])
    path = None if kind is FaultKind.DEAD else "m.gguf"
    hub.add_fault(Fault(kind, path=path, times=None, role="cdn", at=None if path is None else 0.5))
    result = fetch(hub)
    assert [type(file.error) for file in result.failures] == [error]
    assert set(fetch.files()) == {"small.txt"}
    hub.clear_faults()
    assert fetch(hub).failures == ()


def test_cap_on_connections_lowers_their_number(hub_factory, fetch, is_right, repo):
    hub = hub_factory([repo], max_connections=2, rate_bytes_per_s=4 * MIB)
    assert fetch(hub, connections=8).failures == ()
    assert is_right(fetch, repo)


def test_mirror_that_sends_files_itself(hub_factory, fetch, is_right, repo):
    hub = hub_factory([repo], style=HubStyle.OLAH)
    assert fetch(hub).failures == ()
    assert is_right(fetch, repo)


def test_other_endpoint_takes_over_when_a_store_is_dead(hub_factory, fetch, is_right, repo):
    first, second = hub_factory([repo]), hub_factory([repo])
    first.refuse("cdn")
    result = fetch(first, second)
    assert is_right(fetch, repo)
    assert set(result.endpoints) == {first.url, second.url}


def test_disk_that_fills_up_meanwhile_is_a_clear_failure(
    hub_factory, fetch, is_right, repo, monkeypatch
):
    hub = hub_factory([repo])

    def full(fd, data, offset):
        if offset > SIZE // 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_at(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr("qtool.download.sinks.write_at", full)
        result = fetch(hub)
    (failure,) = result.failures
    assert isinstance(failure.error, ResourceError) and "disk is full" in failure.error.message
    assert set(fetch.files()) == {"small.txt"}
    assert fetch(hub).files[0].status is FileStatus.RESUMED
    assert is_right(fetch, repo)
