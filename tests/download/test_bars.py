"""The promises about downloads that do not depend on the clock: bytes, requests, memory."""

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hub import Generated, Repo
from tests.hub.content import generated_sha256
from tests.hub.process import PROJECT_ROOT, HubProcess

pytestmark = [pytest.mark.slow, pytest.mark.alone]

MIB = 1 << 20
# A child's peak memory begins with that of the process that forks it, and pytest's is large.
MEASURE = """
import os, sys
pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def command(hub: HubProcess, target: Path, *options: str) -> list[str]:
    words = [sys.executable, "-m", "qtool", "download", "org/name", "--quiet", *options]
    return [*words, "--endpoint", hub.url, "--local-dir", str(target)]


def environ(hub: HubProcess) -> dict[str, str]:
    certificate = {"SSL_CERT_FILE": str(hub.ca_file)} if hub.ca_file else {}
    return os.environ | {"PYTHONPATH": str(PROJECT_ROOT)} | certificate


def peak_bytes(hub: HubProcess, target: Path, *options: str) -> int:
    measured = [sys.executable, "-I", "-S", "-c", MEASURE, *command(hub, target, *options)]
    done = subprocess.run(
        measured, env=environ(hub), stdout=subprocess.PIPE, text=True, check=True, timeout=100
    )
    return int(done.stdout.split()[-1]) * 1024


def run_until(hub: HubProcess, target: Path, n_bytes: float) -> None:
    """Run until so many bytes were sent in all, then kill -9; to the end if they never are."""
    words = command(hub, target, "--connections", "16")
    with subprocess.Popen(words, env=environ(hub), stdout=subprocess.DEVNULL) as run:
        while run.poll() is None and hub.bytes_sent(role="cdn") < n_bytes:
            time.sleep(0.004)
        run.kill()


def sha256_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def test_ten_kills_cost_a_twentieth_of_the_bytes_at_most(hub_process_factory, tmp_path):
    model = Generated(200 * MIB)
    hub = hub_process_factory([Repo("org/name", {"m.gguf": model})], rate_bytes_per_s=4 * MIB)
    chance = random.Random(7)
    for share in sorted(chance.uniform(0.02, 0.98) for _ in range(10)):
        run_until(hub, tmp_path, share * model.size_bytes)
    run_until(hub, tmp_path, float("inf"))
    assert sha256_of(tmp_path / "m.gguf") == generated_sha256(model)
    assert hub.bytes_sent(role="cdn") <= 1.05 * model.size_bytes
    assert not list(tmp_path.rglob("*.part"))


def test_kill_at_full_speed_costs_little(hub_process_factory, tmp_path):
    model = Generated(400 * MIB)
    hub = hub_process_factory([Repo("org/name", {"m.gguf": model})])
    run_until(hub, tmp_path, model.size_bytes / 2)
    run_until(hub, tmp_path, float("inf"))
    assert sha256_of(tmp_path / "m.gguf") == generated_sha256(model)
    # 1.01 on an idle machine; on a busy one noting takes longer, and 60 MiB come in 0.1 s.
    assert hub.bytes_sent(role="cdn") <= 1.15 * model.size_bytes


def test_gigabyte_over_tls_needs_little_memory_and_two_requests(hub_process_factory, tmp_path):
    model = Generated(1024 * MIB)
    hub = hub_process_factory([Repo("org/name", {"m.gguf": model})], tls=True)
    assert peak_bytes(hub, tmp_path) < 60e6
    assert sum(request.role == "hub" for request in hub.requests) <= 2
    assert hub.bytes_sent(role="cdn") <= 1.01 * model.size_bytes


def test_file_over_four_gigabytes_is_right_with_little_memory(hub_process_factory, tmp_path):
    model = Generated((4 << 30) + 12345)
    hub = hub_process_factory([Repo("org/name", {"m.gguf": model})])
    assert peak_bytes(hub, tmp_path) < 80e6
    assert (tmp_path / "m.gguf").stat().st_size == model.size_bytes
    assert sha256_of(tmp_path / "m.gguf") == generated_sha256(model)
    (tmp_path / "m.gguf").unlink()


def test_ten_thousand_files_are_listed_and_planned_in_little_memory(hub_process_factory, tmp_path):
    files = {f"part/{i:05}.txt": b"%d" % i for i in range(10_000)}
    hub = hub_process_factory([Repo("org/name", files)])
    started_at = time.monotonic()
    assert peak_bytes(hub, tmp_path, "--dry-run") < 80e6
    assert time.monotonic() - started_at < 5
