import subprocess
import sys
from pathlib import Path

import pytest

from qtool.engines.memory_limit import bound_memory

PROGRAM = """
from qtool.engines.memory_limit import bound_memory
bound_memory(200_000_000)
kept = bytearray(50_000_000)
try:
    bytearray(1_000_000_000)
except MemoryError:
    print("refused", len(kept))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems bound no mapped memory")
def test_what_is_beyond_the_bound_is_refused_and_the_rest_is_not():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stdout.split() == ["refused", "50000000"], done.stderr


@pytest.mark.parametrize("text", ["", "VmData:\t lots kB\n", "VmPeak:\t1 kB\n"])
def test_system_that_does_not_tell_is_left_alone(tmp_path: Path, text: str):
    import resource

    before = resource.getrlimit(resource.RLIMIT_DATA)
    (tmp_path / "status").write_text(text)
    bound_memory(1, tmp_path / "status")
    bound_memory(1, tmp_path / "none")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
