"""Full and read-only disks, real ones: said before the first byte or in the middle, then mended."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.download.small_disk import MountRefused, SmallDisk
from tests.hub import Generated, Line, Repo

MIB = 1024 * 1024
SIZE = 6 * MIB
ROOT = Path(__file__).parents[2]


@pytest.fixture
def disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    try:
        with SmallDisk(place, 10 * MIB) as disk:
            yield disk
    except MountRefused as exc:
        pytest.skip(f"mounting is not permitted here: {exc}")


@pytest.fixture
def repo():
    return Repo("org/name", {"m.gguf": Generated(SIZE), "small.txt": Generated(3000)})


@pytest.fixture
def command(disk):
    """Return a function that starts the program, downloading to the disk."""

    def start(hub, *options):
        place = ["--local-dir", str(disk.path / "t"), "--endpoint", hub.url]
        return subprocess.Popen(
            [sys.executable, "-m", "qtool", "download", "org/name", *options, *place],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def fails(command):
    """Return a function that expects the program to end with 8 and returns what it says."""

    def run(hub, *options):
        process = command(hub, *options)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 8, said
        assert "Traceback" not in said
        assert "\nhint: " in said
        return said

    return run


@pytest.fixture
def finishes(command, disk, repo):
    """Return a function that expects the program to finish the job, and returns its result."""

    def run(hub):
        process = command(hub, "--json")
        out, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        target = disk.path / "t"
        for path, file in repo.head.files.items():
            content = (target / path).read_bytes()
            assert hashlib.sha256(content).hexdigest() == file.blob.sha256
        assert not list((target / ".cache/qtool/partial").glob("*"))
        assert (target / ".cache/qtool/.gitignore").read_text() == "*\n"
        return json.loads(out)

    return run


def test_disk_that_is_too_small_is_noticed_before_the_first_byte(
    hub_factory, disk, repo, fails, finishes
):
    hub = hub_factory([repo])
    disk.remount(f"size={4 * MIB}")
    said = fails(hub)
    assert "6.29 MB are to be written" in said and "4.19 MB free" in said
    assert "hint: free 2.1 MB" in said
    assert hub.bytes_sent("m.gguf") == 0
    assert not (disk.path / "t/small.txt").exists()
    disk.remount(f"size={10 * MIB}")
    finishes(hub)


def test_disk_that_fills_up_meanwhile(hub_factory, disk, repo, command, finishes):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    process = command(hub, "-x", "2")
    deadline_s = time.monotonic() + 30
    while hub.bytes_sent("m.gguf", "cdn") < SIZE // 4:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    ballast = disk.fill()
    _, said = process.communicate(timeout=60)
    assert process.returncode == 8, said
    assert "error: m.gguf: the disk is full: " in said
    assert " MB are still to be written" in said
    assert "hint: free " in said and "run the same command again" in said
    assert "Traceback" not in said
    assert [path.name for path in (disk.path / "t").iterdir() if path.is_file()] == ["small.txt"]
    ballast.unlink()
    hub.set_line("cdn", Line())
    result = finishes(hub)
    assert {file["path"]: file["status"] for file in result["files"]} == {
        "m.gguf": "resumed",
        "small.txt": "skipped",
    }
    assert hub.bytes_sent("m.gguf", "cdn") <= 1.1 * SIZE


def test_disk_without_a_free_byte(hub_factory, disk, repo, fails, finishes):
    hub = hub_factory([repo])
    ballast = disk.fill()
    assert "0 B free" in fails(hub)
    ballast.unlink()
    finishes(hub)


def test_full_disk_for_a_file_of_a_few_bytes(hub_factory, disk, fails):
    hub = hub_factory([Repo("org/name", {"a.txt": b"few"})])
    (disk.path / "t").mkdir()
    disk.fill()
    assert "are to be written" in fails(hub)


def test_read_only_target_is_said(hub_factory, disk, repo, fails, finishes):
    hub = hub_factory([repo])
    disk.remount("ro")
    said = fails(hub)
    assert "error: cannot write to " in said and "Read-only file system" in said
    assert "hint: choose a folder that is yours: --local-dir DIR" in said
    assert hub.bytes_sent("m.gguf") == 0
    disk.remount("rw")
    finishes(hub)


def test_target_that_became_read_only_keeps_what_is_there(
    hub_factory, disk, repo, command, fails, finishes
):
    hub = hub_factory([repo], rate_bytes_per_s=MIB)
    process = command(hub, "-x", "2")
    deadline_s = time.monotonic() + 30
    while hub.bytes_sent("m.gguf", "cdn") < SIZE // 4:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    process.kill()
    process.communicate()
    disk.remount("ro")
    assert "Read-only file system" in fails(hub)
    disk.remount("rw")
    hub.set_line("cdn", Line())
    assert finishes(hub)["bytes_transferred"] <= 0.9 * SIZE
