"""``qtool download``: its options. What they lead to is in ``download_run``, imported on use."""

from pathlib import Path
from typing import Annotated

import typer

from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.config import Config
from qtool.hub.repo import RepoType

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Reference_ = Annotated[
    str,
    typer.Argument(
        metavar="REPO[:QUANT][@REV]",
        show_default=False,
        help="org/name or a link to it, as org/name:Q4_K_M or org/name@v1; or a starter's name.",
    ),
]
Files = Annotated[list[str] | None, typer.Argument(metavar="[FILES]…", help="Only these files.")]
Include = Annotated[
    list[str] | None, typer.Option(metavar="GLOB", help="Only files that match, such as '*.json'.")
]
Exclude = Annotated[list[str] | None, typer.Option(metavar="GLOB", help="No files that match.")]
Revision = Annotated[str | None, typer.Option(metavar="REV", help="Branch, tag or commit.")]
Type = Annotated[RepoType, typer.Option("--repo-type", help="Kind of repository.")]
Dataset = Annotated[bool, typer.Option("--dataset", help="The same as --repo-type dataset.")]
LocalDir = Annotated[
    Path | None, typer.Option(help="Target folder; else ./<name>.", file_okay=False)
]
Cache = Annotated[bool, typer.Option("--cache", help="Into the Hugging Face cache.")]
EndpointUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint",
        metavar="URL",
        help="Hub or mirror; several (repeated, or with commas) are used at once. "
        "Else HF_ENDPOINT, else the fastest.",
    ),
]
Connections = Annotated[
    int | None,
    typer.Option(
        "-x", "--connections", min=1, max=64, help="Connections; else as many as are worth it."
    ),
]
Jobs = Annotated[int | None, typer.Option("-j", "--jobs", min=1, help="Files at a time at most.")]
Rate = Annotated[
    str | None, typer.Option("--limit-rate", metavar="RATE", help="Bytes per second, such as 5M.")
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN", help="Hub token; better in HF_TOKEN, where other users cannot see it."
    ),
]
BackendName = Annotated[
    str,
    typer.Option(
        "--backend",
        metavar="native|aria2c|hf_transfer",
        help="What fetches large files; qtool verifies them in any case.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="List what would be fetched.")]
Force = Annotated[bool, typer.Option("--force", help="Fetch anew what is there.")]
Verify = Annotated[bool, typer.Option("--verify", help="Check what is there; fetch nothing.")]
Repair = Annotated[
    bool, typer.Option("--repair", help="Check what is there; fetch what is wrong of it.")
]


@app.command()
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
    backend: BackendName = "native",
    is_dry_run: DryRun = False,
    is_forced: Force = False,
    is_verify_only: Verify = False,
    is_repair: Repair = False,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> int:
    """Fetch a repository from a hub or mirror, verified to the last byte.

    What is there and right is not fetched again; what was interrupted goes on where it stopped.
    """
    from qtool.cli.download_run import Arguments, fetch

    output, config = make_output(is_json, is_quiet, is_debug), Config()
    arguments = Arguments(
        reference=reference,
        files=tuple(files or ()),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        revision=revision,
        repo_type=RepoType.DATASET if is_dataset else repo_type,
        local_dir=local_dir,
        is_cached=is_cached,
        endpoints=tuple(endpoint or ()),
        connections=connections,
        jobs=jobs,
        limit_rate=limit_rate,
        token=token,
        backend=backend,
        is_dry_run=is_dry_run,
        is_forced=is_forced,
        is_verify_only=is_verify_only,
        is_repair=is_repair,
    )
    return fetch(arguments, output, config)
