import os
import time
from pathlib import Path

import pytest

from qtool.engines.base import Progress
from qtool.engines.resident import estimate_progress, resident_bytes

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells")


def test_memory_of_a_process_is_known():
    before = resident_bytes(os.getpid())
    assert before is not None
    held = bytearray(os.urandom(64)) * 1_000_000
    deadline = time.monotonic() + 5
    while resident_bytes(os.getpid()) < before + 50_000_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert resident_bytes(os.getpid()) >= before + 50_000_000
    del held


@pytest.mark.parametrize(("pages", "fraction"), [(0, 0.0), (50, 0.5), (100, 0.99), (900, 0.99)])
def test_progress_is_the_share_of_the_weights_in_memory(
    tmp_path: Path, pages: int, fraction: float
):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "statm").write_text(f"1000 {pages} 3 4 0 5 0\n")
    weights_bytes = 100 * os.sysconf("SC_PAGE_SIZE")
    assert estimate_progress(7, weights_bytes, tmp_path) == Progress("weights", fraction)


@pytest.mark.parametrize("text", [None, "", "no numbers here"])
def test_nothing_is_claimed_where_nobody_tells(tmp_path: Path, text: str | None):
    if text is not None:
        (tmp_path / "7").mkdir()
        (tmp_path / "7" / "statm").write_text(text)
    assert estimate_progress(7, 100, tmp_path) is None
