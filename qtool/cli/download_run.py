"""What ``qtool download`` does with its options: a request, the download, the exit code."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qtool.cli.check_view import report_check
from qtool.cli.download_json import to_json
from qtool.cli.download_summary import summary_lines
from qtool.cli.download_view import make_watcher
from qtool.config import Config
from qtool.download import DownloadRequest, Event, FileResult, Planned, Selection, download
from qtool.download.quant_choice import AskQuant, QuantQuestion
from qtool.download.request import Backend
from qtool.errors import ExitCode, QtoolError, UsageError
from qtool.hub.auth import find_token, hub_cache_dir, is_hub_offline
from qtool.hub.endpoints import Endpoint, choose_endpoints
from qtool.hub.repo import RepoRef, RepoType
from qtool.models.hub_url import is_hub_address
from qtool.models.reference import Reference, parse_reference
from qtool.models.repo_names import check_filename, check_revision
from qtool.models.starters import find_starter
from qtool.output import Output
from qtool.units import parse_rate

_HUB_FILE = re.compile(r"(?P<repo>\w[\w.-]*/\w[\w.-]*)/(?P<file>[^:@]*[.*][^/:@]*)")


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line as it was typed."""

    reference: str
    files: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    revision: str | None
    repo_type: RepoType
    local_dir: Path | None
    is_cached: bool
    endpoints: tuple[str, ...]
    connections: int | None
    jobs: int | None
    limit_rate: str | None
    token: str | None
    backend: str
    is_dry_run: bool
    is_forced: bool
    is_verify_only: bool
    is_repair: bool

    @property
    def is_checked(self) -> bool:
        """Tell whether what is there is read, whatever is known of it."""
        return self.is_verify_only or self.is_repair

    @property
    def only_reads(self) -> bool:
        """Tell whether what is wrong is to be listed, and nothing to be fetched."""
        return self.is_checked and (self.is_dry_run or not self.is_repair)

    @property
    def chooses(self) -> bool:
        """Tell whether files, a revision, a place or a way to fetch are named."""
        named = (self.files, self.include, self.exclude, self.revision, self.local_dir)
        ways = (self.endpoints, self.connections, self.jobs, self.limit_rate)
        is_usual = self.repo_type is RepoType.MODEL and self.backend == Backend.NATIVE
        return any((*named, *ways)) or self.is_cached or not is_usual


def fetch(arguments: Arguments, output: Output, config: Config) -> int:
    """Do what ``arguments`` say and return the exit code."""
    if starter := find_starter(arguments.reference):
        if arguments.chooses:
            raise UsageError(
                f"{arguments.reference} is a starter model: one file, kept in {config.cache_dir()}",
                hint=f"qtool download {starter.hub_repo}",
            )
        from qtool.cli.starter import download_starter

        return download_starter(starter, arguments, output, config)
    request = build_request(arguments, config)
    _warn_of_exposed_token(request, output)
    return run(request, output)


def build_request(arguments: Arguments, config: Config) -> DownloadRequest:
    """Turn what was typed into a request.

    Raises:
        UsageError: it contradicts itself or cannot be understood.
    """
    _refuse_contradictions(arguments)
    asked = _parse(arguments)
    return DownloadRequest(
        repo=_repo(asked, arguments.revision),
        endpoints=_endpoints(arguments.endpoints, asked, config),
        selection=_selection(asked, arguments),
        local_dir=_local_dir(arguments.local_dir, arguments.is_cached),
        cache_dir=hub_cache_dir(os.environ) if arguments.is_cached else None,
        token=find_token(arguments.token, os.environ),
        connections=_connections(arguments.connections, config),
        max_files=arguments.jobs,
        rate_limit_bytes_per_s=_rate(arguments.limit_rate),
        is_dry_run=arguments.is_dry_run,
        is_forced=arguments.is_forced,
        is_verify_only=arguments.only_reads,
        is_repair=arguments.is_repair,
        is_offline=is_hub_offline(os.environ),
        ranking_path=config.state_dir() / "mirrors.json",
        registry_dir=config.state_dir() / "downloads",
        backend=_backend(arguments.backend),
    )


def _parse(arguments: Arguments) -> Reference:
    """Return what is named: a repository, or as ``org/name/file.gguf`` a file of it."""
    text = arguments.reference
    found = None if is_hub_address(text) else _HUB_FILE.fullmatch(text)
    asked = parse_reference(
        text if found is None else found["repo"],
        default_repo_type=arguments.repo_type.value,
        allow_local=False,
    )
    if found is None:
        return asked
    return replace(asked, text=text, filename=check_filename(found["file"], text))


def _refuse_contradictions(arguments: Arguments) -> None:
    if arguments.is_checked and arguments.is_forced:
        raise UsageError("--force fetches everything anew: nothing is left to be checked")
    if is_hub_offline(os.environ) and not arguments.only_reads:
        what, option = ("repair", " --repair") if arguments.is_repair else ("download", "")
        raise UsageError(
            f"HF_HUB_OFFLINE is set, and a {what} has to ask the hub",
            hint=f"HF_HUB_OFFLINE=0 qtool download {shlex.quote(arguments.reference)}{option}",
        )


def run(request: DownloadRequest, output: Output) -> int:
    """Download, showing progress, and say what came of it; return the exit code."""
    watcher = make_watcher(output)
    # A dry run is how one looks at the list without choosing.
    ask = make_asker(output) if output.is_interactive and not request.is_dry_run else None
    has_begun = False

    def on_event(event: Event) -> None:
        nonlocal has_begun
        has_begun |= isinstance(event, Planned)
        watcher.on_event(event)

    try:
        with watcher:
            result = download(request, on_event=on_event, ask_quant=ask)
    except KeyboardInterrupt:
        _report_interruption(output, has_begun=has_begun)
        return ExitCode.INTERRUPTED
    if request.is_verify_only:
        return report_check(result, request, output)
    output.result(to_json(result), summary_lines(result, request, output))
    if not output.is_json:
        for error in distinct_errors(result.failures):
            output.error(error)
    return exit_code(result.failures)


def make_asker(output: Output) -> AskQuant:
    """Return what asks which quantization is wanted."""

    def ask(question: QuantQuestion) -> str:
        from qtool.cli.quant_prompt import ask_quant

        output.status()
        return ask_quant(question, output)

    return ask


def distinct_errors(failures: Sequence[FileResult]) -> Iterator[QtoolError]:
    """Yield what went wrong, once for all files of which the same is said."""
    alike: dict[tuple[str, str | None], list[FileResult]] = {}
    for file in failures:
        if file.error is not None:
            said = file.error.message.removeprefix(f"{file.path}: ")
            alike.setdefault((said, file.error.hint), []).append(file)
    for (said, hint), files in alike.items():
        first = files[0]
        if first.error is not None and len(files) == 1:
            yield first.error
        elif first.error is not None:
            yield type(first.error)(f"{first.path} and {len(files) - 1} more: {said}", hint=hint)


def exit_code(failures: tuple[FileResult, ...]) -> int:
    """Return 0 without failures, their common code when they are of one kind, else 1."""
    codes = {file.error.exit_code for file in failures if file.error is not None}
    if not codes:
        return ExitCode.OK
    return codes.pop() if len(codes) == 1 else ExitCode.FINDINGS


def _report_interruption(output: Output, *, has_begun: bool) -> None:
    """Say what was stopped; a person who has not seen anything begin needs no word of it."""
    message = "stopped; what has arrived is kept" if has_begun else "stopped before it began"
    hint = "run the same command again: it goes on where it stopped"
    if output.is_json:
        output.result({"error": {"code": "interrupted", "message": message, "hint": hint}})
    elif has_begun:
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


def _selection(asked: Reference, arguments: Arguments) -> Selection:
    name = asked.filename
    is_glob = name is not None and any(char in name for char in "*?[")
    named = (*([name] if name and not is_glob else []), *arguments.files)
    globs = (*([name] if name and is_glob else []), *arguments.include)
    if asked.quant and named:
        raise UsageError("give either a quantization or names of files, not both")
    return Selection(named, globs, arguments.exclude, asked.quant)


def _endpoints(flags: Sequence[str], asked: Reference, config: Config) -> tuple[Endpoint, ...]:
    endpoints, mirrors = config.get("download.endpoint"), config.get("download.mirrors")
    return choose_endpoints(flags, os.environ, endpoints, mirrors, pasted=asked.endpoint)


def _warn_of_exposed_token(request: DownloadRequest, output: Output) -> None:
    for endpoint in request.endpoints if request.token else ():
        if endpoint.is_trusted_with_token and endpoint.is_in_clear:
            output.warn(f"the hub token goes to {endpoint.url} unencrypted")


def _local_dir(folder: Path | None, is_cached: bool) -> Path | None:
    if folder is not None and is_cached:
        raise UsageError("--local-dir and --cache exclude one another")
    return folder


def _connections(flag: int | None, config: Config) -> int | None:
    value = config.lookup("download.connections", flag)
    return None if value.origin == "default" else int(value.value)


def _backend(name: str) -> Backend:
    try:
        return Backend(name)
    except ValueError as exc:
        raise UsageError(
            f"--backend {name}: there is no such backend", hint=f"--backend {'|'.join(Backend)}"
        ) from exc


def _rate(text: str | None) -> float | None:
    try:
        return parse_rate(text) if text is not None else None
    except ValueError as exc:
        raise UsageError(f"--limit-rate {text}: {exc}", hint="--limit-rate 5M") from exc
