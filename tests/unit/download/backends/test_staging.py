import threading

import pytest

from qtool.download.backends.staging import Staging
from qtool.download.request import Backend
from qtool.errors import ResourceError
from qtool.hub.repo import Listing, RemoteFile, RepoRef

FILE = RemoteFile("a/b.gguf", 10, sha256="1" * 64)
CHANGED = RemoteFile("a/b.gguf", 10, sha256="2" * 64)


def staging(tmp_path, backend=Backend.ARIA2C, *, repo="org/name", files=(FILE,)):
    return Staging(tmp_path, Listing(RepoRef(repo), "c" * 40, files), backend)


def leave(where, file=FILE):
    where.folder.mkdir(exist_ok=True)
    where.path(file).write_bytes(b"x")
    where.notes(file).write_bytes(b"x")


def test_changed_content_has_another_name(tmp_path):
    where = staging(tmp_path)
    assert where.path(FILE) != where.path(CHANGED)
    assert where.path(FILE).parent == where.folder


def test_bytes_without_notes_are_worth_nothing(tmp_path):
    where = staging(tmp_path)
    assert where.bytes_left(FILE) == 0
    leave(where)
    assert where.bytes_left(FILE) == 1
    where.notes(FILE).unlink()
    assert where.bytes_left(FILE) == 0


def test_complete_file_needs_no_notes(tmp_path):
    where = staging(tmp_path)
    leave(where)
    where.path(FILE).write_bytes(bytes(FILE.size_bytes))
    assert not where.is_complete(FILE)
    where.notes(FILE).unlink()
    assert where.is_complete(FILE)
    assert where.bytes_left(FILE) == FILE.size_bytes


def test_what_can_be_taken_up_stays(tmp_path):
    leave(staging(tmp_path))
    staging(tmp_path).remove_orphans()
    assert staging(tmp_path).path(FILE).exists() and staging(tmp_path).notes(FILE).exists()


@pytest.mark.parametrize(
    ("backend", "files"),
    [(Backend.NATIVE, (FILE,)), (Backend.HF_TRANSFER, (FILE,)), (Backend.ARIA2C, (CHANGED,))],
)
def test_what_nobody_takes_up_goes_with_its_folder(tmp_path, backend, files):
    leave(staging(tmp_path))
    staging(tmp_path, backend, files=files).remove_orphans()
    assert not staging(tmp_path).folder.exists()


def test_what_belongs_to_another_repository_stays(tmp_path):
    other = staging(tmp_path, repo="org/other")
    leave(other)
    staging(tmp_path, Backend.NATIVE).remove_orphans()
    assert other.path(FILE).exists()


def test_folder_is_claimed_by_one_run_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr("qtool.download.backends.staging.CLAIM_TIMEOUT_S", 0.1)
    stop = threading.Event()
    with (
        staging(tmp_path).claimed(stop),
        pytest.raises(ResourceError, match="still writes"),
        staging(tmp_path).claimed(stop),
    ):
        pass
    with staging(tmp_path).claimed(stop):
        pass


def test_stop_ends_the_wait_for_the_claim(tmp_path):
    stop = threading.Event()
    with staging(tmp_path).claimed(stop):
        stop.set()
        with pytest.raises(KeyboardInterrupt), staging(tmp_path).claimed(stop):
            pass
