"""Whatever happens and whenever, a journal never claims bytes that are not there."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.download.journal import Identity, Journal, boot_id, decode_lines, read_journal
from qtool.download.manifest import Manifest, Verified
from qtool.download.ranges import RangeSet

IDENTITY = Identity("model:org/name", "权重.gguf", 1000, "ab" * 32)


def journal_at(path: Path, durable=()) -> Journal:
    return Journal.start(path, IDENTITY, RangeSet(durable), "boot-1")


def test_written_bytes_are_known_under_the_same_boot(tmp_path):
    journal = journal_at(tmp_path / "j", [(0, 10)])
    journal.written(20, 30)
    journal.close()
    content = (tmp_path / "j").read_bytes()
    assert read_journal(content, IDENTITY, "boot-1") == RangeSet([(0, 10), (20, 30)])


@pytest.mark.parametrize("boot", ["boot-2", None])
def test_only_synced_bytes_are_known_after_a_power_failure(tmp_path, boot):
    journal = journal_at(tmp_path / "j")
    journal.written(0, 30)
    journal.durable(RangeSet([(0, 20)]))
    journal.written(30, 40)
    journal.close()
    assert read_journal((tmp_path / "j").read_bytes(), IDENTITY, boot) == RangeSet([(0, 20)])


@pytest.mark.parametrize(
    "change", [{"key": "cd" * 32}, {"size": 999}, {"path": "other"}, {"repo": "model:org/b"}]
)
def test_journal_about_something_else_is_not_believed(tmp_path, change):
    journal_at(tmp_path / "j", [(0, 10)]).close()
    fields = {"repo": IDENTITY.repo, "path": IDENTITY.path, "size": 1000, "key": IDENTITY.key}
    other = Identity(**{**fields, **change})
    assert read_journal((tmp_path / "j").read_bytes(), other, "boot-1") is None


def test_ranges_beyond_the_file_are_cut_off(tmp_path):
    journal = journal_at(tmp_path / "j")
    journal.written(990, 5000)
    journal.close()
    known = read_journal((tmp_path / "j").read_bytes(), IDENTITY, "boot-1")
    assert known == RangeSet([(990, 1000)])


def test_boot_id_is_stable():
    assert boot_id() == boot_id()


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 999), st.integers(1, 200)),
        st.tuples(st.just("sync"), st.just(0), st.just(0)),
    ),
    max_size=15,
)


@settings(max_examples=60)
@given(steps=STEPS, cut=st.integers(0, 2000), has_power_failed=st.booleans(), data=st.data())
def test_crash_at_any_byte_of_the_journal_claims_nothing_false(
    tmp_path_factory, steps, cut, has_power_failed, data
):
    """After a power failure the disk holds what was synced, and the journal any prefix beyond."""
    path = tmp_path_factory.mktemp("journal") / "j"
    journal = journal_at(path)
    written, synced, journal_synced = RangeSet(), RangeSet(), os.path.getsize(path)
    history = [(journal_synced, RangeSet(), RangeSet())]
    for kind, start, count in steps:
        if kind == "write":
            written.add(start, min(start + count, 1000))
            journal.written(start, min(start + count, 1000))
        else:
            synced = RangeSet(written)
            journal.durable(RangeSet(written))
            journal_synced = os.path.getsize(path)
        history.append((os.path.getsize(path), RangeSet(written), RangeSet(synced)))
    journal.close()
    content = path.read_bytes()
    if has_power_failed:
        length = data.draw(st.integers(journal_synced, len(content)))
        torn = content[:length] + data.draw(st.sampled_from([b"", b"\0" * 40, b"garbage"]))
        known, truth = read_journal(torn, IDENTITY, "boot-2"), synced
    else:
        torn = content[: min(cut, len(content))]
        known = read_journal(torn, IDENTITY, "boot-1")
        truth = written
    for start, end in known or ():
        assert truth.gaps(start, end) == []


@given(st.binary(max_size=200))
def test_any_bytes_in_place_of_a_journal_are_survived(content):
    assert read_journal(content, IDENTITY, "boot-1") is None
    assert isinstance(decode_lines(content), list)


ENTRY = Verified("a b/中.txt", 5, 123, "ab" * 20, "c0ffee")


def test_manifest_is_read_back(tmp_path):
    Manifest(tmp_path / "m").add(ENTRY)
    assert Manifest(tmp_path / "m").find(ENTRY.path) == ENTRY


def test_later_entry_replaces_an_earlier_one(tmp_path):
    manifest = Manifest(tmp_path / "m")
    manifest.add(ENTRY)
    newer = Verified(ENTRY.path, 6, 124, None, "c0ffee")
    manifest.add(newer)
    assert Manifest(tmp_path / "m").find(ENTRY.path) == newer


@given(cut=st.integers(1, 60), tail=st.sampled_from([b"", b"\0\0", b"{}\n"]))
def test_torn_manifest_keeps_what_is_whole_and_can_be_added_to(tmp_path_factory, cut, tail):
    path = tmp_path_factory.mktemp("manifest") / "m"
    manifest = Manifest(path)
    other = Verified("other", 1, 1, None, "c0ffee")
    manifest.add(ENTRY)
    manifest.add(other)
    path.write_bytes(path.read_bytes()[:-cut] + tail)
    torn = Manifest(path)
    assert torn.find(ENTRY.path) == ENTRY and torn.find("other") is None
    torn.add(other)
    again = Manifest(path)
    assert again.find(ENTRY.path) == ENTRY and again.find("other") == other


def test_manifest_does_not_grow_for_ever(tmp_path):
    for number in range(400):
        Manifest(tmp_path / "m").add(Verified("a", number, number, None, "c"))
    assert os.path.getsize(tmp_path / "m") < 250 * 120


def test_entries_of_another_shape_are_ignored(tmp_path):
    from qtool.download.journal import encode_line

    (tmp_path / "m").write_bytes(encode_line('{"path": 1}') + encode_line("[]"))
    assert Manifest(tmp_path / "m").find("a") is None
