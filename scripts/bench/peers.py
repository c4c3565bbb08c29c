"""The programs that are compared, and the command by which each fetches files from a hub."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "bench"
REPO_ID = "org/name"

# What huggingface_hub did with hf_transfer before 1.0 took it out: pieces of 10 MiB.
_HF_TRANSFER = """
import sys, hf_transfer
hf_transfer.download(url=sys.argv[1], filename=sys.argv[2], max_files=int(sys.argv[3]),
                     chunk_size=10 * 1024 * 1024, parallel_failures=3, max_retries=5)
"""


@dataclass(frozen=True, slots=True)
class Errand:
    """What a peer is to fetch: ``paths`` of the repository from ``urls`` (hubs) to ``target``."""

    urls: Sequence[str]
    paths: Sequence[str]
    target: Path
    ca_file: Path | None = None

    def link(self, path: str) -> str:
        """Return the address of a file on the first hub."""
        return f"{self.urls[0]}/{REPO_ID}/resolve/main/{quote(path)}"


@dataclass(frozen=True, slots=True)
class Peer:
    """A program with its options. ``max_runs`` bounds the runs of one that takes very long."""

    name: str
    command: Callable[[Errand], list[str]]
    max_runs: int | None = None


def qtool(*options: str, name: str = "qtool", max_runs: int | None = None) -> Peer:
    """Return the qtool of this checkout."""

    def command(errand: Errand) -> list[str]:
        endpoints = [part for url in errand.urls for part in ("--endpoint", url)]
        target = ["--local-dir", str(errand.target)]
        return [
            sys.executable, "-m", "qtool", "download", REPO_ID, *target, *endpoints, "--quiet",
            *options,
        ]  # fmt: skip

    return Peer(name, command, max_runs)


def hf(max_runs: int | None = None) -> Peer:
    """Return Hugging Face's own command."""

    def command(errand: Errand) -> list[str]:
        return [str(_tool("hf")), "download", REPO_ID, "--local-dir", str(errand.target)]

    return Peer("hf", command, max_runs)


def hf_transfer(n_connections: int) -> Peer:
    """Return hf_transfer, which takes one file."""

    def command(errand: Errand) -> list[str]:
        path = errand.paths[0]
        target = str(errand.target / path)
        return [
            str(_tool("python")), "-c", _HF_TRANSFER, errand.link(path), target, str(n_connections)
        ]  # fmt: skip

    return Peer("hf_transfer", command)


def aria2c(n_connections: int) -> Peer:
    """Return aria2c with ``n_connections`` for one file, or that many files at a time."""

    def command(errand: Errand) -> list[str]:
        listing = _write_list(errand, ".aria2", lambda path: f"{errand.link(path)}\n  out={path}\n")
        return [
            "aria2c", "--no-conf", "--quiet", "--file-allocation=none", "--continue=true",
            f"--max-connection-per-server={n_connections}", f"--split={n_connections}",
            f"--max-concurrent-downloads={n_connections}", "--min-split-size=1M",
            *([f"--ca-certificate={errand.ca_file}"] if errand.ca_file else []),
            f"--dir={errand.target}", f"--input-file={listing}",
        ]  # fmt: skip

    return Peer("aria2c", command)


def curl(n_connections: int = 1) -> Peer:
    """Return curl, which fetches a file over one connection and many files side by side."""

    def command(errand: Errand) -> list[str]:
        listing = _write_list(
            errand,
            ".curl",
            lambda path: f'url = "{errand.link(path)}"\noutput = "{errand.target / path}"\n',
        )
        many = ["-Z", "--parallel-max", str(n_connections)] if len(errand.paths) > 1 else []
        return [
            "curl", "-q", "-sSfL", "--create-dirs", "-C", "-", *many, "--config", str(listing)
        ]  # fmt: skip

    return Peer("curl", command)


def environ_for(urls: Sequence[str], ca_file: Path | None, home: Path) -> dict[str, str]:
    """Return the environment of every peer: the hub, its certificate, nobody's own settings."""
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL", "TMPDIR")}
    environ = kept | {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_ENDPOINT": urls[0],
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "PYTHONPATH": str(ROOT),
    }
    if ca_file is not None:
        names = ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
        environ |= dict.fromkeys(names, str(ca_file))
    return environ


def missing_programs() -> dict[str, str]:
    """Return the peers that cannot run here, with the reason."""
    missing = {}
    for name in ("aria2c", "curl"):
        if shutil.which(name) is None:
            missing[name] = f"not installed (Debian: apt install {name.removesuffix('c')})"
    return missing


def make_tools() -> None:
    """Install the peers that come from PyPI into an environment of their own, once."""
    if _tool("hf").exists():
        return
    print(f"installing huggingface_hub and hf_transfer into {CACHE / 'venv'}", file=sys.stderr)
    venv.create(CACHE / "venv", with_pip=True)
    pip = [str(_tool("python")), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "huggingface_hub", "hf_transfer"], check=True)


def versions() -> Mapping[str, str]:
    """Return the version of every peer that is there."""
    code = "from importlib.metadata import version as v; "
    code += "print(v('huggingface_hub'), v('hf_transfer'))"
    hub, transfer = _said([str(_tool("python")), "-c", code]).split()
    found = {"hf": f"huggingface_hub {hub}", "hf_transfer": transfer}
    if "aria2c" not in missing_programs():
        found["aria2c"] = _said(["aria2c", "--version"]).split()[2]
    if "curl" not in missing_programs():
        found["curl"] = _said(["curl", "--version"]).split()[1]
    return found


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _tool(name: str) -> Path:
    return CACHE / "venv" / "bin" / name


def _write_list(errand: Errand, suffix: str, entry: Callable[[str], str]) -> Path:
    listing = errand.target.with_name(errand.target.name + suffix)
    listing.write_text("".join(map(entry, errand.paths)))
    return listing
