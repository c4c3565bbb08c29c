"""Content of files: generated on the fly, in memory, on disk."""

import hashlib
import random
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.hub.content import Blob, Generated, read_content

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 1000, MIB, MIB + 1, 9 * MIB + 5])
def test_generated_content_has_its_size_and_hash(size: int) -> None:
    content = Generated(size, seed=3)
    data = read_content(content)
    assert len(data) == size
    assert Blob(content).sha256 == hashlib.sha256(data).hexdigest()


def test_generated_content_is_the_same_whichever_way_it_is_cut() -> None:
    content = Generated(10 * MIB, seed=1)
    data = read_content(content)
    cuts = [0, 1, 4 * MIB - 1, 4 * MIB + 20, 9 * MIB, 10 * MIB]
    pieces = [read_content(content, a, b - a) for a, b in pairwise(cuts)]
    assert b"".join(pieces) == data


def test_generated_content_differs_by_seed_and_by_place() -> None:
    first, second = Generated(16 * MIB, seed=1), Generated(16 * MIB, seed=2)
    assert read_content(first, 0, MIB) != read_content(second, 0, MIB)
    ranges = {read_content(first, start * MIB, MIB) for start in range(16)}
    assert len(ranges) == 16


def test_content_beyond_four_gib_can_be_read_at_any_offset() -> None:
    content = Generated(5 << 30)
    assert len(read_content(content, (5 << 30) - 10, 100)) == 10
    assert read_content(content, 1 << 32, 64) != read_content(content, 0, 64)


def test_hashes_of_a_file_are_those_of_git(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(random.Random(5).randbytes(300_000))
    command = ["git", "hash-object", str(path)]
    expected = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert Blob(path).git_sha1 == expected
    assert Blob(path.read_bytes()).git_sha1 == expected
