"""What ``--verify`` and ``--repair`` say of files: what was wrong with each, and the cure."""

import shlex
from collections.abc import Iterator

from qtool.cli.download_json import to_json
from qtool.download import DownloadRequest, DownloadResult, FileResult, FileStatus
from qtool.errors import ExitCode, IntegrityError
from qtool.hub.endpoints import EndpointOrigin
from qtool.hub.repo import RepoType
from qtool.output import Output, Style
from qtool.units import format_size

MAX_EXTRA_SHOWN = 5


def report_check(result: DownloadResult, request: DownloadRequest, output: Output) -> int:
    """Say what a check has found and return the exit code: 6 when any file is wrong."""
    output.result(to_json(result), check_lines(result, output))
    if not result.failures:
        return ExitCode.OK
    wrong = [file.error for file in result.failures if isinstance(file.error, IntegrityError)]
    if not output.is_json:
        output.error(_failure(result, request))
    return ExitCode.INTEGRITY if wrong else ExitCode.RESOURCES


def _failure(result: DownloadResult, request: DownloadRequest) -> IntegrityError:
    """Return what a check has found as one failure, with the command that cures it."""
    n_failures, n_files = len(result.failures), len(result.files)
    message = f"{n_failures} of {n_files} files {'is' if n_failures == 1 else 'are'} not right"
    if _is_nothing_there(result):
        return IntegrityError("there is nothing to check", hint=command_for(request))
    if any(file.damage is not None and file.damage.is_edited for file in result.failures):
        kept = "# keeps what was changed as NAME.edited; with --repair it is lost"
        return IntegrityError(message, hint=f"{command_for(request)}   {kept}")
    return IntegrityError(message, hint=command_for(request, "--repair"))


def _is_nothing_there(result: DownloadResult) -> bool:
    missing = FileStatus.MISSING
    return bool(result.files) and all(file.status is missing for file in result.files)


def check_lines(result: DownloadResult, output: Output) -> Iterator[str]:
    """Yield the lines of a check's result."""
    if _is_nothing_there(result):
        yield f"{output.paint(str(result.path), Style.BOLD)}: nothing of it is there"
        yield from result.notes
        return
    right = [file for file in result.files if file.error is None]
    size = format_size(sum(file.size_bytes for file in right))
    count = "1 file" if len(right) == 1 else f"{len(right)} files"
    n_unverified = len(result.unverified)
    verified = f"{n_unverified} of them not verified" if n_unverified else "verified"
    yield f"{output.paint(str(result.path), Style.BOLD)}: {count}, {size}, {verified}"
    for file in result.failures:
        label = file.damage.label if file.damage is not None else file.status.value
        yield f"  {label:<9} {_without_status(file)}"
    if result.extra:
        more = len(result.extra) - MAX_EXTRA_SHOWN
        names = ", ".join(result.extra[:MAX_EXTRA_SHOWN]) + (
            f" and {more} more" if more > 0 else ""
        )
        yield f"not of this commit, left alone: {names}"
    yield from result.notes


def repaired_lines(result: DownloadResult) -> list[str]:
    """Return a line for each file that was wrong and is right now."""
    return [
        f"  {file.status.value:<10} {file.path}: it was {file.damage.label}"
        for file in result.files
        if file.damage is not None and file.error is None
    ]


def command_for(request: DownloadRequest, *options: str) -> str:
    """Return the command that fetches what the check of ``request`` has looked for."""
    repo, selection = request.repo, request.selection
    reference = repo.repo_id + (f":{selection.quant}" if selection.quant else "")
    words = ["qtool", "download", reference, *selection.files]
    if repo.revision != "main":
        words += ["--revision", repo.revision]
    if repo.repo_type is RepoType.DATASET:
        words.append("--dataset")
    words += [word for glob in selection.include for word in ("--include", glob)]
    words += [word for glob in selection.exclude for word in ("--exclude", glob)]
    if request.local_dir is not None:
        words += ["--local-dir", str(request.local_dir)]
    if request.cache_dir is not None:
        words.append("--cache")
    for endpoint in request.endpoints:
        if endpoint.origin in (EndpointOrigin.FLAG, EndpointOrigin.PASTED):
            words += ["--endpoint", endpoint.url]
    words += options
    return shlex.join(words)


def _without_status(file: FileResult) -> str:
    return file.error.message if file.error is not None else file.path
