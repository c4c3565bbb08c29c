"""What the user is told of a conversation beside its replies."""

from qtool.chat.client import ContextFullError, TemplateEndlessError
from qtool.chat.context import Fill
from qtool.chat.engine import Engine
from qtool.chat.session import Session
from qtool.chat.turn import IN_CIRCLES, STOPPED, Turn
from qtool.errors import EnvironmentFault, NetworkError, QtoolError, ResourceError
from qtool.language.message import say, together


def remark_on_end(turn: Turn, limit: int | None, *, takes_commands: bool) -> str | None:
    """Return why the reply ended as it did, where that is not plain, and how it may go on.

    ``limit`` is how many tokens it was allowed.
    """
    if turn.end.finish_reason == IN_CIRCLES:
        told = say("stopped: the reply repeats itself")
        more = say("--repeat-penalty 1.1 may help")
        if takes_commands:
            more = say("/set repeat_penalty 1.1 and /retry may help, /continue goes on")
        return together((told, more), "; ")
    if turn.end.finish_reason != "length":
        if turn.end.finish_reason == STOPPED or turn.reply.strip():
            return None
        if turn.is_continued:
            return say("the model has nothing to add")
        return say("the model said nothing; /retry asks again")
    if limit is None or (turn.end.completion_tokens or 0) < limit:
        return say("cut off: the context is full")
    cut = say("cut off at {limit} tokens", limit=limit)
    if not turn.reply:
        cut = say("all {limit} tokens went into reasoning", limit=limit)
    more = say("/set max_new_tokens {limit} allows more", limit=2 * limit)
    if not takes_commands:
        more = say("-m allows more")
    elif turn.reply:
        more = together((say("/continue goes on"), more), ", ")
    return together((cut, more), "; ")


def may_be_answered(failure: QtoolError) -> bool:
    """Tell whether what failed with ``failure`` may be answered when it is asked again."""
    is_passing = isinstance(failure, NetworkError | EnvironmentFault | ResourceError)
    return is_passing and not isinstance(failure, ContextFullError | TemplateEndlessError)


def describe_state(engine: Engine, session: Session, fill: Fill) -> list[str]:
    """Return lines about what runs, how full the context is, and what is kept where."""
    if engine.is_ready:
        endpoint = engine.endpoint()
        name = endpoint.model if session.model == "?" else session.model
        model = say("model     {name}", name=name)
        runs = say("engine    {name} at {url}", name=endpoint.engine, url=endpoint.url)
    else:
        model, runs = say("model     {name}", name=session.model), say("engine    not ready yet")
    lines: list[str] = [
        model,
        runs,
        say("context   {filled}", filled=fill.describe(session.window)),
        say("messages  {n}", n=len(session.messages)),
        say("journal   {path}", path=session.journal_path or say("(nothing said yet)")),
    ]
    return [*lines, say("history   {path}", path=session.output)] if session.output else lines
