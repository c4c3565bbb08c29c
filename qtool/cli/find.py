"""``qtool find``: quantized variants of a model, and which of them fit this machine."""

import os
from typing import Annotated

import typer

from qtool.cli.find_view import render, to_json
from qtool.cli.machine_memory import MachineMemory
from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.config import Config
from qtool.errors import UsageError
from qtool.hub.auth import find_token
from qtool.hub.client import ATTEMPTS, HubClient
from qtool.hub.connection import ConnectionPool
from qtool.hub.endpoints import Endpoint, HubApi, choose_endpoints
from qtool.hub.find import Found, find_variants
from qtool.hub.variants import VariantFormat
from qtool.models.reference import Reference, parse_reference

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Model = Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="org/name")]
Format = Annotated[
    VariantFormat | None, typer.Option("--format", help="Only this format; else all.")
]
Limit = Annotated[int, typer.Option(min=1, max=100, help="Variants at most.")]
EndpointUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--endpoint", metavar="URL", help="Hub or mirror; repeat it for several. Else HF_ENDPOINT."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        metavar="TOKEN", help="Hub token; better in HF_TOKEN, where other users cannot see it."
    ),
]


@app.command()
def main(
    model: Model,
    variant_format: Format = None,
    limit: Limit = 10,
    endpoint: EndpointUrls = None,
    token: Token = None,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> None:
    """List quantized variants of a model, the most downloaded first, with what fits here.

    A GGUF repository holds several sizes: name it, or ask for --format gguf, to see them all.
    """
    output = make_output(is_json, is_quiet, is_debug)
    asked = parse_reference(model, allow_local=False)
    formats = [variant_format] if variant_format else list(VariantFormat)
    found = _find(asked, formats, limit, endpoint, token)
    memory = MachineMemory.read()
    output.result(to_json(found, memory), render(found, memory, output, variant_format))


def _find(
    asked: Reference,
    formats: list[VariantFormat],
    limit: int,
    flags: list[str] | None,
    token: str | None,
) -> Found:
    if asked.repo_id is None or asked.repo_type != "model":
        raise UsageError(f"{asked.text!r} is no model", hint="qtool find org/name")
    endpoints = _endpoints(flags, asked, Config())
    attempts = ATTEMPTS if len(endpoints) == 1 else 1
    user_token = find_token(token, os.environ)
    pool = ConnectionPool()
    try:
        clients = [HubClient(pool, one, user_token, attempts=attempts) for one in endpoints]
        return find_variants(clients, asked.repo_id, formats, limit)
    finally:
        pool.close()


def _endpoints(flags: list[str] | None, asked: Reference, config: Config) -> tuple[Endpoint, ...]:
    """Return the endpoints to ask, one after another.

    Raises:
        UsageError: none of them can be asked: ModelScope knows of no such question.
    """
    named, mirrors = config.get("download.endpoint"), config.get("download.mirrors")
    chosen = choose_endpoints(flags or (), os.environ, named, mirrors, pasted=asked.endpoint)
    if all(one.api is HubApi.MODELSCOPE for one in chosen):
        raise UsageError(
            f"{chosen[0].url} cannot be asked for variants",
            hint=f"qtool find {asked.repo_id} --endpoint https://hf-mirror.com",
        )
    return chosen
