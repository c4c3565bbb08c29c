"""Checksums of blocks: taken along with the digest, kept compactly, believed only when whole."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.download.blocks import BLOCK_BYTES, BlockDigest, BlockStore
from qtool.hub.repo import RemoteFile


def reader(content):
    def read_into(buffer, start):
        piece = content[start : start + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    return read_into


def remote(content):
    return RemoteFile("m.gguf", len(content), sha256=hashlib.sha256(content).hexdigest())


def summed(content, step=BLOCK_BYTES):
    digest = BlockDigest(remote(content))
    view = memoryview(content)
    for start in range(0, len(content), step):
        digest.update(view[start : start + step])
    return digest


CONTENT = bytes(range(251)) * (3 * BLOCK_BYTES // 251) + b"the end"
SUMS = summed(CONTENT).block_sums()


@given(step=st.integers(BLOCK_BYTES // 7, 2 * BLOCK_BYTES))
def test_sums_do_not_depend_on_how_the_bytes_come(step):
    digest = summed(CONTENT, step)
    assert digest.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
    assert digest.block_sums() == SUMS


@given(positions=st.sets(st.integers(0, len(CONTENT) - 1), max_size=3))
def test_damage_is_found_in_its_block_and_nowhere_else(positions):
    damaged = bytearray(CONTENT)
    for position in positions:
        damaged[position] ^= 1
    ranges = SUMS.bad_ranges(reader(damaged))
    bad = {block for start, end in ranges for block in range(start, end, BLOCK_BYTES)}
    assert bad == {position // BLOCK_BYTES * BLOCK_BYTES for position in positions}
    assert all(end <= len(CONTENT) for _, end in ranges)


def test_adjacent_bad_blocks_are_one_range():
    damaged = bytes(2 * BLOCK_BYTES) + CONTENT[2 * BLOCK_BYTES :]
    ranges = SUMS.bad_ranges(reader(damaged))
    assert ranges == [(0, 2 * BLOCK_BYTES)]


def test_missing_end_is_bad():
    kept = 2 * BLOCK_BYTES + 5
    assert SUMS.bad_ranges(reader(CONTENT[:kept])) == [(2 * BLOCK_BYTES, len(CONTENT))]


def test_short_reads_are_no_damage():
    def read_into(buffer, start):
        piece = CONTENT[start : start + min(len(buffer), 100_000)]
        buffer[: len(piece)] = piece
        return len(piece)

    assert SUMS.bad_ranges(read_into) == []


def test_kept_sums_are_found_again_and_are_compact(tmp_path):
    store, file = BlockStore(tmp_path), remote(CONTENT)
    store.add(file, SUMS)
    assert BlockStore(tmp_path).find(file) == SUMS
    (kept,) = (tmp_path / "blocks").iterdir()
    assert kept.stat().st_size < 100


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_damaged_sums_are_not_believed(tmp_path_factory, position, flip):
    folder = tmp_path_factory.mktemp("store")
    store, file = BlockStore(folder), remote(CONTENT)
    store.add(file, SUMS)
    (kept,) = (folder / "blocks").iterdir()
    content = bytearray(kept.read_bytes())
    content[position % len(content)] ^= flip
    kept.write_bytes(content)
    assert store.find(file) is None


@pytest.mark.parametrize("keep", [0, 1, -1])
def test_torn_sums_are_not_believed(tmp_path, keep):
    store, file = BlockStore(tmp_path), remote(CONTENT)
    store.add(file, SUMS)
    (kept,) = (tmp_path / "blocks").iterdir()
    kept.write_bytes(kept.read_bytes()[:keep])
    assert store.find(file) is None


def test_sums_of_content_that_is_gone_are_pruned(tmp_path):
    store, file, other = BlockStore(tmp_path), remote(CONTENT), remote(CONTENT + b"x")
    store.add(file, SUMS)
    store.add(other, summed(CONTENT + b"x").block_sums())
    store.prune({other.digest})
    assert store.find(file) is None
    assert store.find(other) is not None


def test_state_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "blocks").write_text("a file in the way")
    store, file = BlockStore(tmp_path), remote(CONTENT)
    store.add(file, SUMS)
    store.prune(set())
    assert store.find(file) is None
