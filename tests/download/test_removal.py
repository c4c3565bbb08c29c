"""Finding and removing downloads: what qtool recorded goes, whatever anybody else did stays."""

import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from qtool.download.backends.staging import short_hash
from qtool.download.holdings import Place, find_cached, find_folders
from qtool.download.journal import decode_lines, encode_line
from qtool.download.manifest import Manifest, Verified
from qtool.download.registry import Noted, Registry
from qtool.download.removal import remove_download
from qtool.errors import ResourceError
from qtool.hub.repo import RepoRef
from qtool.locks import ProcessLock
from tests.hub import Generated, Repo

MIB = 1024 * 1024
FILES = {"config.json": b"{}", "m.gguf": Generated(MIB), "sub/a b.txt": b"text", "empty": b""}


@pytest.fixture
def hub(hub_factory):
    return hub_factory([Repo("org/name", FILES)])


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "state/downloads")


@pytest.fixture
def found(fetch, hub, registry, tmp_path):
    """Return a function that finds the one folder that was downloaded to."""
    fetch(hub, registry_dir=tmp_path / "state/downloads")

    def find(beside=Path("/nowhere")):
        (holding,) = find_folders(registry, beside)
        return holding

    return find


@pytest.fixture
def cached(fetch, hub, tmp_path):
    """Return a function that downloads to a cache and finds the one repository in it."""
    cache = tmp_path / "cache"

    def find():
        fetch(hub, cache_dir=cache, local_dir=None)
        (holding,) = find_cached(cache)
        return holding

    return find


def files_below(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_folder_is_found_by_the_registry(fetch, found):
    holding = found()
    assert (holding.name, holding.place, holding.path) == ("org/name", Place.FOLDER, fetch.target)
    assert (holding.size_bytes, holding.begun_bytes) == (MIB + 6, 0)


def test_folder_is_found_where_one_is(fetch, hub, found, registry):
    shutil.rmtree(registry._folder)
    assert found(fetch.target.parent).name == found(fetch.target).name == "org/name"
    assert list(find_folders(registry, Path("/nowhere"))) == []


def test_cached_repository_is_no_folder_where_the_cache_is(cached, registry):
    cache = cached().path.parent
    for beside in (cache, cached().path):
        assert list(find_folders(registry, beside)) == []


def test_known_folder_is_listed_once_wherever_one_is(fetch, found):
    assert found(fetch.target.parent).path == fetch.target


def test_folder_that_is_gone_is_forgotten(fetch, found, registry):
    shutil.rmtree(fetch.target)
    assert list(registry.all()) == []
    assert list(registry._folder.iterdir()) == []


def test_folder_of_which_nothing_is_qtools_any_more_is_forgotten(fetch, found, registry):
    (fetch.target / "config.json").write_text("[]")
    remove_download(found())
    assert list(find_folders(registry, Path("/nowhere"))) == []
    assert list(registry._folder.iterdir()) == []


def test_download_that_has_only_begun_is_found(fetch, found, registry):
    for path in (fetch.target / ".cache/qtool").iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)
    (fetch.target / ".cache/qtool/lock").touch()
    assert (found().name, found().size_bytes) == ("org/name", 0)


def test_note_that_is_no_note_is_passed_over(found, registry):
    for name, content in {"a": b"[]", "b": b"{}", "c": b"\xff", "d": b'{"path": "x"}'}.items():
        (registry._folder / f"{name}.json").write_bytes(content)
    assert found().name == "org/name"


def test_folder_that_cannot_be_read_hides_no_other(fetch, found, registry, hub, monkeypatch):
    other = fetch.target.parent / "other"
    fetch(hub, local_dir=other, registry_dir=registry._folder)

    def read(path):
        if other in path.parents:
            raise PermissionError(13, "not for you")
        return Manifest(path)

    monkeypatch.setattr("qtool.download.holdings.Manifest", read)
    assert found().path == fetch.target


def test_folder_goes_with_all_that_was_downloaded(fetch, found):
    removal = remove_download(found())
    assert (removal.freed_bytes, removal.left) == (MIB + 6, [])
    assert not fetch.target.exists()


def test_what_others_put_there_stays(fetch, found):
    (fetch.target / "mine").mkdir()
    (fetch.target / "sub/mine.txt").write_text("mine")
    assert remove_download(found()).left == []
    assert files_below(fetch.target) == ["mine", "sub", "sub/mine.txt"]


def test_changed_file_stays_and_is_named(fetch, found):
    (fetch.target / "config.json").write_text("[]")
    assert remove_download(found()).left == ["config.json"]
    assert files_below(fetch.target) == ["config.json"]


def test_copied_folder_goes_by_its_content(fetch, found, registry):
    for path in fetch.target.rglob("*"):
        os.utime(path)
    assert remove_download(found()).left == []
    assert not fetch.target.exists()


def test_folder_that_one_works_in_stays(fetch, found, monkeypatch):
    monkeypatch.chdir(fetch.target)
    remove_download(found())
    assert list(fetch.target.iterdir()) == []


@pytest.mark.parametrize("path", ["../victim", "sub/../../victim", "link/victim"])
def test_record_never_leads_out_of_the_folder(fetch, found, tmp_path, path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (fetch.target / "link").symlink_to(tmp_path)
    status = victim.stat()
    manifest = Manifest(fetch.target / ".cache/qtool/manifest")
    manifest.add(Verified(path, status.st_size, status.st_mtime_ns, None, "commit"))
    remove_download(found())
    assert victim.read_text() == "mine"


def test_files_that_were_there_before_stay_and_are_named(fetch, hub, registry):
    mine = {"config.json": b"{}", "sub/a b.txt": b"text"}
    for name, content in mine.items():
        (fetch.target / name).parent.mkdir(parents=True, exist_ok=True)
        (fetch.target / name).write_bytes(content)
    for _ in range(2):
        fetch(hub, registry_dir=registry._folder)
    (holding,) = find_folders(registry, Path("/nowhere"))
    assert sorted(remove_download(holding).left) == sorted(mine)
    assert fetch.files() == mine


def test_folder_of_which_all_was_there_before_is_not_ours(fetch, hub, registry):
    fetch(hub)
    before = fetch.files()
    shutil.rmtree(fetch.target / ".cache")
    fetch(hub, registry_dir=registry._folder)
    (holding,) = find_folders(registry, Path("/nowhere"))
    assert (holding.name, holding.is_ours, fetch.files()) == ("org/name", False, before)


def test_file_that_was_there_before_and_was_mended_stays(fetch, hub, registry):
    fetch(hub)
    shutil.rmtree(fetch.target / ".cache")
    model = fetch.target / "m.gguf"
    model.write_bytes(model.read_bytes()[:-1])
    fetch(hub, is_repair=True, registry_dir=registry._folder)
    assert model.stat().st_size == MIB
    holdings = find_folders(registry, Path("/nowhere"))
    assert [(one.name, one.is_ours) for one in holdings] == [("org/name", False)]


def test_notes_of_an_older_qtool_do_not_say_whose_a_file_is(fetch, found):
    manifest = fetch.target / ".cache/qtool/manifest"
    entries = [json.loads(line) for line in decode_lines(manifest.read_bytes())]
    for entry in entries:
        del entry["fetched_from"]
    manifest.write_bytes(b"".join(encode_line(json.dumps(entry)) for entry in entries))
    assert (found().is_ours, found().size_bytes) == (False, MIB + 6)


def test_repositories_in_one_folder_are_listed_and_go_one_by_one(fetch, hub_factory, registry):
    files = {"both.txt": b"both", "beta.txt": b"beta"}
    alpha = {"both.txt": b"both", "alpha.txt": b"alpha"}
    hub = hub_factory([Repo("org/alpha", alpha), Repo("org/beta", files)])
    for name in ("org/alpha", "org/beta"):
        fetch(hub, repo=RepoRef(name), registry_dir=registry._folder)
    first, second = find_folders(registry, Path("/nowhere"))
    assert [(one.name, one.is_ours) for one in (first, second)] == [
        ("org/alpha", True),
        ("org/beta", True),
    ]
    assert remove_download(second).left == ["both.txt"]
    assert sorted(fetch.files()) == ["alpha.txt", "both.txt"]
    assert remove_download(first).freed_bytes == 5
    assert fetch.files() == {"both.txt": b"both"}


def test_folder_that_took_the_place_of_another_goes_by_its_own_name(fetch, hub_factory, registry):
    hub = hub_factory([Repo(name, {"a": b"1"}) for name in ("org/alpha", "org/beta")])
    places = [fetch.target / "alpha", fetch.target / "beta"]
    for name, place in zip(("org/alpha", "org/beta"), places, strict=True):
        fetch(hub, repo=RepoRef(name), local_dir=place, registry_dir=registry._folder)
    places[0].rename(fetch.target / "old")
    places[1].rename(places[0])
    holdings = find_folders(registry, Path("/nowhere"))
    assert [(one.name, one.path) for one in holdings] == [("org/beta", places[0])]


def test_state_folder_that_holds_other_things_keeps_them(fetch, found):
    state_dir = fetch.target / ".cache/qtool"
    others = ["repacked/0123456789abcdef/mine.gguf", "starters/x/s.gguf", "partial/mine", "note"]
    for name in others:
        (state_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (state_dir / name).write_text("mine")
    remove_download(found())
    below = [path for path in state_dir.rglob("*") if path.is_file()]
    assert sorted(path.relative_to(state_dir).as_posix() for path in below) == sorted(others)


def test_damaged_file_that_was_set_aside_stays_and_is_named(fetch, found):
    aside = fetch.target / ".cache/qtool/damaged" / ("d" * 32)
    aside.parent.mkdir()
    aside.write_text("mine")
    assert remove_download(found()).left == [aside.relative_to(fetch.target).as_posix()]
    assert aside.read_text() == "mine"


def test_begun_download_counts_and_goes(fetch, hub, found):
    partial = fetch.target / ".cache/qtool/partial"
    partial.mkdir(exist_ok=True)
    (partial / f"{'0' * 32}.part").write_bytes(b"x" * 8192)
    holding = found()
    assert (holding.begun_bytes, holding.size_bytes) == (8192, MIB + 6 + 8192)
    assert remove_download(holding).freed_bytes == holding.size_bytes
    assert not fetch.target.exists()


def test_notes_behind_a_link_are_another_folders(fetch, found, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / ".cache").symlink_to(fetch.target / ".cache")
    assert found(tmp_path).path == fetch.target


@pytest.mark.parametrize("name", ["partial", "staging", "prefixes", "small"])
def test_folder_of_the_state_that_is_a_link_is_not_emptied(fetch, found, tmp_path, name):
    others = tmp_path / "others"
    others.mkdir()
    files = [f"{'0' * 32}.part", "0" * 40, f"{short_hash('model:org/name')}-x.aria2c"]
    for file in files:
        (others / file).write_text("other")
    folder = fetch.target / ".cache/qtool" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.symlink_to(others)
    remove_download(found())
    assert files_below(others) == sorted(files)


def test_weights_that_were_moved_away_stay_and_free_nothing(fetch, found, tmp_path):
    model = fetch.target / "m.gguf"
    model.rename(tmp_path / "elsewhere.gguf")
    model.symlink_to(tmp_path / "elsewhere.gguf")
    (tmp_path / "same.json").hardlink_to(fetch.target / "config.json")
    removal = remove_download(found())
    assert (removal.left, removal.freed_bytes) == (["m.gguf"], 4)
    assert model.stat().st_size == MIB


@pytest.mark.parametrize("name", ["source.json", "manifest"])
def test_pipe_among_the_notes_is_no_note(fetch, found, registry, name):
    note = fetch.target / ".cache/qtool" / name
    note.unlink()
    os.mkfifo(note)
    assert found().path == fetch.target


def test_folder_on_a_disk_that_is_not_mounted_is_not_forgotten(fetch, found, registry, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    os.rename(fetch.target, disk / "target")
    note = Noted(str(disk / "target"), "org/name", "model")
    (registry._folder / "a.json").write_text(json.dumps(asdict(note)))
    disk.rename(tmp_path / "unmounted")
    assert list(registry.all()) == []
    (tmp_path / "unmounted").rename(disk)
    assert list(registry.all()) == [note]


@pytest.mark.parametrize("path", ["/" + "a" * 5000, "/a\0b", "/dev/null/x"])
def test_note_of_a_path_that_no_disk_takes_is_passed_over(found, registry, path):
    (registry._folder / "a.json").write_text(
        json.dumps({"path": path, "repo_id": "x/y", "repo_type": "model"})
    )
    assert found().name == "org/name"


def test_folder_at_work_is_left_alone(fetch, found):
    holding = found()
    with (
        ProcessLock(holding.state_dir / "lock", "downloading"),
        pytest.raises(ResourceError, match="another qtool"),
    ):
        remove_download(holding)
    assert (fetch.target / "m.gguf").exists()


def test_cached_repository_goes_as_a_whole(cached, hub):
    cached()
    hub.commit("org/name", {"config.json": b'{"new": 1}'})
    holding = cached()
    assert (holding.name, holding.is_ours, holding.size_bytes) == ("org/name", True, MIB + 16)
    assert remove_download(holding).freed_bytes == holding.size_bytes
    assert not holding.path.exists()


@pytest.mark.parametrize("others", ["blob", "snapshot", "link", "revision"])
def test_cached_repository_that_others_use_is_not_ours(cached, others):
    folder = cached().path
    (snapshot,) = (folder / "snapshots").iterdir()
    newer = folder / "snapshots" / ("a" * 40)
    match others:
        case "blob":
            (folder / "blobs" / ("b" * 40)).write_bytes(b"others")
        case "link":
            (snapshot / "x.bin").symlink_to("../../blobs/feed")
        case "snapshot":
            newer.mkdir()
        case "revision":  # as hf download makes it, when most files are as they were
            shutil.copytree(snapshot, newer, symlinks=True)
    before = files_below(folder)
    (holding,) = find_cached(folder.parent)
    assert not holding.is_ours
    with pytest.raises(ValueError, match="not downloaded by qtool"):
        remove_download(holding)
    assert files_below(folder) == before


def test_cached_repository_that_others_use_since_it_was_listed_stays(cached):
    holding = cached()
    (holding.path / "blobs" / ("b" * 40)).write_bytes(b"others")
    before = files_below(holding.path)
    with pytest.raises(ResourceError, match="changed meanwhile"):
        remove_download(holding)
    assert files_below(holding.path) == before


def test_cached_repository_that_was_there_before_is_not_ours(cached, fetch):
    holding = cached()
    shutil.rmtree(holding.state_dir)
    assert not cached().is_ours


@pytest.mark.parametrize("digest", ["{victim}", "../victim", "../../victim", "feed"])
def test_digest_in_a_record_never_names_another_file(cached, digest, tmp_path):
    holding = cached()
    names = [tmp_path / "victim", holding.path / "victim", holding.path / "feed"]
    for victim in names:
        victim.write_text("mine")
    entry = {
        "path": "config.json", "size": 4, "mtime_ns": names[0].stat().st_mtime_ns, "commit": "c",
        "digest": digest.format(victim=names[0]), "fetched_from": holding.repo_key,
    }  # fmt: skip
    manifest = holding.state_dir / "manifest"
    manifest.write_bytes(encode_line(json.dumps(entry)) + manifest.read_bytes())
    remove_download(holding)
    assert [victim.read_text() for victim in names] == ["mine"] * 3


def test_cached_text_that_was_changed_stays(cached):
    holding = cached()
    (snapshot,) = (holding.path / "snapshots").iterdir()
    (snapshot / "config.json").write_text("[1, 2]")
    assert remove_download(holding).left == ["config.json"]
    assert (snapshot / "config.json").read_text() == "[1, 2]"


def test_repository_of_another_program_is_not_ours(tmp_path):
    folder = tmp_path / "cache/datasets--org--data"
    (folder / "blobs").mkdir(parents=True)
    (folder / "blobs/b").write_bytes(b"12345")
    (holding,) = find_cached(tmp_path / "cache")
    assert (holding.name, holding.repo_type, holding.size_bytes) == ("org/data", "dataset", 5)
    with pytest.raises(ValueError, match="not downloaded by qtool"):
        remove_download(holding)
    assert (folder / "blobs/b").exists()
