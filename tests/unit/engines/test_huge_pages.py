import os
import subprocess
import sys
from pathlib import Path

import pytest

from qtool.engines.huge_pages import POLICY, VARIABLE, huge_page_variables

ASKED = """
taken = bytearray(64 << 20)
flags = [line.split()[1:] for line in open("/proc/self/smaps") if line.startswith("VmFlags:")]
print(any("hg" in line for line in flags))
"""


@pytest.fixture
def on_request(tmp_path: Path) -> Path:
    policy = tmp_path / "enabled"
    policy.write_text("always [madvise] never\n")
    return policy


def test_tunable_is_added_to_those_of_the_user(on_request: Path):
    assert huge_page_variables({}, on_request) == {VARIABLE: "glibc.malloc.hugetlb=1"}
    told = {VARIABLE: "glibc.malloc.check=3"}
    added = "glibc.malloc.check=3:glibc.malloc.hugetlb=1"
    assert huge_page_variables(told, on_request) == {VARIABLE: added}


def test_nothing_is_added_where_the_user_has_decided(on_request: Path):
    assert huge_page_variables({VARIABLE: "glibc.malloc.hugetlb=0"}, on_request) == {}


@pytest.mark.parametrize("policy", ["[always] madvise never", "always madvise [never]", None])
def test_nothing_is_added_where_it_changes_nothing(tmp_path: Path, policy: str | None):
    if policy is not None:
        (tmp_path / "enabled").write_text(policy)
    assert huge_page_variables({}, tmp_path / "enabled") == {}


def test_memory_of_the_program_is_in_large_pages():
    variables = huge_page_variables({})
    if not variables:
        pytest.skip(f"{POLICY} is not madvise")
    environ = {**os.environ, **variables}
    command = [sys.executable, "-c", ASKED]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, check=True)
    assert done.stdout.strip() == str(_has_tunable())


def _has_tunable() -> bool:
    name, _, number = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    return name == "glibc" and tuple(map(int, number.split("."))) >= (2, 35)
