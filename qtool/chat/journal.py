"""The journal of a conversation: every message is on disk before the next step is taken.

A journal is a JSON Lines file in the state directory. The first line says what it belongs to;
each further line is one message or says that the oldest turns were dropped. Lines are appended
and fsynced; a torn last line (power loss) is skipped when read back.
"""

import contextlib
import errno
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtool.chat.messages import Message, drop_oldest, parse_message
from qtool.errors import NotFoundError, ResourceError, UsageError


class Journal:
    """Appends to one journal file, created with the first line.

    Raises:
        ResourceError: the disk is full.
        UsageError: the file cannot be created or written.
    """

    def __init__(self, path: Path, *, model: str) -> None:
        self.path = path
        self._model = model
        self._descriptor: int | None = None

    def append(self, message: Message) -> None:
        """Put ``message`` on disk before returning."""
        self._write(message.to_api() | ({"partial": True} if message.is_partial else {}))

    def append_drop(self, n_messages: int) -> None:
        """Note that the ``n_messages`` oldest messages after the system prompt are gone."""
        self._write({"dropped": n_messages})

    def append_take_back(self) -> None:
        """Note that the last message is withdrawn."""
        self._write({"taken_back": 1})

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, item: dict[str, Any]) -> None:
        line = json.dumps({**item, "time": round(time.time(), 3)}, ensure_ascii=False)
        try:
            if self._descriptor is None:
                self._descriptor = self._create()
            _append(self._descriptor, line.encode("utf-8", "replace") + b"\n")
        except OSError as exc:
            is_full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
            kind = ResourceError if is_full else UsageError
            raise kind(
                f"cannot write the conversation's journal {self.path}: {exc.strerror}",
                hint="QTOOL_STATE=/a/writable/folder qtool chat …",
            ) from exc

    def _create(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL
        descriptor = os.open(self.path, flags, 0o600)
        head = {"qtool_journal": 1, "model": self._model, "time": round(time.time(), 3)}
        try:
            _append(descriptor, json.dumps(head, ensure_ascii=False).encode() + b"\n")
        except OSError:
            os.close(descriptor)
            self.path.unlink(missing_ok=True)
            raise
        return descriptor


def _append(descriptor: int, line: bytes) -> None:
    """Write all of ``line`` and wait for the disk; leave no part of it where that fails."""
    length = os.fstat(descriptor).st_size
    try:
        rest = memoryview(line)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, length)
        raise


def new_journal(folder: Path, *, model: str, messages: Sequence[Message] = ()) -> Journal:
    """Return a journal named after the moment, holding ``messages`` as its beginning."""
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{time.time_ns() % 10**9:09d}-{os.getpid()}.jsonl"
    journal = Journal(folder / name, model=model)
    for message in messages:
        journal.append(message)
    return journal


def last_journal(folder: Path) -> Path:
    """Return the journal that was written to last.

    Raises:
        NotFoundError: there is none.
    """
    journals = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.jsonl")]
    if not journals:
        raise NotFoundError("there is no earlier conversation to continue", hint="qtool chat")
    return max(journals)[1]


def read_journal(path: Path) -> list[Message]:
    """Return the messages of the journal ``path`` as they stood at its end."""
    messages: list[Message] = []
    for line in path.read_bytes().split(b"\n")[1:]:
        try:
            item = json.loads(line)
            if "dropped" in item:
                messages = drop_oldest(messages, int(item["dropped"]))
            elif "taken_back" in item:
                del messages[-1:]
            else:
                message = parse_message(item)
                messages.append(Message(message.role, message.content, bool(item.get("partial"))))
        except (ValueError, TypeError, RecursionError):
            continue  # a torn or damaged line costs itself, nothing else
    return messages
