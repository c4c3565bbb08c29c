"""``qtool serve``: run a model in the foreground for other programs."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtool.cli.engine_options import (
    Context,
    Engine,
    Env,
    GpuLayers,
    Python,
    Template,
    Threads,
    TrustCode,
    TrustPickle,
    Yes,
    choose_python,
)
from qtool.cli.engine_start import EngineRequest, obtain_model, start_engine
from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.config import Config
from qtool.engines.base import Endpoint, EngineKind, EngineOptions
from qtool.errors import EnvironmentFault, ExitCode, Terminated, UsageError

if TYPE_CHECKING:
    from qtool.engines.keeper import EngineKeeper

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

POLL_S = 0.3

KEY_VARIABLE = "QTOOL_API_KEY"

Model = Annotated[
    str | None,
    typer.Argument(help="A GGUF file, a folder with a model, or a starter model's name."),
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="Where to listen on 127.0.0.1; 0: a free port.")
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what runs, and why.")]


@app.command()
def serve(
    model: Model = None,
    port: Port = 0,
    ctx: Context = None,
    template_file: Template = None,
    gpu_layers: GpuLayers = None,
    threads: Threads = None,
    engine: Engine = EngineKind.AUTO,
    python: Python = None,
    env: Env = None,
    is_code_trusted: TrustCode = False,
    is_pickle_trusted: TrustPickle = False,
    is_agreed: Yes = False,
    is_verbose: Verbose = False,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> int:
    """Run a model for other programs, as a server that speaks the OpenAI API.

    It listens on this machine alone and wants a key: $QTOOL_API_KEY, or a random one. Ctrl+C
    ends it.
    """
    output, config = make_output(is_json, is_quiet, is_debug), Config()
    key = _own_key()
    request = EngineRequest(
        model=model,
        engine=engine,
        python=choose_python(python, env),
        options=EngineOptions(
            config.get("chat.ctx", ctx), gpu_layers, threads, is_code_trusted, is_pickle_trusted
        ),
        template=_read_template(template_file),
        is_agreed=is_agreed,
        is_verbose=is_verbose,
        extra={"port": _free_port(port), **({"api_key": key} if key else {})},
    )
    local, _ = obtain_model(request, output, config)
    with start_engine(local, request, output, config) as keeper:
        output.note("loading the model …")
        endpoint = keeper.endpoint()
        output.result(_describe(endpoint), _lines(endpoint, is_key_known=bool(key)))
        return _wait(keeper)


def _wait(keeper: "EngineKeeper") -> int:
    """Wait until the user or the engine ends it.

    Raises:
        EnvironmentFault: the engine did.
    """
    try:
        while keeper.is_ready:
            time.sleep(POLL_S)
    except Terminated:
        raise
    except KeyboardInterrupt:
        return ExitCode.OK
    raise EnvironmentFault("the engine ended by itself", hint="qtool doctor")


def _describe(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "url": f"{endpoint.url}/v1",
        "api_key": endpoint.api_key,
        "model": endpoint.model,
        "engine": endpoint.engine,
    }


def _lines(endpoint: Endpoint, *, is_key_known: bool) -> list[str]:
    """Return what to print; a key that the user chose is not repeated."""
    key = f"${KEY_VARIABLE}" if is_key_known else endpoint.api_key
    body = f'{{"model": "{endpoint.model}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    return [
        f"base URL  {endpoint.url}/v1",
        f"API key   {key}",
        f"model     {endpoint.model}",
        "",
        f"curl {endpoint.url}/v1/chat/completions"
        f' -H "Authorization: Bearer {key}" -H "Content-Type: application/json"'
        f" -d {shlex.quote(body)}",
    ]


def _own_key() -> str:
    """Return the key that the environment gives; empty where it gives none."""
    import os

    from qtool.chat.remote import read_api_key

    return read_api_key(None, {KEY_VARIABLE: os.environ.get(KEY_VARIABLE, "")})


def _free_port(port: int) -> int:
    """Return ``port`` if nobody listens there.

    Raises:
        UsageError: somebody does, or it may not be taken.
    """
    import socket

    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as exc:
            raise UsageError(
                f"cannot listen on port {port}: {exc.strerror}", hint="--port 0 takes a free one"
            ) from exc
    return port


def _read_template(file: Path | None) -> str | None:
    if file is None:
        return None
    from qtool.chat.templates import read_template

    return read_template(file)
