"""Checks of what is in place, against the loopback hub and against what was recorded."""

import os
import shutil
import subprocess

import pytest

from qtool.download import FileStatus, Selection
from qtool.download.damage import DamageKind
from qtool.errors import NetworkError, NotFoundError, ResourceError
from qtool.hub.repo import RepoRef
from tests.hub import Generated, Repo, read_content

MIB = 1024 * 1024
SIZE = 5 * MIB + 7


@pytest.fixture
def repo():
    return Repo("org/name", {"a/config.json": b"{}", "m.gguf": Generated(SIZE), "t.txt": b"text"})


@pytest.fixture
def hub(hub_factory, repo):
    return hub_factory([repo])


@pytest.fixture
def verify(fetch, hub):
    """Check the target and return the outcomes by path."""

    def run(**options):
        result = fetch(hub, is_verify_only=True, **options)
        return {file.path: file for file in result.files}

    return run


def damage(path, *positions):
    """Flip bytes, and leave size and time as they were."""
    status = path.stat()
    with path.open("r+b") as stream:
        for position in positions:
            stream.seek(position)
            byte = stream.read(1)
            stream.seek(position)
            stream.write(bytes([byte[0] ^ 255]))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_right_files_are_verified_and_no_content_is_asked_for(fetch, hub, verify):
    fetch(hub)
    hub.reset()
    assert {file.status for file in verify().values()} == {FileStatus.VERIFIED}
    assert len(hub.requests) == 1


def test_each_kind_of_damage_is_told_apart(fetch, hub, verify):
    fetch(hub)
    (fetch.target / "a/config.json").unlink()
    (fetch.target / "t.txt").write_text("text and more")
    with (fetch.target / "m.gguf").open("r+b") as stream:
        stream.truncate(3 * MIB + 1)
    found = verify()
    assert {path: file.damage.kind for path, file in found.items()} == {
        "a/config.json": DamageKind.MISSING,
        "m.gguf": DamageKind.TOO_SHORT,
        "t.txt": DamageKind.TOO_LONG,
    }
    assert found["m.gguf"].status is FileStatus.CORRUPT
    assert found["m.gguf"].damage.bad_ranges == ((3 * MIB, SIZE),)
    assert found["t.txt"].damage.bad_ranges == ()
    assert found["a/config.json"].status is FileStatus.MISSING


def test_damage_is_located_though_size_and_time_are_right(fetch, hub, verify):
    fetch(hub)
    damage(fetch.target / "m.gguf", MIB + 10, 3 * MIB, SIZE - 1)
    file = verify()["m.gguf"]
    assert file.status is FileStatus.CORRUPT
    assert file.damage.bad_ranges == ((MIB, 2 * MIB),)
    assert "1048576-2097151" in file.error.message


def test_next_download_does_not_trust_what_a_check_found_wrong(fetch, hub, verify):
    fetch(hub)
    damage(fetch.target / "m.gguf", 10)
    verify()
    (result,) = (file for file in fetch(hub).files if file.path == "m.gguf")
    assert result.status is FileStatus.RESUMED
    assert verify()["m.gguf"].error is None


def test_files_that_another_program_fetched_are_checked_by_the_hubs_digests(
    fetch, hub, repo, verify
):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache")
    assert {file.status for file in verify().values()} == {FileStatus.VERIFIED}
    damage(fetch.target / "m.gguf", 10)
    found = verify()["m.gguf"].damage
    assert (found.kind, found.bad_ranges) == (DamageKind.CORRUPT, None)
    assert not (fetch.target / ".cache").exists()


def test_pointers_of_a_clone_without_lfs_are_recognised(fetch, repo, verify):
    fetch.target.mkdir()
    sha256 = repo.file("m.gguf").blob.sha256
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {SIZE}\n"
    (fetch.target / "m.gguf").write_text(pointer)
    assert verify()["m.gguf"].damage.kind is DamageKind.POINTER


@pytest.mark.parametrize("state", [".cache/qtool", ".cache/huggingface"])
def test_good_file_of_an_earlier_commit_is_told_from_a_damaged_one(fetch, hub, verify, state):
    fetch(hub)
    shutil.rmtree(fetch.target / state)
    hub.commit("org/name", {"m.gguf": Generated(SIZE, seed=2), "t.txt": b"TEXT"})
    found = verify()
    assert found["m.gguf"].status is FileStatus.OUTDATED
    assert found["t.txt"].damage.kind is DamageKind.OUTDATED
    assert found["a/config.json"].error is None


def test_files_that_are_not_of_the_commit_are_information(fetch, hub):
    fetch(hub)
    (fetch.target / "a/notes.md").write_text("mine")
    (fetch.target / ".git").mkdir()
    (fetch.target / ".git/HEAD").write_text("ref")
    result = fetch(hub, is_verify_only=True)
    assert result.extra == ("a/notes.md",)
    assert result.failures == ()


def test_only_what_is_selected_is_checked_and_the_rest_is_not_extra(fetch, hub):
    fetch(hub, selection=Selection(files=("t.txt",)))
    (fetch.target / "m.gguf").write_bytes(b"begun by hand")
    result = fetch(hub, is_verify_only=True, selection=Selection(files=("t.txt",)))
    assert [file.path for file in result.files] == ["t.txt"]
    assert result.failures == () and result.extra == ()


@pytest.mark.parametrize("is_offline", [True, False])
def test_without_a_hub_the_record_is_what_counts(fetch, hub, verify, is_offline):
    commit = fetch(hub).commit
    damage(fetch.target / "m.gguf", 2 * MIB)
    (fetch.target / "t.txt").unlink()
    hub.reset()
    if not is_offline:
        hub.refuse("hub")
    result = fetch(hub, is_verify_only=True, is_offline=is_offline)
    found = {file.path: file for file in result.files}
    assert found["m.gguf"].damage.bad_ranges == ((2 * MIB, 3 * MIB),)
    assert found["t.txt"].status is FileStatus.MISSING
    assert found["a/config.json"].status is FileStatus.VERIFIED
    assert result.commit == commit
    assert "recorded" in result.notes[0]
    assert not is_offline or hub.requests == []


def test_without_a_hub_and_without_a_record_there_is_nothing_to_compare_with(fetch, hub):
    fetch.target.mkdir()
    with pytest.raises(NotFoundError, match="recorded nothing"):
        fetch(hub, is_verify_only=True, is_offline=True)
    hub.refuse("hub")
    with pytest.raises(NetworkError):
        fetch(hub, is_verify_only=True)


def test_record_that_points_out_of_the_folder_is_refused(fetch, hub):
    from qtool.download.manifest import Manifest, Verified
    from qtool.errors import IntegrityError

    fetch(hub)
    Manifest(fetch.target / ".cache/qtool/manifest").add(Verified("../x", 1, 1, None, "c"))
    with pytest.raises(IntegrityError):
        fetch(hub, is_verify_only=True, is_offline=True)


def test_cache_is_checked_blob_by_blob_and_offline_by_its_ref(fetch, hub, repo, tmp_path):
    cache = tmp_path / "hub"
    fetch(hub, cache_dir=cache)
    assert fetch(hub, cache_dir=cache, is_verify_only=True).failures == ()
    folder = cache / "models--org--name"
    damage(folder / "blobs" / repo.file("m.gguf").blob.sha256, MIB)
    (folder / "snapshots" / repo.sha / "t.txt").unlink()
    for is_offline in (False, True):
        result = fetch(hub, cache_dir=cache, is_verify_only=True, is_offline=is_offline)
        assert {file.path: file.status for file in result.files} == {
            "a/config.json": FileStatus.VERIFIED,
            "m.gguf": FileStatus.CORRUPT,
            "t.txt": FileStatus.MISSING,
        }
        assert result.commit == repo.sha


def test_cache_without_links_as_on_a_stick_is_checked_as_well(fetch, hub, repo, tmp_path):
    cache, stick = tmp_path / "hub", tmp_path / "stick"
    fetch(hub, cache_dir=cache)
    folder = "models--org--name"
    snapshot = stick / folder / "snapshots" / repo.sha
    shutil.copytree(cache / folder / "snapshots" / repo.sha, snapshot)
    assert fetch(hub, cache_dir=stick, is_verify_only=True).failures == ()
    damage(snapshot / "m.gguf", MIB)
    (failure,) = fetch(hub, cache_dir=stick, is_verify_only=True).failures
    assert failure.path == "m.gguf"


@pytest.mark.parametrize("is_repair", [False, True])
def test_cache_without_links_keeps_its_files_in_place(fetch, hub, repo, tmp_path, is_repair):
    cache, stick = tmp_path / "hub", tmp_path / "stick"
    fetch(hub, cache_dir=cache)
    folder = f"models--org--name/snapshots/{repo.sha}"
    shutil.copytree(cache / folder, stick / folder)
    hub.reset()
    for _ in range(2):
        result = fetch(hub, cache_dir=stick, is_repair=is_repair)
        assert result.failures == ()
        assert result.bytes_transferred == 0
    assert {path: (stick / folder / path).read_bytes() for path in repo.head.files} == {
        path: read_content(file.blob.content) for path, file in repo.head.files.items()
    }


def test_file_that_cannot_be_read_does_not_hide_the_others(fetch, hub, verify):
    fetch(hub)
    (fetch.target / "t.txt").unlink()
    (fetch.target / "t.txt").mkdir()
    found = verify()
    assert found["m.gguf"].status is FileStatus.VERIFIED
    assert found["t.txt"].status is FileStatus.FAILED
    assert isinstance(found["t.txt"].error, ResourceError)


def test_folder_made_by_git_is_checked(hub, repo, fetch, tmp_path):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache")
    subprocess.run(["git", "init", "-q", str(fetch.target)], check=True)
    result = fetch(hub, is_verify_only=True, repo=RepoRef("org/name", repo.sha))
    assert result.failures == () and result.extra == ()


@pytest.mark.parametrize("mode", ["is_verify_only", "is_repair"])
def test_quantization_that_is_there_is_checked_and_not_the_usual_one(hub_factory, fetch, mode):
    files = {f"m-{label}.gguf": label.encode() for label in ("Q2_K", "Q4_K_M", "Q8_0")}
    hub = hub_factory([Repo("org/name", {**files, "README.md": b"about"})])
    fetch(hub, selection=Selection(quant="Q8_0"))
    result = fetch(hub, **{mode: True})
    found = {file.path: file.status for file in result.files}
    assert found["m-Q8_0.gguf"] is FileStatus.VERIFIED
    assert set(found) == {"m-Q8_0.gguf", "README.md"}


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_left_alone_and_said_so(fetch, hub, repo, kind):
    model = fetch.target / "m.gguf"
    model.parent.mkdir()
    match kind:
        case "folder":
            model.mkdir()
        case "pipe":
            os.mkfifo(model)
        case "device":
            model.symlink_to("/dev/zero")
    for options in ({"is_verify_only": True}, {"is_repair": True}):
        errors = {file.path: file.error for file in fetch(hub, **options).files}
        assert isinstance(errors["m.gguf"], ResourceError)
        assert "it is not a file" in errors["m.gguf"].message
    assert errors["t.txt"] is None
    assert not model.is_file()
