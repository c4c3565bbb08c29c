import os
import subprocess
import sys
from pathlib import Path

import pytest

from qtool.engines.huge_pages import POLICY, VARIABLE, huge_page_prefix

ASKED = """
import os
taken = bytearray(64 << 20)
flags = [line.split()[1:] for line in open("/proc/self/smaps") if line.startswith("VmFlags:")]
print(os.getpid(), any("hg" in line for line in flags))
"""


@pytest.fixture
def on_request(tmp_path: Path) -> Path:
    policy = tmp_path / "enabled"
    policy.write_text("always [madvise] never\n")
    return policy


def test_prefix_adds_the_tunable_to_those_of_the_user(on_request: Path):
    assert huge_page_prefix({}, on_request)[1:] == ("GLIBC_TUNABLES=glibc.malloc.hugetlb=1",)
    told = {VARIABLE: "glibc.malloc.check=3"}
    added = "GLIBC_TUNABLES=glibc.malloc.check=3:glibc.malloc.hugetlb=1"
    assert huge_page_prefix(told, on_request)[1:] == (added,)


def test_prefix_is_none_where_the_user_has_decided(on_request: Path):
    assert huge_page_prefix({VARIABLE: "glibc.malloc.hugetlb=0"}, on_request) == ()


@pytest.mark.parametrize("policy", ["[always] madvise never", "always madvise [never]", None])
def test_prefix_is_none_where_it_changes_nothing(tmp_path: Path, policy: str | None):
    if policy is not None:
        (tmp_path / "enabled").write_text(policy)
    assert huge_page_prefix({}, tmp_path / "enabled") == ()


def test_memory_of_the_program_is_in_large_pages_and_its_process_id_kept():
    prefix = huge_page_prefix({})
    if not prefix:
        pytest.skip(f"{POLICY} is not madvise")
    command = [*prefix, sys.executable, "-c", ASKED]
    environ = {name: value for name, value in os.environ.items() if name != VARIABLE}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        pid, is_asked = process.stdout.read().split()
    assert int(pid) == process.pid
    assert is_asked == str(_has_tunable())


def _has_tunable() -> bool:
    name, _, number = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    return name == "glibc" and tuple(map(int, number.split("."))) >= (2, 35)
