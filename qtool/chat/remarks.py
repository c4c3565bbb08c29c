"""What the user is told of a conversation beside its replies."""

from qtool.chat.context import Fill
from qtool.chat.engine import Engine
from qtool.chat.session import Session
from qtool.chat.turn import STOPPED, Turn


def remark_on_end(turn: Turn, limit: int | None, *, takes_commands: bool) -> str | None:
    """Return why the reply ended as it did, where that is not plain, and how it may go on.

    ``limit`` is how many tokens it was allowed.
    """
    if turn.end.finish_reason != "length":
        is_empty = turn.end.finish_reason != STOPPED and not turn.reply.strip()
        return "the model said nothing; /retry asks again" if is_empty else None
    if limit is None or (turn.end.completion_tokens or 0) < limit:
        return "cut off: the context is full"
    cut = f"cut off at {limit} tokens" if turn.reply else f"all {limit} went into reasoning"
    more = f"/set max_new_tokens {2 * limit} allows more"
    if turn.reply:
        more = f"/continue goes on, {more}"
    return f"{cut}; {more if takes_commands else '-m allows more'}"


def describe_state(engine: Engine, session: Session, fill: Fill) -> list[str]:
    """Return lines about what runs, how full the context is, and what is kept where."""
    if engine.is_ready:
        endpoint = engine.endpoint()
        lines = [f"model     {endpoint.model}", f"engine    {endpoint.engine} at {endpoint.url}"]
    else:
        lines = [f"model     {session.model}", "engine    not ready yet"]
    lines.append(f"context   {fill.describe(session.window)}")
    lines.append(f"messages  {len(session.messages)}")
    lines.append(f"journal   {session.journal_path or '(nothing said yet)'}")
    if session.output:
        lines.append(f"history   {session.output}")
    return lines
