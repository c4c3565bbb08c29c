"""``qtool chat``: talk to a model on this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.chat.context import Overflow
from qtool.chat.request import Sampling, Think, choose_history_files
from qtool.cli.chat_run import Request, talk
from qtool.cli.engine_options import (
    MAX_COUNT,
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
from qtool.cli.engine_start import EngineRequest
from qtool.cli.options import Debug, Json, Quiet, make_output
from qtool.config import Config
from qtool.engines.base import EngineKind, EngineOptions
from qtool.errors import UsageError

if TYPE_CHECKING:
    from qtool.chat.remote import RemoteEngine
    from qtool.output import Output

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Model = Annotated[
    str | None,
    typer.Argument(help="A GGUF file, a folder with a model, or a starter model's name."),
]
Prompt = Annotated[
    str | None,
    typer.Option("--prompt", "-p", help="Answer this and end; piped input is added to it."),
]
System = Annotated[str | None, typer.Option("--system", "-s", help="System prompt.")]
Input = Annotated[
    Path | None, typer.Option("--input", "-i", help="Load the conversation from this file.")
]
Target = Annotated[Path | None, typer.Option("--output", "-o", help="Save it here at the end.")]
Both = Annotated[
    Path | None, typer.Option("--history", "-io", help="Both -i and -o; created if missing.")
]
Continue = Annotated[
    bool, typer.Option("--continue", "-c", help="Go on with the last conversation.")
]
MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens",
        "-m",
        min=1,
        max=MAX_COUNT,
        help="Length of a reply.",
        show_default="1024",
    ),
]
Temperature = Annotated[
    float | None, typer.Option(min=0.0, help="0: always the likeliest token; higher: freer.")
]
TopP = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Nucleus sampling.")]
TopK = Annotated[
    int | None, typer.Option(min=0, max=MAX_COUNT, help="Only the K likeliest tokens.")
]
MinP = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Relative to the likeliest token.")
]
RepeatPenalty = Annotated[float | None, typer.Option(min=0.0, help="1.1 avoids repetition.")]
Seed = Annotated[int | None, typer.Option(min=0, max=2**32 - 2, help="Same seed, same reply.")]
Stop = Annotated[list[str] | None, typer.Option(help="End the reply here (repeatable).")]
OnOverflow = Annotated[
    Overflow | None,
    typer.Option(
        "--overflow",
        help="What goes when the context is full; default: asked on a terminal, else drop-oldest.",
        show_default=False,
    ),
]
Raw = Annotated[
    bool, typer.Option("--raw", help="Let the model go on from the bare text: no chat template.")
]
Address = Annotated[
    str | None,
    typer.Option("--endpoint", metavar="URL", help="A server that speaks the OpenAI API."),
]
Served = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Which of the endpoint's models.")
]
KeyFile = Annotated[
    Path | None,
    typer.Option(help="The endpoint's key; default: $QTOOL_API_KEY or $OPENAI_API_KEY."),
]
Stream = Annotated[bool, typer.Option("--stream/--no-stream", help="Print the reply as it comes.")]
Plain = Annotated[
    bool, typer.Option("--plain", help="Show Markdown on a terminal as the model writes it.")
]
Reasoning = Annotated[Think, typer.Option(help="What to do with a model's reasoning.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say what runs, and how fast.")]


@app.command()
def chat(
    model: Model = None,
    prompt: Prompt = None,
    system: System = None,
    input_file: Input = None,
    output_file: Target = None,
    history_file: Both = None,
    is_continued: Continue = False,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    top_k: TopK = None,
    min_p: MinP = None,
    repeat_penalty: RepeatPenalty = None,
    seed: Seed = None,
    stop: Stop = None,
    ctx: Context = None,
    overflow: OnOverflow = None,
    template_file: Template = None,
    is_raw: Raw = False,
    gpu_layers: GpuLayers = None,
    threads: Threads = None,
    engine: Engine = EngineKind.AUTO,
    python: Python = None,
    env: Env = None,
    address: Address = None,
    served: Served = None,
    api_key_file: KeyFile = None,
    is_code_trusted: TrustCode = False,
    is_pickle_trusted: TrustPickle = False,
    is_streaming: Stream = True,
    is_plain: Plain = False,
    think: Reasoning = Think.FOLD,
    is_agreed: Yes = False,
    is_verbose: Verbose = False,
    is_json: Json = False,
    is_quiet: Quiet = False,
    is_debug: Debug = False,
) -> None:
    """Talk to a model on this machine.

    Without MODEL a small starter model is offered. At the prompt /help lists the commands; exit,
    quit, bye or Ctrl+D end the conversation, Ctrl+C stops a reply. Without a terminal every line
    of stdin is a turn.
    """
    output, config = make_output(is_json, is_quiet, is_debug), Config()
    length = config.get("chat.max_new_tokens", max_new_tokens)
    heat = config.get("chat.temperature", temperature)
    stops = tuple(stop or ())
    sampling = Sampling(length, heat, top_p, top_k, min_p, repeat_penalty, seed, stops)
    request = Request(
        runs=EngineRequest(
            model=served if address else model,
            engine=engine,
            python=choose_python(python, env),
            options=EngineOptions(
                config.get("chat.ctx", ctx), gpu_layers, threads, is_code_trusted, is_pickle_trusted
            ),
            template=_read_template(template_file, address, is_raw=is_raw),
            is_raw=is_raw,
            is_agreed=is_agreed,
            is_verbose=is_verbose,
        ),
        remote=_choose_remote(address, served, api_key_file, model, output),
        prompt=_whole_prompt(prompt),
        system=config.get("chat.system", system),
        files=choose_history_files(input_file, output_file, history_file),
        is_continued=is_continued,
        overflow=overflow,
        is_plain=is_plain,
        shown={"think": think, "is_streaming": is_streaming, "is_verbose": is_verbose},
    )
    if is_continued and request.files.input is not None:
        raise UsageError("-c goes on with the last conversation, -i with another one")
    talk(request, sampling, output, config)


def _choose_remote(
    address: str | None,
    served: str | None,
    key_file: Path | None,
    model: str | None,
    output: "Output",
) -> "RemoteEngine | None":
    """Return the server that ``--endpoint`` names.

    Raises:
        UsageError: the options contradict one another.
    """
    if address is None:
        if served is not None or key_file is not None:
            raise UsageError("--model and --api-key-file belong to --endpoint URL")
        return None
    if model is not None:
        raise UsageError(
            f"the endpoint has its own models; {model} would be loaded here",
            hint=f"qtool chat --endpoint {address} --model {model}",
        )
    from qtool.chat.remote import RemoteEngine, is_exposed, parse_endpoint, read_api_key

    url, key = parse_endpoint(address), read_api_key(key_file)
    if is_exposed(url, key):
        output.warn(f"the key goes to {url} unencrypted")
    return RemoteEngine(url, key, served)


def _read_template(file: Path | None, address: str | None, *, is_raw: bool) -> str | None:
    """Return what ``--template`` names.

    Raises:
        UsageError: it is no template, or another option makes it void.
        NotFoundError: there is no such file.
    """
    if file is None:
        return None
    if address is not None or is_raw:
        other = "--raw" if is_raw else "--endpoint"
        raise UsageError(f"--template has no effect with {other}")
    from qtool.chat.templates import read_template

    return read_template(file)


def _whole_prompt(prompt: str | None) -> str | None:
    """Return what ``-p`` says together with what is piped in.

    Raises:
        UsageError: there is nothing in either, or it is not UTF-8.
    """
    if prompt is None:
        return None
    import sys

    from qtool.chat.stdin import read_prompt

    whole = read_prompt(prompt, None if sys.stdin.isatty() else sys.stdin.buffer)
    if not whole.strip():
        raise UsageError("the prompt is empty", hint='qtool chat -p "What is the capital of …?"')
    return whole
