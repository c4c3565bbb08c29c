"""Repacked models in the cache: found again, made again, removed; never half a file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qtool import locks
from qtool.engines.repack import write
from qtool.engines.repack.plan import plan_repack
from qtool.engines.repack.run import find_repacked, repack
from qtool.engines.repack.store import RepackStore
from qtool.engines.repack.write import write_gguf
from qtool.errors import IntegrityError, ResourceError, UsageError
from qtool.models.formats import inspect_model
from tests.unit.engines.repack.checkpoints import Model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Model().write(tmp_path / "model", n_shards=2)


@pytest.fixture
def store(tmp_path: Path) -> RepackStore:
    return RepackStore(tmp_path / "cache")


def test_a_model_is_repacked_once(folder: Path, store: RepackStore) -> None:
    first = repack(inspect_model(folder), store)
    again = repack(inspect_model(folder), store)
    assert (first.is_new, again.is_new) == (True, False)
    assert first.path == again.path == find_repacked(inspect_model(folder), store)
    assert [one.path for one in store.all()] == [first.path]
    assert [one.source for one in store.all()] == [folder]


def test_the_same_content_elsewhere_is_not_repacked_again(
    folder: Path, store: RepackStore, tmp_path: Path
) -> None:
    first = repack(inspect_model(folder), store)
    moved = folder.rename(tmp_path / "moved")
    assert find_repacked(inspect_model(moved), store) is None
    again = repack(inspect_model(moved), store)
    assert (again.path, again.is_new) == (first.path, False)
    assert find_repacked(inspect_model(moved), store) == first.path


@pytest.mark.parametrize("name", ["model-00001-of-00002.safetensors", "tokenizer_config.json"])
def test_a_changed_checkpoint_is_noticed(folder: Path, store: RepackStore, name: str) -> None:
    first = repack(inspect_model(folder), store)
    content = bytearray((folder / name).read_bytes())
    at = content.rfind(b"end|>") if name.endswith(".json") else len(content) - 1
    content[at] ^= 1
    (folder / name).write_bytes(content)
    assert find_repacked(inspect_model(folder), store) is None
    second = repack(inspect_model(folder), store)
    assert second.is_new
    assert second.path != first.path


def test_a_touched_checkpoint_of_the_same_content_is_not_repacked_again(
    folder: Path, store: RepackStore
) -> None:
    repack(inspect_model(folder), store)
    os.utime(folder / "config.json", (1, 1))
    assert not repack(inspect_model(folder), store).is_new


def test_options_make_other_files(folder: Path, store: RepackStore) -> None:
    exact = repack(inspect_model(folder), store)
    rounded = repack(inspect_model(folder), store, is_embedding_q8=True)
    assert rounded.is_new
    assert rounded.output_bytes < exact.output_bytes
    assert find_repacked(inspect_model(folder), store) == exact.path
    assert find_repacked(inspect_model(folder), store, is_embedding_q8=True) == rounded.path


def test_a_damaged_note_only_costs_time(folder: Path, store: RepackStore) -> None:
    first = repack(inspect_model(folder), store)
    (first.path.parent / "source.json").write_text("{")
    assert find_repacked(inspect_model(folder), store) is None
    assert repack(inspect_model(folder), store).path == first.path


def test_a_checkpoint_that_changes_meanwhile_leaves_no_file(
    folder: Path, store: RepackStore
) -> None:
    def touch(done: float) -> None:
        os.utime(folder / "config.json", (1, 1))

    with pytest.raises(IntegrityError, match="changed while"):
        repack(inspect_model(folder), store, on_progress=touch)
    assert list(store.all()) == []


def test_progress_ends_at_one(folder: Path, store: RepackStore) -> None:
    seen: list[float] = []
    repack(inspect_model(folder), store, on_progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_a_shard_that_shrinks_meanwhile_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    plan = plan_repack(inspect_model(folder))
    shard = folder / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:5000])
    target = tmp_path / "out" / "m.gguf"
    with pytest.raises(IntegrityError, match="shorter"):
        write_gguf(plan, target)
    assert list(target.parent.iterdir()) == []


def test_a_full_disk_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """A limit of the system on the size of files stands for the disk: the write itself fails."""
    target = tmp_path / "out" / "m.gguf"
    script = (
        "import resource, signal, sys; from pathlib import Path\n"
        "from qtool.models.formats import inspect_model\n"
        "from qtool.engines.repack.plan import plan_repack\n"
        "from qtool.engines.repack.write import write_gguf\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "write_gguf(plan_repack(inspect_model(Path(sys.argv[1]))), Path(sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder), str(target)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"ResourceError: the disk ran full while {target} was written" in done.stderr
    assert list(target.parent.iterdir()) == []


def test_too_little_space_is_said_beforehand(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    target = tmp_path / "out" / "m.gguf"
    with pytest.raises(ResourceError, match=r"are to be written; .* has 1 kB free"):
        write_gguf(plan_repack(inspect_model(folder)), target)
    assert list(target.parent.iterdir()) == []


def test_two_at_once_do_not_write_the_same_file(folder: Path, tmp_path: Path) -> None:
    plan, target = plan_repack(inspect_model(folder)), tmp_path / "m.gguf"

    def write_again(n_bytes: int) -> None:
        with pytest.raises(ResourceError, match="another qtool"):
            write_gguf(plan, target)

    write_gguf(plan, target, on_bytes=write_again)
    assert [path.name for path in tmp_path.glob("m.gguf*")] == ["m.gguf"]


def test_a_part_that_a_killed_run_left_is_overwritten(folder: Path, tmp_path: Path) -> None:
    plan, target = plan_repack(inspect_model(folder)), tmp_path / "m.gguf"
    target.with_name("m.gguf.part").write_bytes(b"x" * 10_000_000)
    write_gguf(plan, target)
    assert target.stat().st_size < 1_000_000
    assert [path.name for path in tmp_path.glob("m.gguf*")] == ["m.gguf"]


def test_what_was_made_before_a_change_belongs_to_nobody(folder: Path, store: RepackStore) -> None:
    first = repack(inspect_model(folder), store)
    rounded = repack(inspect_model(folder), store, is_embedding_q8=True)
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 5]}')
    second = repack(inspect_model(folder), store)
    orphans = {one.path: one.is_orphan for one in store.all()}
    assert orphans == {first.path: True, rounded.path: False, second.path: False}


def test_leftovers_are_removed_unless_somebody_writes_them(
    folder: Path, store: RepackStore
) -> None:
    left = store.folder / "0123456789abcdef" / "old.gguf.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x" * 1000)
    freed: list[int] = []
    repack(
        inspect_model(folder), store, on_progress=lambda _: freed.append(store.remove_leftovers())
    )
    assert sum(freed) == 1000
    assert not left.exists()
    assert len(list(store.all())) == 1


@pytest.mark.parametrize(
    "name", ["model-00001-of-00002.safetensors", "config.json", "notes.txt", "empty", "shards"]
)
def test_no_file_but_a_gguf_is_replaced(folder: Path, store: RepackStore, name: str) -> None:
    (folder / "notes.txt").write_text("mine")
    (folder / "empty").touch()
    (folder / "shards").mkdir()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    with pytest.raises(UsageError):
        repack(inspect_model(folder), store, target=folder / name)
    after = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    assert after == before


def test_another_name_of_a_file_of_the_model_is_refused(
    folder: Path, store: RepackStore, tmp_path: Path
) -> None:
    (tmp_path / "link.gguf").symlink_to(folder / "config.json")
    with pytest.raises(UsageError, match="the model itself"):
        repack(inspect_model(folder), store, target=tmp_path / "link.gguf")


def test_an_older_gguf_is_replaced_only_by_a_good_one(
    folder: Path, store: RepackStore, tmp_path: Path
) -> None:
    target = tmp_path / "out.gguf"
    target.write_bytes(b"GGUF of before")

    def touch(done: float) -> None:
        os.utime(folder / "config.json", (1, 1))

    with pytest.raises(IntegrityError, match="changed while"):
        repack(inspect_model(folder), store, target=target, on_progress=touch)
    assert target.read_bytes() == b"GGUF of before"
    assert not target.with_name("out.gguf.part").exists()
    repack(inspect_model(folder), store, target=target)
    assert target.stat().st_size > 10_000


def test_who_locks_what_has_just_been_finished_begins_anew(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other qtool renames its file between this one's opening and locking of it."""
    plan, target = plan_repack(inspect_model(folder)), tmp_path / "m.gguf"
    part = target.with_name("m.gguf.part")
    part.write_bytes(b"GGUF of the other")
    with part.open("rb") as other:

        def finish_other(fd: int) -> bool:
            monkeypatch.undo()
            part.replace(target)
            return locks.try_lock(fd)

        monkeypatch.setattr(write, "try_lock", finish_other)
        write_gguf(plan, target)
        assert other.read() == b"GGUF of the other"
    assert target.stat().st_size > 10_000
    assert [path.name for path in tmp_path.glob("m.gguf*")] == ["m.gguf"]


def test_another_cache_is_named_where_the_cache_is_no_folder(folder: Path, tmp_path: Path) -> None:
    """Also `qtool chat` says this, whose own -o is something else."""
    (tmp_path / "cache").write_text("a file where the cache should be")
    (tmp_path / "cache2").mkdir()
    (tmp_path / "cache2/repacked").write_text("")
    with pytest.raises(ResourceError) as caught:
        repack(inspect_model(folder), RepackStore(tmp_path / "cache2"))
    assert caught.value.hint == "choose a folder that is yours: QTOOL_CACHE=FOLDER"
    with pytest.raises(ResourceError) as caught:
        target = tmp_path / "cache/out.gguf"
        repack(inspect_model(folder), RepackStore(tmp_path / "c"), target=target)
    assert caught.value.hint == "choose a folder that is yours: -o FILE"
