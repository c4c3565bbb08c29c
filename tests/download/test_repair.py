"""Repairs: only what is wrong is fetched, and nothing is lost on the way."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from qtool.download import FileStatus
from qtool.download.prefixes import Prefixes, PrefixStore
from qtool.errors import IntegrityError, ResourceError
from qtool.hub.repo import RemoteFile
from tests.download.test_verify import damage
from tests.hub import Fault, FaultKind, Generated, Repo, read_content

MIB = 1024 * 1024
SIZE = 12 * MIB + 7
# On a busy machine a connection that is slow has its part brought by another as well.
A_BLOCK_OR_SO = 2.2 * MIB


@pytest.fixture
def repo():
    return Repo("org/name", {"config.json": b"{}", "m.gguf": Generated(SIZE)})


@pytest.fixture
def hub(hub_factory, repo):
    return hub_factory([repo])


@pytest.fixture
def model(fetch):
    return fetch.target / "m.gguf"


@pytest.fixture
def repair(fetch, hub):
    """Repair the target; return the outcome and how many bytes of the model were sent."""

    def run(*others, **options):
        hub.reset()
        result = fetch(hub, *others, is_repair=True, **options)
        return {file.path: file for file in result.files}, hub.bytes_sent("m.gguf", "cdn")

    return run


def aside(fetch):
    folder = fetch.target / ".cache/qtool/damaged"
    return list(folder.iterdir()) if folder.exists() else []


def test_right_files_are_left_alone(fetch, hub, repair, repo, is_right):
    fetch(hub)
    files, sent = repair()
    assert {file.status for file in files.values()} == {FileStatus.VERIFIED}
    assert sent == 0
    assert is_right(fetch, repo)


def test_bad_blocks_alone_are_fetched(fetch, hub, repair, repo, model, is_right):
    fetch(hub)
    damage(model, 10, 5 * MIB, SIZE - 1)
    files, sent = repair()
    assert files["m.gguf"].status is FileStatus.REPAIRED
    assert files["m.gguf"].damage.bad_ranges == ((0, MIB),)
    assert sent < 2.2 * MIB
    assert is_right(fetch, repo)
    assert repair() == ({**repair()[0]}, 0)


def test_tail_alone_is_fetched_of_a_file_that_ends_too_early(
    fetch, hub, repair, repo, model, is_right
):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache")
    os.truncate(model, SIZE - MIB - 3)
    files, sent = repair()
    assert files["m.gguf"].status is FileStatus.REPAIRED
    assert sent < A_BLOCK_OR_SO
    assert is_right(fetch, repo)


@pytest.mark.parametrize("is_recorded", [True, False])
def test_surplus_is_cut_off_without_fetching(
    fetch, hub, repair, repo, model, is_right, is_recorded
):
    fetch(hub)
    if not is_recorded:
        shutil.rmtree(fetch.target / ".cache")
    with model.open("ab") as stream:
        stream.write(b"surplus")
    assert repair()[1] == 0
    assert is_right(fetch, repo)


def test_damage_that_cannot_be_located_means_the_whole_file(
    fetch, hub, repair, repo, model, is_right
):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache/qtool/prefixes")
    damage(model, 5 * MIB)
    files, sent = repair()
    assert files["m.gguf"].status is FileStatus.REPAIRED
    assert sent >= SIZE
    assert is_right(fetch, repo) and aside(fetch) == []


def test_missing_and_small_files_come_whole(fetch, hub, repair, repo, model, is_right):
    fetch(hub)
    model.unlink()
    (fetch.target / "config.json").write_bytes(b"{]")
    files, _ = repair()
    assert files["m.gguf"].status is FileStatus.DOWNLOADED
    assert files["config.json"].status is FileStatus.REPAIRED
    assert is_right(fetch, repo) and aside(fetch) == []


def test_plain_download_keeps_the_good_blocks_as_well(fetch, hub, repo, model, is_right):
    fetch(hub)
    damage(model, 5 * MIB)
    os.utime(model)
    hub.reset()
    fetch(hub)
    assert hub.bytes_sent("m.gguf", "cdn") < A_BLOCK_OR_SO
    assert is_right(fetch, repo)


def test_good_file_of_an_earlier_commit_stays_until_the_new_one_is_there(fetch, hub, repair, model):
    fetch(hub)
    hub.commit("org/name", {"m.gguf": Generated(SIZE, seed=2)})
    before = model.read_bytes()
    hub.refuse("cdn")
    files = fetch(hub, is_repair=True).files
    assert model.read_bytes() == before
    assert any(file.error for file in files)


def test_wrong_bytes_from_the_hub_are_noticed_at_once_and_brought_again(
    fetch, hub, repair, repo, model, is_right
):
    fetch(hub)
    damage(model, 5 * MIB + 10)
    hub.reset()
    hub.add_fault(Fault(FaultKind.FLIP, path="*.gguf", at=0.5, of="response"))
    assert fetch(hub, is_repair=True).failures == ()
    assert hub.bytes_sent("m.gguf", "cdn") < 2.2 * MIB
    assert is_right(fetch, repo)


def test_hub_that_goes_on_sending_wrong_bytes_costs_only_the_blocks_they_were_for(
    fetch, hub, repair, repo, model, is_right
):
    fetch(hub)
    damage(model, 5 * MIB + 10)
    hub.add_fault(Fault(FaultKind.FLIP, path="*.gguf", at=0.5, of="response", times=None))
    result = fetch(hub, is_repair=True)
    (failure,) = result.failures
    assert isinstance(failure.error, IntegrityError)
    assert not model.exists()
    hub.clear_faults()
    files, sent = repair()
    assert files["m.gguf"].status is FileStatus.RESUMED
    assert sent < A_BLOCK_OR_SO
    assert is_right(fetch, repo)


@pytest.mark.parametrize(("first", "last"), [(0, 11), (3, 8), (7, 12)])
def test_long_piece_of_damage_takes_few_rounds(fetch, hub, repair, repo, model, first, last):
    fetch(hub)
    damage(model, *range(first * MIB, min((last + 1) * MIB, SIZE), MIB))
    _, sent = repair()
    n_bad = last + 1 - first
    assert sent < min(2.2 * n_bad, 13.2) * MIB
    assert len(hub.requests) < 50  # a connection takes a share of a block
    assert (fetch.target / "m.gguf").read_bytes() == read_content(repo.file("m.gguf").blob.content)


@pytest.mark.parametrize("is_damaged_elsewhere", [True, False])
def test_notes_that_are_wrong_themselves_do_not_stand_in_the_way(
    fetch, hub, repair, repo, model, is_right, is_damaged_elsewhere
):
    fetch(hub)
    file = RemoteFile("m.gguf", SIZE, sha256=repo.file("m.gguf").blob.sha256)
    store = PrefixStore(fetch.target / ".cache/qtool")
    notes = store.find(file).notes
    store.add(file, Prefixes(SIZE, (*notes[:4], b"8 bytes.", *notes[5:])))
    if is_damaged_elsewhere:
        damage(model, 7 * MIB)
    n_repairs = 1
    while repair()[0]["m.gguf"].error is not None:
        n_repairs += 1
    assert n_repairs <= 3
    assert is_right(fetch, repo)


@pytest.mark.parametrize("n_failures", [1, 2, 3, 4])
def test_hub_that_always_sends_wrong_bytes_costs_no_good_ones(
    fetch, hub, repair, repo, model, is_right, n_failures
):
    fetch(hub)
    damage(model, 999, 9 * MIB)
    hub.add_fault(Fault(FaultKind.FLIP, path="*.gguf", at=1000, times=None, role="cdn"))
    for _ in range(n_failures):
        assert [failed.path for failed in fetch(hub, is_repair=True).failures] == ["m.gguf"]
    if n_failures == 2:  # then it is fetched without the notes
        assert repair()[0]["m.gguf"].error is None
    else:
        assert repair()[1] < 4.4 * MIB
    assert is_right(fetch, repo)
    assert aside(fetch) == []
    assert len(os.listdir(fetch.target / ".cache/qtool/prefixes")) == 1


def test_mirror_that_sends_wrong_bytes_for_a_block_does_not_cost_the_good_ones(
    hub_factory, fetch, hub, repo, model, is_right
):
    fetch(hub)
    damage(model, *range(0, SIZE, 2 * MIB))
    bad, good = hub_factory([repo]), hub_factory([repo])
    bad.add_fault(Fault(FaultKind.MISPLACED, path="*.gguf", times=None, role="cdn"))
    result = fetch(bad, good, is_repair=True)
    assert result.failures == ()
    sent = sum(one.bytes_sent("m.gguf", "cdn") for one in (bad, good))
    # Both are asked, then each alone, for the bad half of the file only.
    assert sent < 3.1 * 6 * MIB
    assert set(result.dropped) <= {bad.url}
    assert is_right(fetch, repo)


def test_file_set_aside_is_kept_while_its_replacement_is_wrong_and_said_so(
    fetch, hub, repair, repo, model, is_right
):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache")
    damage(model, 5 * MIB)
    before = model.read_bytes()
    hub.add_fault(Fault(FaultKind.FLIP, path="*.gguf", at=0.5))
    result = fetch(hub, is_repair=True)
    assert len(result.failures) == 1 and not model.exists()
    (kept,) = aside(fetch)
    assert kept.read_bytes() == before
    assert str(kept) in result.notes[-1]
    fetch(hub)
    assert is_right(fetch, repo) and aside(fetch) == []


def test_full_disk_is_noticed_before_anything_is_moved(fetch, hub, model, monkeypatch):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache")
    damage(model, 5 * MIB)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": MIB}))
    with pytest.raises(ResourceError):
        fetch(hub, is_repair=True)
    assert model.exists()


def test_disk_that_is_full_but_for_the_damage_will_do(fetch, hub, model, monkeypatch, repair):
    fetch(hub)
    damage(model, 5 * MIB)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2 * MIB}))
    assert repair()[0]["m.gguf"].error is None


def test_disk_that_is_full_but_for_the_rest_of_an_interrupted_download_will_do(
    fetch, hub, repo, is_right, monkeypatch
):
    hub.add_fault(Fault(FaultKind.DROP, path="*.gguf", at=0.9, times=None))
    monkeypatch.setattr("qtool.download.pacing.FIRST_WAIT_S", 0.01)
    assert len(fetch(hub, connections=1).failures) == 1
    hub.clear_faults()
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2 * MIB}))
    assert fetch(hub, is_repair=True).failures == ()
    assert is_right(fetch, repo)


@pytest.mark.parametrize("is_repair", [True, False])
def test_full_disk_is_noticed_before_a_file_of_two_names_is_copied(
    fetch, hub, model, monkeypatch, is_repair, tmp_path
):
    fetch(hub)
    damage(model, 5 * MIB)
    os.utime(model)
    os.link(model, tmp_path / "other.gguf")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 2 * MIB}))
    with pytest.raises(ResourceError):
        fetch(hub, is_repair=is_repair)
    assert model.exists()
    assert fetch.partial_files() == []


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_other_names_of_a_damaged_file_are_not_written_to(
    fetch, hub, repair, repo, model, tmp_path, is_right, kind
):
    fetch(hub)
    damage(model, 5 * MIB)
    other = tmp_path / "other.gguf"
    if kind == "symlink":
        model.rename(other)
        model.symlink_to(other)
    else:
        os.link(model, other)
    before = other.read_bytes()
    _, sent = repair()
    assert sent < A_BLOCK_OR_SO
    assert other.read_bytes() == before
    assert is_right(fetch, repo) and not model.is_symlink()


def test_cache_is_repaired_once_for_files_of_one_content(hub_factory, fetch, tmp_path):
    content = Generated(4 * MIB)
    repo = Repo("org/name", {"a.bin": content, "b.bin": content, "c.bin": Generated(2 * MIB)})
    hub, cache = hub_factory([repo]), tmp_path / "hub"
    fetch(hub, cache_dir=cache)
    folder = cache / "models--org--name"
    damage(folder / "blobs" / repo.file("a.bin").blob.sha256, MIB)
    (folder / "snapshots" / repo.sha / "c.bin").unlink()
    hub.reset()
    result = fetch(hub, cache_dir=cache, is_repair=True)
    assert result.failures == ()
    assert result.bytes_transferred < A_BLOCK_OR_SO
    assert fetch(hub, cache_dir=cache, is_verify_only=True).failures == ()


def test_partial_file_of_an_earlier_run_is_never_mistaken_for_the_damaged_one(
    fetch, hub, repair, repo, model, is_right
):
    from qtool.download.journal import Identity, Journal, boot_id
    from qtool.download.partials import partial_paths
    from qtool.download.ranges import RangeSet

    fetch(hub)
    damage(model, 5 * MIB)
    identity = Identity("model:org/name", "m.gguf", SIZE, repo.file("m.gguf").blob.sha256)
    part, journal = partial_paths(fetch.target / ".cache/qtool/partial", identity)
    part.write_bytes(b"x" * SIZE)
    Journal.start(journal, identity, RangeSet([(0, SIZE)]), boot_id()).close()
    repair()
    assert is_right(fetch, repo)


SCRIPT = """
import sys
from pathlib import Path
from qtool.download import DownloadRequest, download
from qtool.hub.endpoints import Endpoint
from qtool.hub.repo import RepoRef
request = DownloadRequest(
    RepoRef("org/name"), (Endpoint(sys.argv[1]),), local_dir=Path(sys.argv[2]), is_repair=True
)
download(request)
"""


@pytest.mark.parametrize("round_", range(4))
def test_killed_repair_is_completed_by_the_next_run(
    hub_factory, fetch, repo, model, is_right, round_
):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    quick = hub_factory([repo])
    fetch(quick)
    damage(model, *range(0, SIZE, 2 * MIB))
    dice = random.Random(round_)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, hub.url, str(fetch.target)])
    deadline_s = time.monotonic() + 20
    while not hub.bytes_sent("m.gguf", "cdn"):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    time.sleep(dice.uniform(0.0, 0.4))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not model.exists()
    quick.reset()
    result = fetch(quick, is_repair=bool(round_ % 2))
    assert result.failures == ()
    assert quick.bytes_sent("m.gguf", "cdn") < 7.7 * MIB
    assert is_right(fetch, repo)


def test_file_that_may_only_be_read_is_replaced(fetch, hub, repo, model, is_right):
    fetch(hub)
    damage(model, 5 * MIB)
    model.chmod(0o444)
    hub.reset()
    # root may write to it all the same, unless this is taken from it
    as_others = ["setpriv", "--bounding-set=-dac_override"] if os.getuid() == 0 else []
    command = [*as_others, sys.executable, "-c", SCRIPT, hub.url, str(fetch.target)]
    subprocess.run(command, check=True)
    assert hub.bytes_sent("m.gguf", "cdn") < A_BLOCK_OR_SO
    assert is_right(fetch, repo)


@pytest.mark.parametrize("step", ["sync_folder", "Journal.start", "Fetch.run"])
def test_death_between_the_steps_of_taking_over_loses_nothing(
    fetch, hub, repair, repo, model, is_right, monkeypatch, step
):
    """The damaged file keeps its name until the journal that vouches for its good bytes is safe."""

    class Death(BaseException):
        pass

    def die(*arguments):
        raise Death

    fetch(hub)
    damage(model, 5 * MIB)
    before = model.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(Death):
        if step == "Fetch.run":
            patch.setattr("qtool.download.run.Fetch.run", die)
        else:
            patch.setattr(f"qtool.download.repair.{step}", die)
        fetch(hub, is_repair=True)
    assert model.exists() is (step != "Fetch.run")
    assert not model.exists() or model.read_bytes() == before
    _, sent = repair()
    assert sent < A_BLOCK_OR_SO
    assert is_right(fetch, repo)


def test_front_that_is_only_presumed_good_outlives_a_wrong_digest(
    fetch, hub, repair, repo, model, is_right
):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache")
    damage(model, 10)
    os.truncate(model, SIZE - MIB)
    before = model.read_bytes()
    assert len(fetch(hub, is_repair=True).failures) == 1
    (kept,) = aside(fetch)
    assert kept.read_bytes()[: len(before)] == before
    repair()
    assert is_right(fetch, repo) and aside(fetch) == []
