import os
import subprocess
import sys
import time

import pytest

from qtool.errors import ResourceError
from qtool.locks import ProcessLock


def test_second_holder_is_told_who_has_it_and_what_for(tmp_path):
    path = tmp_path / "state" / "lock"
    words = f"another qtool \\(process {os.getpid()}\\) is at work"
    with (
        ProcessLock(path, "at work"),
        pytest.raises(ResourceError, match=words),
        ProcessLock(path, "at work"),
    ):
        pass


def test_lock_can_be_taken_again_after_its_end(tmp_path):
    for _ in range(2):
        with ProcessLock(tmp_path / "lock", "at work"):
            pass


def test_lock_ends_with_its_holder(tmp_path):
    holder = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "import sys, time\n"
            "from pathlib import Path\n"
            "from qtool.locks import ProcessLock\n"
            "ProcessLock(Path(sys.argv[1]), 'x').__enter__()\n"
            "print('held', flush=True)\n"
            "time.sleep(60)",
            str(tmp_path / "lock"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ResourceError), ProcessLock(tmp_path / "lock", "y"):
            pass
        holder.kill()
        began = time.monotonic()
        with ProcessLock(tmp_path / "lock", "y", patience_s=5.0):
            assert time.monotonic() - began < 5.0
