"""History files: the JSON list of ``{"role", "content"}`` that the tutorial's chat.py uses."""

import contextlib
import errno
import itertools
import json
import os
import shlex
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qtool.chat.messages import Message, parse_message
from qtool.errors import IntegrityError, NotFoundError, QtoolError, ResourceError, UsageError
from qtool.language.message import say

MAX_HISTORY_BYTES = 256 * 1024 * 1024


def load_history(path: Path, *, may_be_missing: bool = False) -> list[Message]:
    """Read the history file ``path``; it is never changed here. An empty one has no messages.

    Raises:
        NotFoundError: there is no such file (unless ``may_be_missing``).
        IntegrityError: it is damaged; the message names line and column or the entry.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UsageError(say("{path} is no regular file; -i takes one", path=path))
        if found.st_size > MAX_HISTORY_BYTES:
            limit = MAX_HISTORY_BYTES // 2**20
            raise UsageError(say("{path} is larger than {n} MiB", path=path, n=limit))
        data = path.read_bytes()
    except FileNotFoundError:
        if may_be_missing:
            return []
        raise NotFoundError(
            say("there is no history file {path}", path=path),
            hint=say("-io FILE starts one that does not exist yet"),
        ) from None
    except OSError as exc:
        raise UsageError(say("cannot read {path}: {why}", path=path, why=exc.strerror)) from exc
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = data[: exc.start].decode("utf-8-sig")
        raise _damaged(
            path, before, len(before), say("byte {at} is not UTF-8", at=exc.start)
        ) from exc
    return _parse_history(text, path) if text.strip() else []


def _parse_history(text: str, path: Path) -> list[Message]:
    messages = []
    for number, (at, item) in enumerate(_items(text, path), 1):
        try:
            messages.append(parse_message(item))
        except ValueError as exc:
            why = say("message {number}: {why}", number=number, why=exc.args[0])
            raise _damaged(path, text, at, why) from exc
    return messages


def _items(text: str, path: Path) -> list[tuple[int, Any]]:
    """Return what the list in ``text`` holds, each with the place where it begins."""
    try:
        items = json.loads(text)
    except json.JSONDecodeError as exc:
        raise _damaged(path, text, exc.pos, exc.msg) from exc
    except RecursionError as exc:
        raise _damaged(path, text, 0, say("it is nested too deeply")) from exc
    except ValueError as exc:  # a number of thousands of digits
        raise _damaged(path, text, 0, str(exc)) from exc
    at = _skip(text, 0)
    if not isinstance(items, list):
        held = say("an object") if isinstance(items, dict) else f"{items!r:.40}"
        what = say("it holds {what}, no list of messages", what=held)
        raise _damaged(path, text, at, what)
    places = []
    for _ in items:
        at = _skip(text, at + 1)  # past the bracket or comma
        places.append(at)
        at = _skip(text, json.JSONDecoder().raw_decode(text, at)[1])
    return list(zip(places, items, strict=True))


def _skip(text: str, at: int) -> int:
    """Return the place of the next character that is no blank."""
    while text[at : at + 1] in (" ", "\t", "\r", "\n"):
        at += 1
    return at


def _damaged(path: Path, text: str, at: int, what: str) -> IntegrityError:
    line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    return IntegrityError(
        say(
            "the history file {path} is damaged: line {line}, column {column}: {what}",
            path=path,
            line=line,
            column=column,
            what=what,
        ),
        hint=say(
            "the file was left as it is; mend it, or name another one instead of {path}", path=path
        ),
    )


def check_writable(path: Path) -> None:
    """Find out before the conversation, not after it, whether ``path`` can be written.

    Raises:
        UsageError: it cannot, or it is something else than a file that may be replaced.
    """
    target = _follow(path)
    folder = target.parent
    if not folder.is_dir():
        hint = f"mkdir -p {shlex.quote(str(folder))}"
        told = say("there is no folder {folder} for {name}", folder=folder, name=target.name)
        raise UsageError(told, hint=hint)
    if target.exists() and not target.is_file():
        raise UsageError(say("{path} is no regular file; -o takes one", path=path))
    if not os.access(folder, os.W_OK):
        raise UsageError(say("cannot write into the folder {folder}", folder=folder))


def check_replaceable(path: Path) -> None:
    """Make sure that nothing but a history file, or an empty one, would be lost at ``path``.

    Raises:
        UsageError: something else is there.
    """
    try:
        load_history(path, may_be_missing=True)
    except QtoolError as exc:
        raise UsageError(
            say("{path} is there already, and is no history file", path=path),
            hint="-o ANOTHER-FILE",
        ) from exc


def _follow(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError) as exc:  # RuntimeError: a circle of links (until Python 3.12)
        told = say("cannot write {path}: it is a link that leads nowhere", path=path)
        raise UsageError(told) from exc


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells one state of a file from another."""

    inode: int
    size_bytes: int
    mtime_ns: int


def state_of(path: Path) -> FileState | None:
    """Return the state of the file ``path``; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return FileState(found.st_ino, found.st_size, found.st_mtime_ns)


def free_name(path: Path) -> Path:
    """Return a name beside ``path`` that nothing has: ``talk.1.json`` for ``talk.json``."""
    names = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in itertools.count(1))
    return next(name for name in names if not os.path.lexists(name))


def save_history(path: Path, messages: Sequence[Message]) -> None:
    """Write ``messages`` to ``path`` atomically: the old file stands until the new one is whole.

    A symbolic link is followed, so that the file it names is replaced and the link stays.

    Raises:
        ResourceError: the disk is full.
        UsageError: it cannot be written; whatever was at ``path`` is untouched.
    """
    path = _follow(path)
    items = [message.to_history() for message in messages]
    data = json.dumps(items, ensure_ascii=False, indent=2).encode("utf-8", "replace") + b"\n"
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:200]}.")
    except OSError as exc:
        raise _unwritable(path, exc) from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            Path(name).chmod(path.stat().st_mode & 0o777)
        Path(name).replace(path)
    except OSError as exc:
        Path(name).unlink(missing_ok=True)
        raise _unwritable(path, exc) from exc


def _unwritable(path: Path, exc: OSError) -> QtoolError:
    message = say("cannot write {path}: {why}", path=path, why=exc.strerror)
    hint = say("the conversation is in its journal: qtool chat -c -o ANOTHER-FILE goes on with it")
    kind = ResourceError if exc.errno in (errno.ENOSPC, errno.EDQUOT) else UsageError
    return kind(message, hint=hint)
