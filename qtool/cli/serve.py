"""``qtool serve``: run a model in the foreground for other programs."""

import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qtool.cli.engine_options import EngineFlags
from qtool.cli.engine_start import obtain_model, start_engine
from qtool.cli.flags import takes_flags
from qtool.cli.language import choose_language
from qtool.cli.listening import find_place
from qtool.cli.options import VoiceFlags
from qtool.cli.own_command import completes_hints
from qtool.config import Config
from qtool.engines.base import Endpoint, OnWait, Progress, describe_loading
from qtool.errors import EnvironmentFault, ExitCode, Terminated
from qtool.language.message import say

if TYPE_CHECKING:
    from qtool.engines.keeper import EngineKeeper
    from qtool.output import Output

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

POLL_S = 0.3

TELL_EVERY_S = 5
"""How often a line says how far the engine is, where nothing can be drawn over."""

KEY_VARIABLE = "QTOOL_API_KEY"

Host = Annotated[
    str,
    typer.Option(metavar="ADDRESS", help="Where to listen; by default this machine alone."),
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0: a free port.")]
List = Annotated[
    bool, typer.Option("--list", help="List the engines that stayed (qtool chat --keep-alive).")
]
Stop = Annotated[
    bool, typer.Option("--stop", help="End the engine that stayed for MODEL, or all of them.")
]


@dataclass(frozen=True, slots=True)
class ServeFlags:
    """Where the server listens, or what is asked about those that stayed."""

    host: Host = "127.0.0.1"
    port: Port = 0
    is_list: List = False
    is_stop: Stop = False


@app.command()
@completes_hints
@takes_flags
def serve(where: ServeFlags, engine: EngineFlags, voice: VoiceFlags) -> int:
    """Run a model for other programs, as a server that speaks the OpenAI API.

    It listens on this machine alone, unless --host names another address (0.0.0.0: all of them),
    and always wants a key: $QTOOL_API_KEY, or a random one. Ctrl+C ends it, and so do SIGINT and
    SIGTERM where it was started with &.
    """
    output, config = voice.make_output(), Config()
    output.language = choose_language(None)
    if where.is_list or where.is_stop:
        from qtool.cli.kept_engines import list_engines, stop_engines

        if where.is_stop:
            return stop_engines(engine.model, output, config)
        return list_engines(output, config)
    _heed_interrupts()
    key, place = _own_key(), find_place(where.host, where.port)
    if place.is_exposed:
        output.warn(
            say(
                "other machines can reach {host}: whoever has the key may use the model, and the"
                " key and all that is said travel unencrypted",
                host=place.host,
            )
        )
    listening = {"host": place.host, "port": place.port, **({"api_key": key} if key else {})}
    request = engine.to_request(config, extra=listening)
    local, _ = obtain_model(request, output, config)
    with start_engine(local, request, output, config) as keeper:
        output.note(say("loading the model …"))
        endpoint = place.seen_from_outside(keeper.endpoint(_teller(output)))
        output.status()
        output.result(_describe(endpoint), _lines(endpoint, is_key_known=bool(key)))
        return _wait(keeper)


def _heed_interrupts() -> None:
    """Let SIGINT end the server also where a shell's ``&`` has it ignored.

    Of a script that is interrupted nothing would be left then but a model that holds the memory.
    """
    import signal

    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _teller(output: "Output") -> OnWait:
    """Return what says how far the engine is: drawn over on a terminal, else now and then."""
    told_at = time.monotonic()

    def tell(progress: Progress | None) -> None:
        nonlocal told_at
        if progress is None:
            return
        if output.is_animated:
            output.status(describe_loading(progress))
        elif time.monotonic() - told_at >= TELL_EVERY_S:
            told_at = time.monotonic()
            output.note(describe_loading(progress))

    return tell


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
    raise EnvironmentFault(say("the engine ended by itself"), hint="qtool doctor")


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
