"""Downloads from the loopback hub over real sockets, when all goes well."""

import os
import stat
import threading
import time

import pytest

from qtool.download import FileFinished, FileStatus, Planned, Progress, Selection
from qtool.errors import AuthError, IntegrityError, NotFoundError, ResourceError, UsageError
from qtool.hub.repo import RepoRef, RepoType
from tests.hub import Generated, Repo

MIB = 1024 * 1024
FILES = {
    "config.json": b"{}",
    "model.gguf": Generated(5 * MIB + 7),
    "a b/#%?中&+.txt": b"odd",
    "empty": b"",
    "tiny.bin": b"lfs of a few bytes",
    "doubled.bin": b"lfs of a few bytes",
    "medium.txt": Generated(900_000),
}


def statuses(result):
    return {file.path: file.status for file in result.files}


def test_repository_arrives_whole_and_right(hub_factory, fetch, is_right):
    repo = Repo("org/name", FILES)
    hub = hub_factory([repo])
    result = fetch(hub)
    assert is_right(fetch, repo)
    assert set(statuses(result).values()) == {FileStatus.DOWNLOADED}
    assert result.commit == repo.sha
    assert result.endpoints == {hub.url: result.bytes_transferred}


def test_every_byte_is_asked_for_once(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", FILES)])
    result = fetch(hub, connections=8)
    api_bytes = sum(r.bytes_sent for r in hub.requests if "/api/" in r.target or r.status == 302)
    assert hub.bytes_sent() - api_bytes <= 1.3 * result.size_bytes
    assert result.bytes_transferred <= 1.05 * result.size_bytes


def test_hub_is_asked_once_for_a_large_file(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", {"m.gguf": Generated(20 * MIB)})])
    fetch(hub, connections=8)
    assert len([request for request in hub.requests if request.role == "hub"]) == 2


def test_second_run_asks_once_and_fetches_nothing(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", FILES)])
    fetch(hub)
    hub.reset()
    result = fetch(hub)
    assert set(statuses(result).values()) == {FileStatus.SKIPPED}
    assert len(hub.requests) == 1


def test_changed_file_is_fetched_again_and_no_other(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", FILES)])
    fetch(hub)
    (fetch.target / "config.json").write_text("[]")
    (fetch.target / "tiny.bin").unlink()
    result = fetch(hub)
    fetched = {p for p, status in statuses(result).items() if status is FileStatus.DOWNLOADED}
    assert fetched == {"config.json", "tiny.bin"}
    assert fetch.files()["config.json"] == b"{}"


def test_new_commit_fetches_what_changed(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", FILES)])
    fetch(hub)
    hub.commit("org/name", {"config.json": b'{"new": 1}'})
    result = fetch(hub)
    fetched = {p for p, status in statuses(result).items() if status is FileStatus.DOWNLOADED}
    assert fetched == {"config.json"}


def test_right_files_of_unknown_origin_are_kept(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", {"a": b"same", "b": b"new"})])
    fetch.target.mkdir()
    (fetch.target / "a").write_bytes(b"same")
    assert statuses(fetch(hub)) == {"a": FileStatus.VERIFIED, "b": FileStatus.DOWNLOADED}


def test_forced_run_fetches_everything_anew(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", {"a": b"1", "m.gguf": Generated(2 * MIB)})])
    fetch(hub)
    assert set(statuses(fetch(hub, is_forced=True)).values()) == {FileStatus.DOWNLOADED}


def test_dry_run_writes_nothing(hub_factory, fetch):
    result = fetch(hub_factory([Repo("org/name", FILES)]), is_dry_run=True)
    assert set(statuses(result).values()) == {FileStatus.PLANNED}
    assert not fetch.target.exists()


def test_verification_alone_finds_what_is_wrong_and_changes_nothing(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", {"a": b"right", "b": b"right", "c": b"right"})])
    fetch(hub)
    (fetch.target / "b").write_bytes(b"wrong")
    (fetch.target / "c").unlink()
    result = fetch(hub, is_verify_only=True)
    assert [file.path for file in result.failures] == ["b", "c"]
    assert all(isinstance(file.error, IntegrityError) for file in result.failures)
    assert fetch.files() == {"a": b"right", "b": b"wrong"}


@pytest.mark.parametrize("path", ["../x", "/abs", "a/../../x", "C:\\x", "a\0b"])
def test_unsafe_name_is_refused_before_anything_is_written(hub_factory, fetch, path):
    hub = hub_factory([Repo("org/name", {"good": b"1", path: b"2"})])
    with pytest.raises(IntegrityError):
        fetch(hub)
    assert not fetch.target.exists()


def test_state_of_clients_in_a_repository_is_left_out(hub_factory, fetch):
    repo = Repo("org/name", {"a": b"1", ".cache/qtool/manifest": b"lies"})
    fetch(hub_factory([repo]))
    assert b"lies" not in (fetch.target / ".cache/qtool/manifest").read_bytes()


@pytest.mark.parametrize("path", [".cache/qtool", ".cache/huggingface", ".Cache/qtool/manifest"])
def test_file_in_place_of_the_state_of_clients_is_left_out(hub_factory, fetch, path):
    result = fetch(hub_factory([Repo("org/name", {"a": b"1", path: b"lies"})]))
    assert [file.path for file in result.files] == ["a"]
    assert result.failures == ()


def test_file_named_like_the_folder_of_the_state_is_refused_early(hub_factory, fetch, tmp_path):
    hub = hub_factory([Repo("org/name", {"a": b"1", ".cache": b"2"})])
    with pytest.raises(UsageError, match=r"'\.cache' is a file of the repository") as caught:
        fetch(hub)
    assert not fetch.target.exists()
    assert "--exclude .cache" in (caught.value.hint or "")
    assert fetch(hub, selection=Selection(exclude=(".cache",))).failures == ()
    cached = fetch(hub, cache_dir=tmp_path / "cache")
    assert (cached.path / ".cache").read_bytes() == b"2"


def test_gated_repository_needs_the_token_and_the_terms(hub_factory, fetch):
    repo = Repo("org/name", {"m.gguf": b"weights"}, gated="manual", readers=["ada"])
    hub = hub_factory([repo], tokens={"hf_ada": "ada", "hf_bob": "bob"})
    refused = fetch(hub, token="hf_bob")
    assert isinstance(refused.failures[0].error, AuthError)
    assert f"{hub.url}/org/name" in refused.failures[0].error.hint
    assert fetch(hub, token="hf_ada").failures == ()
    assert fetch.files() == {"m.gguf": b"weights"}


def test_token_goes_to_the_hub_only_and_is_kept_nowhere(hub_factory, fetch):
    repo = Repo("org/name", FILES, gated="auto", readers=["ada"])
    hub = hub_factory([repo], tokens={"hf_ada": "ada"})
    fetch(hub, token="hf_ada")
    sent_to = {r.role for r in hub.requests if r.has_authorization}
    assert sent_to == {"hub"}
    assert any(r.role == "cdn" for r in hub.requests)
    state = [p.read_bytes() for p in fetch.target.rglob("*") if p.is_file()]
    assert not any(b"hf_ada" in content for content in state)


def test_dataset_is_fetched_from_its_own_addresses(hub_factory, fetch):
    repo = Repo("org/name", {"a.csv": b"1,2"}, repo_type="dataset")
    fetch(hub_factory([repo]), repo=RepoRef("org/name", repo_type=RepoType.DATASET))
    assert fetch.files() == {"a.csv": b"1,2"}


def test_encrypted_download(hub_factory, fetch, is_right, monkeypatch):
    from qtool.hub.sockets import tls_context

    repo = Repo("org/name", FILES)
    hub = hub_factory([repo], tls=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(hub.ca_file))
    tls_context.cache_clear()
    try:
        fetch(hub)
    finally:
        tls_context.cache_clear()
    assert is_right(fetch, repo)


def test_untrusted_certificate_is_refused_with_the_cure(hub_factory, fetch):
    from qtool.errors import NetworkError

    with pytest.raises(NetworkError) as caught:
        fetch(hub_factory([Repo("org/name", FILES)], tls=True))
    assert "SSL_CERT_FILE" in (caught.value.hint or "")


def test_next_endpoint_is_asked_when_one_does_not_answer(hub_factory, fetch, is_right):
    repo = Repo("org/name", FILES)
    dead, alive = hub_factory([repo]), hub_factory([repo])
    dead.refuse("hub")
    fetch(dead, alive)
    assert is_right(fetch, repo)


def test_full_disk_is_noticed_before_the_first_byte(hub_factory, fetch, monkeypatch):
    hub = hub_factory([Repo("org/name", FILES)])
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(ResourceError, match="1 kB free"):
        fetch(hub)
    assert len(hub.requests) == 1


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_read_only_target_is_a_clear_failure(hub_factory, fetch):
    fetch.target.mkdir()
    fetch.target.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ResourceError, match="cannot write"):
        fetch(hub_factory([Repo("org/name", FILES)]))


def test_target_that_is_a_file_is_a_clear_failure(hub_factory, fetch):
    fetch.target.write_text("in the way")
    with pytest.raises(UsageError):
        fetch(hub_factory([Repo("org/name", FILES)]))


def test_quantization_selects_its_files(hub_factory, fetch):
    repo = Repo("org/name", {"n-Q4_K_M.gguf": b"4", "n-Q8_0.gguf": b"8", "README.md": b"r"})
    fetch(hub_factory([repo]), selection=Selection(quant="q8_0"))
    assert fetch.files() == {"n-Q8_0.gguf": b"8"}


def test_missing_file_is_named(hub_factory, fetch):
    with pytest.raises(NotFoundError, match=r"no file 'confg\.json'") as caught:
        fetch(hub_factory([Repo("org/name", FILES)]), selection=Selection(("confg.json",)))
    assert "config.json" in (caught.value.hint or "")


def test_events_tell_the_plan_the_progress_and_the_end(hub_factory, fetch):
    events = []
    fetch(hub_factory([Repo("org/name", FILES)]), on_event=events.append)
    (planned,) = (event for event in events if isinstance(event, Planned))
    assert planned.n_files == len(FILES)
    assert len([e for e in events if isinstance(e, FileFinished)]) == len(FILES)
    last = events[-1]
    assert isinstance(last, Progress) and last.bytes_done == last.bytes_total


def test_rate_is_limited(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", {"m.gguf": Generated(1 * MIB)})])
    started_at = time.monotonic()
    fetch(hub, rate_limit_bytes_per_s=2 * MIB)
    assert 0.4 < time.monotonic() - started_at < 2


def test_stop_ends_within_a_second_and_the_next_run_goes_on(hub_factory, fetch, is_right):
    repo = Repo("org/name", {"m.gguf": Generated(8 * MIB)})
    hub = hub_factory([repo], rate_bytes_per_s=2 * MIB)
    stop = threading.Event()
    threading.Timer(1.0, stop.set).start()
    with pytest.raises(KeyboardInterrupt):
        fetch(hub, connections=2, stop=stop)
    hub.set_line("cdn", type(hub._servers["cdn"].line)(None, 0.0, None, 503))
    result = fetch(hub)
    assert result.files[0].status is FileStatus.RESUMED
    assert is_right(fetch, repo)
    assert hub.bytes_sent("m.gguf", "cdn") <= 1.1 * 8 * MIB


def test_changed_content_between_runs_starts_that_file_anew(hub_factory, fetch, is_right):
    repo = Repo("org/name", {"m.gguf": Generated(4 * MIB)})
    hub = hub_factory([repo], rate_bytes_per_s=2 * MIB)
    stop = threading.Event()
    threading.Timer(0.7, stop.set).start()
    with pytest.raises(KeyboardInterrupt):
        fetch(hub, connections=1, stop=stop)
    assert fetch.partial_files() != []
    hub.commit("org/name", {"m.gguf": Generated(4 * MIB, seed=1)})
    assert fetch(hub).files[0].status is FileStatus.DOWNLOADED
    assert is_right(fetch, repo)


def test_partial_state_of_removed_files_is_cleaned_up(hub_factory, fetch):
    hub = hub_factory([Repo("org/name", {"a": b"1"})])
    folder = fetch.target / ".cache/qtool/partial"
    folder.mkdir(parents=True)
    (folder / f"{'0' * 32}.part").write_bytes(b"orphan")
    (folder.parent / "small").mkdir()
    (folder.parent / "small/7f").write_bytes(b"half a small file")
    fetch(hub)
    assert fetch.partial_files() == []


def test_partial_state_of_another_repository_in_the_folder_stays(hub_factory, fetch):
    hub = hub_factory(
        [Repo("org/name", {"m.gguf": Generated(4 * MIB)}), Repo("org/other", {"b": b"1"})],
        rate_bytes_per_s=2 * MIB,
    )
    stop = threading.Event()
    threading.Timer(0.7, stop.set).start()
    with pytest.raises(KeyboardInterrupt):
        fetch(hub, connections=1, stop=stop)
    before = fetch.partial_files()
    assert len(before) == 2
    fetch(hub, repo=RepoRef("org/other"))
    assert fetch.partial_files() == before
    assert fetch(hub).files[0].status is FileStatus.RESUMED
