"""``qtool chat``: from what is asked to a conversation held to its end."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtool.chat.request import HistoryFiles, Sampling
from qtool.cli.engine_start import EngineRequest, obtain_model, start_engine
from qtool.config import Config
from qtool.language.message import say

if TYPE_CHECKING:
    from qtool.chat.context import Overflow
    from qtool.chat.engine import Engine
    from qtool.chat.markdown import MarkdownStream
    from qtool.chat.remote import RemoteEngine
    from qtool.chat.screen import Screen
    from qtool.chat.session import Session
    from qtool.models.starters import Starter
    from qtool.output import Output

GREETING = say("/help lists the commands; Ctrl+C stops a reply, Ctrl+D ends the conversation")


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line asks for; ``shown`` are options of the screen.

    ``remote`` answers in place of an engine; its model is the one that ``runs`` names.
    """

    runs: EngineRequest
    remote: "RemoteEngine | None"
    prompt: str | None
    system: str | None
    files: HistoryFiles
    is_continued: bool
    overflow: "Overflow | None"
    is_plain: bool
    shown: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Partner:
    """Whom one talks to; ``source`` opens the model again, ``None`` where nothing does."""

    title: str
    source: str | None = None
    starter: "Starter | None" = None


def hold_conversation(
    request: Request, sampling: Sampling, output: "Output", config: Config
) -> None:
    """Start the engine, show the prompt while it loads, and hold the conversation."""
    from qtool.chat.setup import find_earlier, own_model, source_of

    earlier = None
    if request.is_continued:
        earlier = find_earlier(config.state_dir(), is_prompted=request.prompt is not None)
    if request.remote is not None:
        name = request.runs.model or "?"
        with _open_session(request, Partner(name), earlier, output, config) as session:
            _take_turns(request, session, request.remote, sampling, output, config)
        return
    from qtool.chat.templates import stops_of
    from qtool.models.local import title_of
    from qtool.models.starters import DEFAULT_NAME

    if earlier is not None and request.runs.model is None:
        request = replace(request, runs=replace(request.runs, model=own_model(earlier)))
    model, starter = obtain_model(request.runs, output, config)
    source = source_of(request.runs.model or DEFAULT_NAME, model)
    partner = Partner(title_of(model.path), source, starter)
    session = _open_session(request, partner, earlier, output, config)
    engine = start_engine(model, request.runs, output, config)
    stops = stops_of(engine.launch.settings.get("chat_template"))
    suited = Sampling(temperature=starter.temperature if starter else None, stop=stops)
    with session:
        _take_turns(request, session, engine, sampling.or_else(suited), output, config)


def _take_turns(
    request: Request,
    session: "Session",
    engine: "Engine",
    sampling: Sampling,
    output: "Output",
    config: Config,
) -> None:
    """Hold the conversation to its end; the engine ends with it."""
    import time

    from qtool.chat.console import Console
    from qtool.chat.conversation import Conversation
    from qtool.chat.setup import source_of
    from qtool.chat.tty import keep_typed_ahead
    from qtool.models.local import title_of

    def plan(name: str) -> "tuple[str, Engine, str | None]":
        if request.remote is not None:
            return name, request.remote.with_model(name), None
        asked = replace(request.runs, model=name, is_agreed=True)
        other, _ = obtain_model(asked, output, config)
        engine = start_engine(other, asked, output, config)
        return title_of(other.path), engine, source_of(name, other)

    screen, is_terminal = _make_screen(request, session, output, config.state_dir() / "prompts")
    conversation = Conversation(
        session,
        engine,
        sampling,
        screen,
        clock=time.monotonic,
        overflow=request.overflow,
        is_raw=request.runs.is_raw,
    )
    journals = config.state_dir() / "conversations"
    console = Console(conversation, screen, journals=journals, plan_engine=plan)
    try:
        with keep_typed_ahead(0 if is_terminal else -1):
            if request.prompt is None:
                console.run()
            else:
                console.run_once(request.prompt)
    finally:
        conversation.engine.stop()


def _open_session(
    request: Request, partner: Partner, earlier: Path | None, output: "Output", config: Config
) -> "Session":
    from qtool.chat.setup import open_session

    session = open_session(
        partner.title,
        config.state_dir(),
        source=partner.source,
        files=request.files,
        system=request.system,
        fallback_system=partner.starter.system if partner.starter else None,
        earlier=earlier,
        is_prompted=request.prompt is not None,
    )
    if earlier is not None:
        _tell_earlier(session, earlier, output)
    return session


def _tell_earlier(session: "Session", earlier: Path, output: "Output") -> None:
    """Say what the conversation goes on after, and with whom where that is somebody else."""
    import shutil

    from qtool.chat.journal import read_last_head
    from qtool.chat.messages import Role
    from qtool.chat.setup import last_exchange

    columns = shutil.get_terminal_size().columns
    if last := last_exchange(session.messages, columns):
        n_messages = len(session.messages)
        output.note(
            say("going on after {n} messages; the last ones:\n{last}", n=n_messages, last=last)
        )
        if session.messages[-1].role is Role.USER:
            output.note(say("the last message has no reply; /retry asks for one"))
    before = read_last_head(earlier).model
    if "?" not in (before, session.model) and before != session.model:
        told = say(
            "this conversation was with {before}; going on with {now}",
            before=before,
            now=session.model,
        )
        output.note(told)


def _make_screen(
    request: Request, session: "Session", output: "Output", history: Path
) -> tuple["Screen", bool]:
    """Return the screen, and whether a line editor reads from the terminal."""
    import os
    import sys

    from qtool.chat.editor import LineEditor, make_editor
    from qtool.chat.stdin import read_lines
    from qtool.chat.ui.plain import JsonScreen, PlainScreen
    from qtool.chat.ui.terminal import TerminalScreen

    if request.prompt is None and output.is_interactive and output.stdout.isatty():
        _greet(session, output)
        editor = make_editor(history, output.stdout, os.environ)
        markdown = _make_markdown(request, output)
        shown = {**request.shown, "wraps": not request.is_plain}
        screen = TerminalScreen(output, editor=editor, markdown=markdown, **shown)
        return screen, isinstance(editor, LineEditor)
    kind = JsonScreen if output.is_json else PlainScreen
    return kind(output, prompts=read_lines(sys.stdin.buffer), **request.shown), False


def _greet(session: "Session", output: "Output") -> None:
    """Say whom one talks to, where that is known yet, and how to get on."""
    import shutil

    from qtool.chat.width import wrap
    from qtool.models.starters import find_starter

    told = [GREETING]
    if session.source is not None and (starter := find_starter(session.source)):
        told.insert(0, say("{title}, a small model that knows English only", title=starter.title))
    elif session.model != "?":
        told.insert(0, say("this is {model}", model=session.model))
    for text in told:
        for line in wrap(output.words(text), shutil.get_terminal_size().columns):
            output.note(line)


def _make_markdown(request: Request, output: "Output") -> "MarkdownStream | None":
    """Return what styles replies; ``None`` where they are wanted as they are."""
    import os
    import shutil

    from qtool.chat.markdown import MarkdownStream, draw_table
    from qtool.output import wants_colour

    if request.is_plain or not wants_colour(output.stdout, os.environ):
        return None
    return MarkdownStream(lambda text: draw_table(text, shutil.get_terminal_size().columns))
