"""Digests of beginnings: noted along the way, kept compactly, believed only when whole."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.download.prefixes import BLOCK_BYTES, NotingDigest, PrefixStore
from qtool.hub.repo import RemoteFile


def remote(content):
    return RemoteFile("m.gguf", len(content), sha256=hashlib.sha256(content).hexdigest())


def noted(content, step=BLOCK_BYTES):
    digest = NotingDigest(remote(content))
    view = memoryview(content)
    for start in range(0, len(content), step):
        digest.update(view[start : start + step])
    return digest


CONTENT = bytes(range(251)) * (3 * BLOCK_BYTES // 251) + b"the end"
RIGHT = noted(CONTENT).prefixes()


def test_notes_are_digests_of_beginnings():
    ends = [*range(BLOCK_BYTES, len(CONTENT), BLOCK_BYTES), len(CONTENT)]
    expected = [hashlib.sha256(CONTENT[:end]).digest()[:8] for end in ends]
    assert list(RIGHT.notes) == expected


@given(step=st.integers(BLOCK_BYTES // 7, 2 * BLOCK_BYTES))
def test_notes_do_not_depend_on_how_the_bytes_come(step):
    digest = noted(CONTENT, step)
    assert digest.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
    assert digest.prefixes() == RIGHT


@given(positions=st.sets(st.integers(0, len(CONTENT) - 1), max_size=3))
def test_damage_is_found_where_it_begins(positions):
    damaged = bytearray(CONTENT)
    for position in positions:
        damaged[position] ^= 1
    block = RIGHT.first_difference(noted(damaged).prefixes())
    if not positions:
        assert block is None
    else:
        start = min(positions) // BLOCK_BYTES * BLOCK_BYTES
        assert block == (start, min(start + BLOCK_BYTES, len(CONTENT)))


@given(kept=st.integers(0, len(CONTENT) - 1))
def test_content_that_ends_early_differs_in_the_block_where_it_ends(kept):
    start = kept // BLOCK_BYTES * BLOCK_BYTES
    expected = (start, min(start + BLOCK_BYTES, len(CONTENT)))
    assert RIGHT.first_difference(noted(CONTENT[:kept]).prefixes()) == expected


def test_copy_goes_its_own_way():
    digest = noted(CONTENT[:BLOCK_BYTES])
    twin = digest.copy()
    digest.update(memoryview(CONTENT[BLOCK_BYTES:]))
    twin.update(memoryview(bytes(BLOCK_BYTES)))
    assert digest.prefixes() == RIGHT
    assert digest.agrees_with(RIGHT) and not twin.agrees_with(RIGHT)


def test_kept_notes_are_found_again_and_are_compact(tmp_path):
    store, file = PrefixStore(tmp_path), remote(CONTENT)
    store.add(file, RIGHT)
    assert PrefixStore(tmp_path).find(file) == RIGHT
    (kept,) = (tmp_path / "prefixes").iterdir()
    assert kept.stat().st_size < 100


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_damaged_notes_are_not_believed(tmp_path_factory, position, flip):
    folder = tmp_path_factory.mktemp("store")
    store, file = PrefixStore(folder), remote(CONTENT)
    store.add(file, RIGHT)
    (kept,) = (folder / "prefixes").iterdir()
    content = bytearray(kept.read_bytes())
    content[position % len(content)] ^= flip
    kept.write_bytes(content)
    assert store.find(file) is None


@pytest.mark.parametrize("keep", [0, 1, -1])
def test_torn_notes_are_not_believed(tmp_path, keep):
    store, file = PrefixStore(tmp_path), remote(CONTENT)
    store.add(file, RIGHT)
    (kept,) = (tmp_path / "prefixes").iterdir()
    kept.write_bytes(kept.read_bytes()[:keep])
    assert store.find(file) is None


def test_notes_of_content_that_is_gone_are_pruned(tmp_path):
    store, file, other = PrefixStore(tmp_path), remote(CONTENT), remote(CONTENT + b"x")
    store.add(file, RIGHT)
    store.add(other, noted(CONTENT + b"x").prefixes())
    store.prune({other.digest})
    assert store.find(file) is None
    assert store.find(other) is not None


def test_state_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "prefixes").write_text("a file in the way")
    store, file = PrefixStore(tmp_path), remote(CONTENT)
    store.add(file, RIGHT)
    store.prune(set())
    assert store.find(file) is None
