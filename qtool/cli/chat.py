"""``qtool chat``: talk to a model on this machine."""

import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qtool.chat.context import Overflow
from qtool.chat.hints import own_command
from qtool.chat.request import Sampling, Think, choose_history_files
from qtool.cli.chat_run import Request, hold_conversation
from qtool.cli.engine_options import MAX_COUNT, EngineFlags, KeepFlags
from qtool.cli.flags import takes_flags
from qtool.cli.language import choose_language
from qtool.cli.options import VoiceFlags
from qtool.cli.own_command import completes_hints
from qtool.config import Config
from qtool.errors import UsageError
from qtool.language.message import say
from qtool.language.translation import Language

if TYPE_CHECKING:
    from qtool.chat.remote import RemoteEngine
    from qtool.output import Output

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

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
    bool,
    typer.Option(
        "--continue",
        "-c",
        help="Go on with the last conversation; with -p also with what was last asked by -p.",
    ),
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
Lang = Annotated[
    Language | None,
    typer.Option("--lang", help="Language of notices (default: ui.lang, else the locale's)."),
]
Reasoning = Annotated[Think, typer.Option(help="What to do with a model's reasoning.")]


@dataclass(frozen=True, slots=True)
class TalkFlags:
    """What is said, kept and shown."""

    prompt: Prompt = None
    system: System = None
    input_file: Input = None
    output_file: Target = None
    history_file: Both = None
    is_continued: Continue = False
    overflow: OnOverflow = None
    is_raw: Raw = False
    is_streaming: Stream = True
    is_plain: Plain = False
    think: Reasoning = Think.FOLD
    language: Lang = None


@dataclass(frozen=True, slots=True)
class SamplingFlags:
    """How tokens are drawn."""

    max_new_tokens: MaxNewTokens = None
    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    min_p: MinP = None
    repeat_penalty: RepeatPenalty = None
    seed: Seed = None
    stop: Stop = None

    def to_sampling(self, config: Config) -> Sampling:
        """Return the values, the settings' where no option gives one."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        settled = {
            "max_new_tokens": config.get("chat.max_new_tokens", self.max_new_tokens),
            "temperature": config.get("chat.temperature", self.temperature),
            "stop": tuple(self.stop or ()),
        }
        return Sampling(**{**given, **settled})


@dataclass(frozen=True, slots=True)
class EndpointFlags:
    """A server in place of an engine of ours."""

    address: Address = None
    served: Served = None
    api_key_file: KeyFile = None

    def to_remote(self, engine: EngineFlags, output: "Output") -> "RemoteEngine | None":
        """Return the server that ``--endpoint`` names.

        Raises:
            UsageError: the options contradict one another.
        """
        if self.address is None:
            if self.served is not None or self.api_key_file is not None:
                raise UsageError(say("--model and --api-key-file belong to --endpoint URL"))
            return None
        if engine.model is not None:
            raise UsageError(
                say(
                    "the endpoint has its own models; {model} would be loaded here",
                    model=engine.model,
                ),
                hint=f"qtool chat --endpoint {self.address} --model {engine.model}",
            )
        from qtool.chat.remote import RemoteEngine, is_exposed, parse_endpoint, read_api_key

        url, key = parse_endpoint(self.address), read_api_key(self.api_key_file)
        if is_exposed(url, key):
            output.warn(say("the key goes to {url} unencrypted", url=url))
        return RemoteEngine(url, key, self.served)


@app.command()
@completes_hints
@takes_flags
def chat(
    talk: TalkFlags,
    sampling: SamplingFlags,
    engine: EngineFlags,
    keep: KeepFlags,
    endpoint: EndpointFlags,
    voice: VoiceFlags,
) -> None:
    """Talk to a model on this machine.

    Without MODEL a small starter model is offered. At the prompt /help lists the commands; exit,
    quit, bye or Ctrl+D end the conversation, Ctrl+C stops a reply. Without a terminal every line
    of stdin is a turn.
    """
    output, config = voice.make_output(), Config()
    output.language = choose_language(talk.language)
    _refuse_contradictions(talk, engine, keep, endpoint)
    remote = endpoint.to_remote(engine, output)
    runs = engine.to_request(config, is_raw=talk.is_raw)
    keep_alive_s = config.get("chat.keep_alive", keep.keep_alive)
    request = Request(
        runs=replace(runs, is_kept=True, keep_alive_s=keep_alive_s),
        remote=remote,
        prompt=_whole_prompt(talk.prompt),
        system=config.get("chat.system", talk.system),
        files=choose_history_files(talk.input_file, talk.output_file, talk.history_file),
        is_continued=talk.is_continued,
        overflow=talk.overflow,
        is_plain=talk.is_plain,
        shown={
            "think": talk.think,
            "is_streaming": talk.is_streaming,
            "is_verbose": engine.is_verbose,
            "own_command": own_command(sys.argv[1:]),
        },
    )
    if remote is not None:
        request = replace(request, runs=replace(request.runs, model=endpoint.served))
    hold_conversation(request, sampling.to_sampling(config), output, config)


def _refuse_contradictions(
    talk: TalkFlags, engine: EngineFlags, keep: KeepFlags, endpoint: EndpointFlags
) -> None:
    """Refuse options that another option makes void.

    Raises:
        UsageError: which ones.
    """
    if engine.template_file is not None and (endpoint.address is not None or talk.is_raw):
        other = "--raw" if talk.is_raw else "--endpoint"
        raise UsageError(say("--template has no effect with {option}", option=other))
    if keep.keep_alive is not None and endpoint.address is not None:
        told = say("--keep-alive has no effect with --endpoint: that server is not ours")
        raise UsageError(told)
    target = talk.output_file or talk.history_file
    own = [engine.template_file, Path(engine.model) if engine.model else None]
    if target is not None and any(one is not None and _is_same(target, one) for one in own):
        raise UsageError(
            say("{path} is read here; the conversation would take its place", path=target)
        )
    if talk.is_continued and (talk.input_file is not None or talk.history_file is not None):
        raise UsageError(say("-c goes on with the last conversation, -i with another one"))


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):  # one of them is not there
        return False


def _whole_prompt(prompt: str | None) -> str | None:
    """Return what ``-p`` says together with what is piped in.

    Raises:
        UsageError: there is nothing in either, or it is not UTF-8.
    """
    if prompt is None:
        return None
    from qtool.chat.stdin import read_prompt

    whole = read_prompt(prompt, None if sys.stdin.isatty() else sys.stdin.buffer)
    if not whole.strip():
        raise UsageError(
            say("the prompt is empty"), hint='qtool chat -p "What is the capital of …?"'
        )
    return whole
