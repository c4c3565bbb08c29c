"""The result of a download in words, and the command that comes next."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from qtool.cli.check_view import repaired_lines
from qtool.download import DownloadRequest, DownloadResult, FileResult, FileStatus
from qtool.output import Mode, Output, Style
from qtool.units import format_duration, format_size

# The rate of less tells of the way to the hub, not of the line.
WORTH_A_RATE_BYTES = 1_000_000
WORTH_A_RATE_S = 0.1


def summary_lines(result: DownloadResult, request: DownloadRequest, output: Output) -> list[str]:
    """Return what a download that has ended, or was only planned, has to say."""
    if request.is_dry_run:
        return _dry_run_lines(result)
    if output.mode is Mode.QUIET:
        return [str(result.path)]
    n_files = len(result.files) - len(result.failures)
    size = format_size(sum(file.size_bytes for file in result.files if file.error is None))
    n_unverified = len(result.unverified)
    verified = f"{n_unverified} of them not verified" if n_unverified else "verified"
    what = f"{_count(n_files)}, {size}, {verified}" if n_files else "no file of it is there"
    lines = [f"{output.paint(str(result.path), Style.BOLD)}: {what}"]
    if result.failures:
        lines.append(f"{_count(len(result.failures))} failed")
    lines += repaired_lines(result)
    if result.bytes_transferred:
        lines.append(_transfer_line(result))
    elif not result.failures and not any(file.damage for file in result.files):
        right = "there" if n_unverified else "there and right"
        lines.append(f"nothing to do: all files are {right}")
    if n_unverified:
        lines.append(f"not verified, the hub lists no digest: {_some_names(result.unverified)}")
    if not result.failures and (command := next_command(result)):
        lines.append(f"next: {command}")
    return lines


def _transfer_line(result: DownloadResult) -> str:
    """Return how much was fetched, and how fast where that tells something."""
    fetched = format_size(result.bytes_transferred)
    if result.bytes_transferred < WORTH_A_RATE_BYTES or result.seconds < WORTH_A_RATE_S:
        return f"{fetched} fetched"
    rate = format_size(result.bytes_transferred / max(result.seconds, 1e-9))
    sources = f" from {len(result.endpoints)} endpoints" if len(result.endpoints) > 1 else ""
    return f"{fetched} in {format_duration(result.seconds)}, {rate}/s{sources}"


def _some_names(files: Sequence[FileResult]) -> str:
    names = ", ".join(file.path for file in files[:3])
    return names if len(files) <= 3 else f"{names} and {len(files) - 3} more"


def next_command(result: DownloadResult) -> str | None:
    """Return what to do with the files, None when they are no model."""
    paths = [file.path for file in result.files]
    gguf = sorted(path for path in paths if path.lower().endswith(".gguf"))
    if gguf:
        return f"qtool chat {shlex.quote(_as_path(result.path / gguf[0]))}"
    if any(path.endswith((".safetensors", ".bin")) for path in paths):
        return f"qtool doctor {shlex.quote(_as_path(result.path))}"
    return None


def _as_path(path: Path) -> str:
    """Return a path that cannot be taken for a repository's name."""
    text = str(path)
    return text if path.is_absolute() or text.startswith(".") else f"./{text}"


def _dry_run_lines(result: DownloadResult) -> list[str]:
    lines = [
        f"{format_size(file.size_bytes):>9}  {file.path}"
        + ("  (there already)" if file.status is FileStatus.SKIPPED else "")
        for file in result.files
    ]
    missing = [file for file in result.files if file.status is FileStatus.PLANNED]
    total = format_size(sum(file.size_bytes for file in missing))
    lines += [f"{_count(len(missing))}, {total} to fetch into {result.path}"]
    return lines + list(result.notes)


def _count(n_files: int) -> str:
    return "1 file" if n_files == 1 else f"{n_files} files"
