"""A file that somebody has changed is replaced by the hub's, but never lost."""

import codecs
import errno
import json
import os
import random
import struct

import pytest

from qtool.errors import ResourceError
from tests.hub import Fault, FaultKind, Generated, Repo

HUBS, MINE = b'{"a": 1}', b'{"a": 2, "mine": true}'
MIB = 1024 * 1024


@pytest.fixture
def hub(hub_factory):
    files = {"config.json": HUBS, "sub/notes.txt": b"text", "m.bin": Generated(2 * MIB)}
    return hub_factory([Repo("org/name", files)])


@pytest.fixture
def config(fetch, hub):
    """Return the path of a file that was fetched and then changed."""
    fetch(hub)
    path = fetch.target / "config.json"
    path.write_bytes(MINE)
    return path


def test_changed_text_is_kept_beside_the_hubs_and_that_is_said(fetch, hub, config):
    result = fetch(hub)
    assert result.failures == ()
    assert config.read_bytes() == HUBS
    assert (fetch.target / "config.json.edited").read_bytes() == MINE
    assert [note for note in result.notes if "config.json.edited" in note]


def test_changed_text_is_kept_once(fetch, hub, config):
    fetch(hub)
    config.write_bytes(MINE)
    fetch(hub)
    config.write_bytes(b"other")
    fetch(hub)
    kept = {path.name: path.read_bytes() for path in fetch.target.glob("*.edited*")}
    assert kept == {"config.json.edited": MINE, "config.json.edited-2": b"other"}


def test_changed_text_keeps_its_name_while_the_hubs_does_not_come(fetch, hub, config):
    hub.refuse("hub")
    with pytest.raises(Exception, match="does not answer"):
        fetch(hub)
    assert config.read_bytes() == MINE


def test_text_of_unknown_origin_is_kept(fetch, hub):
    (fetch.target / "sub").mkdir(parents=True)
    (fetch.target / "sub/notes.txt").write_bytes(b"mine")
    fetch(hub)
    assert (fetch.target / "sub/notes.txt").read_bytes() == b"text"
    assert (fetch.target / "sub/notes.txt.edited").read_bytes() == b"mine"


def test_version_that_was_fetched_is_nobodys_work(fetch, hub):
    fetch(hub)
    os.utime(fetch.target / "config.json")  # as a copy of the folder does
    hub.commit("org/name", {"config.json": b"{}"})
    result = fetch(hub)
    assert fetch.files()["config.json"] == b"{}"
    assert (list(fetch.target.glob("*.edited*")), result.notes) == ([], ())


def test_pointer_of_a_git_clone_is_nobodys_work(fetch, hub):
    fetch.target.mkdir()
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 2097152\n"
    (fetch.target / "m.bin").write_bytes(pointer)
    fetch(hub)
    assert list(fetch.target.glob("*.edited*")) == []


def test_damaged_weights_are_not_kept(fetch, hub):
    fetch(hub)
    with (fetch.target / "m.bin").open("r+b") as stream:
        stream.write(b"\0\xff\0")
    assert fetch(hub).failures == ()
    assert list(fetch.target.glob("*.edited*")) == []


@pytest.mark.parametrize("option", ["is_forced", "is_repair"])
def test_who_asks_for_the_hubs_files_gets_them_alone(fetch, hub, config, option):
    result = fetch(hub, **{option: True})
    assert (config.read_bytes(), result.notes) == (HUBS, ())
    assert list(fetch.target.glob("*.edited*")) == []


def test_text_without_a_digest_is_judged_by_its_time(fetch, hub, config, monkeypatch):
    monkeypatch.setattr("qtool.hub.repo.RemoteFile.digest", None)
    fetch(hub)
    assert (fetch.target / "config.json.edited").read_bytes() == MINE


def test_cache_keeps_a_changed_text_in_the_snapshot(hub, fetch, tmp_path):
    cache = tmp_path / "cache"
    result = fetch(hub, cache_dir=cache, local_dir=None)
    (result.path / "config.json").write_bytes(MINE)
    result = fetch(hub, cache_dir=cache, local_dir=None)
    assert (result.path / "config.json").read_bytes() == HUBS
    kept = result.path / "config.json.edited"
    assert (kept.read_bytes(), kept.is_symlink()) == (MINE, False)


@pytest.mark.parametrize("how", ["file", "link"])
def test_changed_text_that_replaced_its_link_in_the_cache_is_kept(hub, fetch, tmp_path, how):
    places = {"cache_dir": tmp_path / "cache", "local_dir": None}
    config = fetch(hub, **places).path / "config.json"
    config.unlink()  # as sed -i does
    if how == "file":
        config.write_bytes(MINE)
    else:
        (tmp_path / "mine.json").write_bytes(MINE)
        config.symlink_to(tmp_path / "mine.json")
    (damaged,) = fetch(hub, is_verify_only=True, **places).failures
    assert damaged.path == "config.json"
    result = fetch(hub, **places)
    assert result.failures == ()
    assert (config.read_bytes(), config.readlink().parent.name) == (HUBS, "blobs")
    kept = config.with_name("config.json.edited")
    assert (kept.read_bytes(), kept.is_symlink()) == (MINE, False)
    assert [note for note in result.notes if "config.json.edited" in note]


@pytest.mark.parametrize("option", ["is_forced", "is_repair"])
def test_link_in_the_cache_is_set_again_by_who_asks(hub, fetch, tmp_path, option):
    places = {"cache_dir": tmp_path / "cache", "local_dir": None}
    config = fetch(hub, **places).path / "config.json"
    config.unlink()
    config.write_bytes(MINE)
    assert fetch(hub, **{option: True}, **places).failures == ()
    assert (config.read_bytes(), config.is_symlink()) == (HUBS, True)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_text_as_windows_writes_it_is_kept(fetch, hub, config, encoding):
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    mine = mark + '{"a": "中文 \U0001f600"}'.encode(encoding)
    config.write_bytes(mine)
    fetch(hub)
    assert (fetch.target / "config.json.edited").read_bytes() == mine


@pytest.mark.parametrize("what", ["folder", "dangling link", "link to itself"])
def test_name_that_is_taken_is_not_used(fetch, hub, config, what):
    taken = fetch.target / "config.json.edited"
    if what == "folder":
        taken.mkdir()
    else:
        taken.symlink_to("/nonexistent" if what == "dangling link" else "config.json")
    assert fetch(hub).failures == ()
    assert (fetch.target / "config.json.edited-2").read_bytes() == MINE


def test_kept_text_stays_when_the_first_one_is_written_to_again(fetch, hub, config):
    hub.add_fault(Fault(FaultKind.STATUS, path="config.json", times=None))
    assert [failed.path for failed in fetch(hub).failures] == ["config.json"]
    config.write_bytes(b"other")  # in place
    assert (fetch.target / "config.json.edited").read_bytes() == MINE


def test_copy_that_does_not_fit_leaves_no_half_of_it(fetch, hub, config, monkeypatch):
    def fill(_, copy):
        copy.write_bytes(b"{")
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("shutil.copy2", fill)
    with pytest.raises(ResourceError, match="full"):
        fetch(hub)
    assert config.read_bytes() == MINE
    assert list(fetch.target.glob("*.edited*")) == []


def weights(seed, n_bytes=2 * MIB):
    """Return a whole safetensors file."""
    header = {"w": {"dtype": "U8", "shape": [n_bytes], "data_offsets": [0, n_bytes]}}
    head = json.dumps(header).encode()
    return struct.pack("<Q", len(head)) + head + random.Random(seed).randbytes(n_bytes)


@pytest.fixture
def weights_hub(hub_factory):
    return hub_factory([Repo("org/name", {"m.safetensors": weights(1)})])


@pytest.mark.parametrize("n_bytes", [MIB, 2 * MIB, 3 * MIB])
@pytest.mark.parametrize("is_fetched", [True, False])
def test_weights_of_ones_own_are_kept(fetch, weights_hub, n_bytes, is_fetched):
    if is_fetched:
        fetch(weights_hub)
    fetch.target.mkdir(exist_ok=True)
    (fetch.target / "m.safetensors").write_bytes(weights(2, n_bytes))
    result = fetch(weights_hub)
    assert result.failures == ()
    assert fetch.files() == {
        "m.safetensors": weights(1),
        "m.safetensors.edited": weights(2, n_bytes),
    }
    (note,) = result.notes
    assert "m.safetensors.edited" in note


@pytest.mark.parametrize("damage", ["behind", "short", "header", "rot"])
def test_damaged_weights_are_no_ones_own(fetch, weights_hub, damage):
    fetch(weights_hub)
    path, content = fetch.target / "m.safetensors", bytearray(weights(1))
    status = path.stat()
    content[{"behind": -9, "header": 3}.get(damage, 5000)] ^= 1
    path.write_bytes(content[: MIB if damage == "short" else None])
    if damage == "rot":
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        fetch(weights_hub, is_verify_only=True)
    fetch(weights_hub)
    assert [*fetch.files()] == ["m.safetensors"]


def test_older_weights_are_nobodys_work(fetch, weights_hub):
    fetch(weights_hub)
    os.utime(fetch.target / "m.safetensors")
    weights_hub.commit("org/name", {"m.safetensors": weights(3, 3 * MIB)})
    fetch(weights_hub)
    assert fetch.files() == {"m.safetensors": weights(3, 3 * MIB)}


def test_small_file_that_is_no_text_is_kept(fetch, hub_factory):
    hub = hub_factory([Repo("org/name", {"tokenizer.model": b"\0hub"})])
    fetch(hub)
    (fetch.target / "tokenizer.model").write_bytes(b"\0mine")
    fetch(hub)
    assert fetch.files() == {"tokenizer.model": b"\0hub", "tokenizer.model.edited": b"\0mine"}


def test_weights_damaged_since_they_were_verified_are_named(fetch, hub):
    fetch(hub)
    weights = fetch.target / "m.bin"
    content = weights.read_bytes()
    weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    result = fetch(hub)
    (note,) = result.notes
    assert note.startswith("m.bin was damaged after it had been verified")
    assert weights.read_bytes() == content
    assert fetch(hub).notes == ()


def test_weights_of_an_older_commit_are_not_called_damaged(fetch, hub):
    fetch(hub)
    hub.commit("org/name", {"m.bin": Generated(2 * MIB, seed=1)})
    assert fetch(hub).notes == ()
