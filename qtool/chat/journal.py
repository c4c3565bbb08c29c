"""The journal of a conversation: every message is on disk before the next step is taken.

A journal is a JSON Lines file in the state directory. The first line says what it belongs to: the
``"model"`` by its title, and as ``"source"`` what opens it again (a path, a repository); with
``"once": true`` it is one question asked by ``-p``, no conversation. Each further line is one
message or a change of those before it:

- ``{"role", "content"}``, with ``"partial": true`` for a reply that was stopped, ``"reasoning"``,
  ``"others"`` for what else a history file had, and ``"replaces": n`` where it takes the place of
  the last ``n`` messages;
- ``{"dropped": n}``: the model is not given the oldest ``n`` messages after the system prompt any
  more, but the ``"summary"`` of them where there is one; the conversation still has them;
- ``{"taken_back": n}``: the last ``n`` messages are withdrawn;
- ``{"system": text or null}``: the system prompt is another one, or gone;
- ``{"model", "source"}``: another model goes on from here.

Lines are appended and fsynced; a torn last line (power loss) is skipped when read back.
"""

import contextlib
import errno
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qtool.chat.messages import Message, parse_message, replace_system, whole_text
from qtool.errors import NotFoundError, ResourceError, UsageError
from qtool.language.message import say

MAX_HEAD_BYTES = 64 * 1024


class Journal:
    """Appends to one journal file, created with the first line.

    A line that is owed tells what has happened already: where it cannot be written, that is told,
    and it goes before the next one.

    Raises:
        ResourceError: the disk is full.
        UsageError: the file cannot be created or written.
    """

    def __init__(
        self, path: Path, *, model: str, source: str | None = None, is_once: bool = False
    ) -> None:
        self.path = path
        self._model = {"model": model} | ({} if source is None else {"source": source})
        self._is_once = is_once
        self._descriptor: int | None = None
        self._owed = b""

    def append(self, message: Message, *, n_replaced: int = 0, is_owed: bool = False) -> None:
        """Put ``message`` on disk before returning."""
        self._write(_item(message, n_replaced), is_owed=is_owed)

    def append_all(self, messages: Sequence[Message]) -> None:
        """Put ``messages`` on disk, all at once: the disk is waited for once."""
        self._write(*(_item(message) for message in messages))

    def append_system(self, system: str | None) -> None:
        """Note that the system prompt is ``system`` from here on."""
        self._write({"system": system})

    def append_model(self, model: str, source: str | None) -> None:
        """Note that another model goes on; it has, whatever the disk says."""
        self._write({"model": model, "source": source}, is_owed=True)

    def append_drop(self, n_messages: int, summary: str | None = None) -> None:
        """Note that the model is not given the ``n_messages`` oldest after the system prompt."""
        self._write({"dropped": n_messages} | ({} if summary is None else {"summary": summary}))

    def append_take_back(self, n_messages: int = 1, *, is_owed: bool = False) -> None:
        """Note that the last ``n_messages`` are withdrawn."""
        self._write({"taken_back": n_messages}, is_owed=is_owed)

    def begin(self) -> None:
        """Create the file, if it is not there yet.

        Raises:
            ResourceError, UsageError: as for every line.
        """
        if self._descriptor is None:
            self._write()

    def close(self) -> None:
        """Close the file, and write what is owed to it before that."""
        try:
            if self._owed:
                self._write()
        finally:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _write(self, *items: dict[str, Any], is_owed: bool = False) -> None:
        """Append a line for each item to what is owed; without any the file is there at least."""
        now = round(time.time(), 3)
        fresh = (json.dumps({**item, "time": now}, ensure_ascii=False) for item in items)
        lines = self._owed + b"".join(line.encode("utf-8", "replace") + b"\n" for line in fresh)
        try:
            if self._descriptor is None:
                self._descriptor = self._create()
            _append(self._descriptor, lines)
            self._owed = b""
        except OSError as exc:
            if is_owed:
                self._owed = lines
            is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = ResourceError if is_full else UsageError
            raise kind(
                say(
                    "cannot write the conversation's journal {path}: {why}",
                    path=self.path,
                    why=exc.strerror,
                ),
                hint="QTOOL_STATE=/a/writable/folder qtool chat …",
            ) from exc

    def _create(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL
        descriptor = os.open(self.path, flags, 0o600)
        head: dict[str, Any] = {"qtool_journal": 1, **self._model}
        head |= {"once": True} if self._is_once else {}
        head["time"] = round(time.time(), 3)
        try:
            _append(descriptor, json.dumps(head, ensure_ascii=False).encode() + b"\n")
        except OSError:
            os.close(descriptor)
            self.path.unlink(missing_ok=True)
            raise
        return descriptor


def _item(message: Message, n_replaced: int = 0) -> dict[str, Any]:
    details = {
        "partial": message.is_partial,
        "reasoning": message.reasoning,
        "others": message.others,
        "replaces": n_replaced,
    }
    return {**message.to_api(), **{k: v for k, v in details.items() if v}}


def _append(descriptor: int, lines: bytes) -> None:
    """Write all of ``lines`` and wait for the disk; leave no part of them where that fails."""
    length = os.fstat(descriptor).st_size
    try:
        rest = memoryview(lines)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, length)
        raise


def new_journal(
    folder: Path,
    *,
    model: str,
    source: str | None = None,
    messages: Sequence[Message] = (),
    is_once: bool = False,
) -> Journal:
    """Return a journal named after the moment, holding ``messages`` as its beginning."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}-{os.getpid()}.jsonl"
    journal = Journal(folder / name, model=model, source=source, is_once=is_once)
    if messages:
        journal.append_all(messages)
    return journal


def last_journal(folder: Path) -> Path:
    """Return the journal that was written to last.

    Raises:
        NotFoundError: there is none.
    """
    journals = list_journals(folder)
    if not journals:
        told = say("there is no earlier conversation to continue")
        raise NotFoundError(told, hint="qtool chat")
    return journals[0][1]


def list_journals(folder: Path) -> list[tuple[float, Path]]:
    """Return the journals that can be read, and when each was written, the newest first."""
    found = []
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(OSError):  # gone meanwhile, or a link that leads nowhere
            if path.is_file() and os.access(path, os.R_OK):
                found.append((path.stat().st_mtime, path))
    return sorted(found, reverse=True)


@dataclass(frozen=True, slots=True)
class JournalHead:
    """What the first line of a journal says.

    ``source`` opens the model again, if anything does. ``is_once``: it is a question asked by
    ``-p``.
    """

    model: str = "?"
    is_once: bool = False
    source: str | None = None


def read_head(path: Path) -> JournalHead:
    """Return the head of the journal ``path``; of a damaged one nothing is known."""
    try:
        with path.open("rb") as file:
            head = json.loads(file.readline(MAX_HEAD_BYTES))
        return JournalHead(str(head["model"]), head.get("once") is True, _text(head.get("source")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return JournalHead()


def read_last_head(path: Path) -> JournalHead:
    """Return the head of the journal ``path`` with the model that it ended with."""
    head = read_head(path)
    for line in path.read_bytes().split(b"\n")[1:]:
        if line.startswith(b'{"model"'):
            with contextlib.suppress(ValueError, LookupError, RecursionError):
                item = json.loads(line)
                head = replace(head, model=str(item["model"]), source=_text(item.get("source")))
    return head


def read_journal(path: Path) -> list[Message]:
    """Return the messages of the journal ``path`` as they stood at its end."""
    messages: list[Message] = []
    for line in path.read_bytes().split(b"\n")[1:]:
        try:
            messages = _apply(json.loads(line), messages)
        except (ValueError, TypeError, OverflowError, RecursionError):
            continue  # a torn or damaged line costs itself, nothing else
    return messages


def _apply(item: Any, messages: list[Message]) -> list[Message]:
    """Return ``messages`` after the step that one line of a journal tells.

    Raises:
        ValueError, TypeError, OverflowError: the line is damaged.
    """
    if not isinstance(item, dict):
        raise TypeError("a line of a journal is an object")
    if "dropped" in item or "model" in item:
        return messages
    if "taken_back" in item:
        return _without_last(messages, int(item["taken_back"]))
    if "system" in item:
        return replace_system(messages, _text(item["system"]))
    others = item.get("others")
    whole = replace(
        parse_message(item),
        others=others if isinstance(others, dict) else {},
        is_partial=bool(item.get("partial")),
        reasoning=_text(item.get("reasoning")) or "",
    )
    return [*_without_last(messages, int(item.get("replaces", 0))), whole]


def _text(value: object) -> str | None:
    return whole_text(value) if isinstance(value, str) else None


def _without_last(messages: list[Message], count: int) -> list[Message]:
    return messages[: max(0, len(messages) - max(0, count))]
