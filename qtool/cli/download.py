"""``qtool download``: files of a repository, verified."""

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from qtool.cli.download_view import make_watcher
from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.cli.starter import download_starter
from qtool.config import Config
from qtool.download import (
    DownloadRequest,
    DownloadResult,
    FileResult,
    FileStatus,
    Selection,
    download,
)
from qtool.errors import ExitCode, UsageError
from qtool.hub.auth import find_token, hf_home
from qtool.hub.endpoints import Endpoint, choose_endpoints
from qtool.hub.repo import RepoRef, RepoType
from qtool.models.reference import Reference, parse_reference
from qtool.models.repo_names import check_revision
from qtool.models.starters import find_starter
from qtool.output import Output, Style
from qtool.units import format_duration, format_size, parse_rate

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Reference_ = Annotated[str, typer.Argument(metavar="REPO[:QUANT][@REV]", show_default=False)]
Files = Annotated[list[str] | None, typer.Argument(metavar="[FILES]…", help="Only these files.")]
Include = Annotated[list[str] | None, typer.Option(help="Only files that match, such as '*.json'.")]
Exclude = Annotated[list[str] | None, typer.Option(help="No files that match.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.")]
Type = Annotated[RepoType, typer.Option("--repo-type", help="Kind of repository.")]
Dataset = Annotated[bool, typer.Option("--dataset", help="The same as --repo-type dataset.")]
LocalDir = Annotated[
    Path | None, typer.Option(help="Target folder.", show_default="./<name>", file_okay=False)
]
Cache = Annotated[bool, typer.Option("--cache", help="Into the Hugging Face cache.")]
EndpointUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        help="Hub or mirror; several (repeated, or with commas) are used at once.",
        show_default="HF_ENDPOINT, else the fastest",
    ),
]
Connections = Annotated[
    int | None,
    typer.Option("-x", "--connections", min=1, max=64, help="Connections.", show_default="auto"),
]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Files at a time at most.")]
Rate = Annotated[str | None, typer.Option("--limit-rate", help="Bytes per second, such as 5M.")]
Token = Annotated[
    str | None,
    typer.Option(
        help="Hub token; better HF_TOKEN, which other users cannot see.", show_default="HF_TOKEN"
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be fetched.")]
Force = Annotated[bool, typer.Option("--force", help="Fetch anew what is there.")]
Verify = Annotated[bool, typer.Option("--verify", help="Check what is there; fetch nothing.")]


@app.command(no_args_is_help=True)
def main(
    reference: Reference_,
    files: Files = None,
    include: Include = None,
    exclude: Exclude = None,
    revision: Revision = None,
    repo_type: Type = RepoType.MODEL,
    is_dataset: Dataset = False,
    local_dir: LocalDir = None,
    is_cached: Cache = False,
    endpoint: EndpointUrls = None,
    connections: Connections = None,
    jobs: Jobs = None,
    limit_rate: Rate = None,
    token: Token = None,
    is_dry_run: DryRun = False,
    is_forced: Force = False,
    is_verify_only: Verify = False,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> int:
    """Fetch a repository from a hub or mirror, verified to the last byte.

    What is there and right is not fetched again; what was interrupted goes on where it stopped.
    """
    output = make_output(is_json, is_quiet, is_debug)
    if starter := find_starter(reference):
        return download_starter(starter, output, Config())
    kind = RepoType.DATASET if is_dataset else repo_type
    asked = parse_reference(reference, default_repo_type=kind.value, allow_local=False)
    config = Config()
    request = DownloadRequest(
        repo=_repo(asked, revision),
        endpoints=_endpoints(endpoint, asked, config),
        selection=_selection(asked, files, include, exclude),
        local_dir=_local_dir(local_dir, is_cached),
        cache_dir=_cache_dir() if is_cached else None,
        token=find_token(token, os.environ),
        connections=_connections(connections, config),
        max_files=jobs,
        rate_limit_bytes_per_s=_rate(limit_rate),
        is_dry_run=is_dry_run,
        is_forced=is_forced,
        is_verify_only=is_verify_only,
        ranking_path=config.state_dir() / "mirrors.json",
    )
    _warn_of_exposed_token(request, output)
    return run(request, output)


def run(request: DownloadRequest, output: Output) -> int:
    """Download, showing progress, and say what came of it; return the exit code."""
    watcher = make_watcher(output)
    try:
        with watcher:
            result = download(request, on_event=watcher.on_event)
    except KeyboardInterrupt:
        _report_interruption(output)
        return ExitCode.INTERRUPTED
    output.result(to_json(result), _summary(result, request, output))
    for file in result.failures:
        if file.error is not None and not output.is_json:
            output.error(file.error)
    return exit_code(result.failures)


def exit_code(failures: tuple[FileResult, ...]) -> int:
    """Return 0 without failures, their common code when they are of one kind, else 1."""
    codes = {file.error.exit_code for file in failures if file.error is not None}
    if not codes:
        return ExitCode.OK
    return codes.pop() if len(codes) == 1 else ExitCode.FINDINGS


def to_json(result: DownloadResult) -> dict[str, Any]:
    """Return the result as the documented object."""
    data: dict[str, Any] = {
        "repo": result.repo_id,
        "revision": result.revision,
        "commit": result.commit,
        "path": str(result.path),
        "files": [_file_to_json(file) for file in result.files],
        "left_out": list(result.left_out),
        "notes": list(result.notes),
        "bytes_transferred": result.bytes_transferred,
        "seconds": round(result.seconds, 3),
        "endpoints": result.endpoints,
        "dropped_endpoints": result.dropped,
    }
    if result.failures and (error := result.failures[0].error) is not None:
        data["error"] = {"code": error.code, "message": error.message, "hint": error.hint}
    return data


def _file_to_json(file: FileResult) -> dict[str, Any]:
    data: dict[str, Any] = {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "status": file.status.value,
        "verified": file.is_verified,
    }
    if file.error is not None:
        data["error"] = {"code": file.error.code, "message": file.error.message}
    return data


def _summary(result: DownloadResult, request: DownloadRequest, output: Output) -> list[str]:
    if request.is_dry_run:
        return _dry_run_lines(result)
    n_files = len(result.files) - len(result.failures)
    size = format_size(sum(file.size_bytes for file in result.files if file.error is None))
    n_unverified = len(result.unverified)
    verified = f"{n_unverified} of them not verified" if n_unverified else "verified"
    lines = [f"{output.paint(str(result.path), Style.BOLD)}: {_count(n_files)}, {size}, {verified}"]
    if result.failures:
        lines.append(f"{_count(len(result.failures))} failed")
    if result.bytes_transferred:
        rate = format_size(result.bytes_transferred / max(result.seconds, 1e-9))
        took = format_duration(result.seconds)
        sources = f" from {len(result.endpoints)} endpoints" if len(result.endpoints) > 1 else ""
        lines.append(f"{format_size(result.bytes_transferred)} in {took}, {rate}/s{sources}")
    elif not request.is_verify_only and not result.failures:
        right = "there" if n_unverified else "there and right"
        lines.append(f"nothing to do: all files are {right}")
    if n_unverified:
        lines.append(f"not verified, the hub lists no digest: {_some_names(result.unverified)}")
    if not result.failures and (command := next_command(result)):
        lines.append(f"next: {command}")
    return lines


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


def _report_interruption(output: Output) -> None:
    message = "stopped; what has arrived is kept"
    hint = "run the same command again: it goes on where it stopped"
    if output.is_json:
        output.result({"error": {"code": "interrupted", "message": message, "hint": hint}})
    else:
        output.warn(f"{message}. To go on, {hint.partition(':')[0]}.")


def _repo(asked: Reference, revision: str | None) -> RepoRef:
    if asked.repo_id is None:
        raise UsageError(f"{asked.text!r} names no repository", hint="qtool download org/name")
    if revision and asked.revision and revision != asked.revision:
        raise UsageError(f"two revisions are given: {asked.revision} and {revision}")
    if revision is not None:
        check_revision(revision, f"--revision {revision}")
    chosen = revision or asked.revision or "main"
    return RepoRef(asked.repo_id, chosen, RepoType(asked.repo_type))


def _selection(
    asked: Reference,
    files: list[str] | None,
    include: list[str] | None,
    exclude: list[str] | None,
) -> Selection:
    named = [*([asked.filename] if asked.filename else []), *(files or [])]
    if asked.quant and named:
        raise UsageError("give either a quantization or names of files, not both")
    return Selection(tuple(named), tuple(include or ()), tuple(exclude or ()), asked.quant)


def _endpoints(flags: list[str] | None, asked: Reference, config: Config) -> tuple[Endpoint, ...]:
    endpoints, mirrors = config.get("download.endpoint"), config.get("download.mirrors")
    return choose_endpoints(flags or (), os.environ, endpoints, mirrors, pasted=asked.endpoint)


def _warn_of_exposed_token(request: DownloadRequest, output: Output) -> None:
    for endpoint in request.endpoints if request.token else ():
        if endpoint.is_trusted_with_token and endpoint.is_in_clear:
            output.warn(f"the hub token goes to {endpoint.url} unencrypted")


def _local_dir(folder: Path | None, is_cached: bool) -> Path | None:
    if folder is not None and is_cached:
        raise UsageError("--local-dir and --cache exclude one another")
    return folder


def _cache_dir() -> Path:
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(named).expanduser() if named else hf_home(os.environ) / "hub"


def _connections(flag: int | None, config: Config) -> int | None:
    value = config.lookup("download.connections", flag)
    return None if value.origin == "default" else int(value.value)


def _rate(text: str | None) -> float | None:
    try:
        return parse_rate(text) if text is not None else None
    except ValueError as exc:
        raise UsageError(f"--limit-rate {text}: {exc}", hint="--limit-rate 5M") from exc
