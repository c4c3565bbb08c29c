"""History files: the JSON list of ``{"role", "content"}`` that the tutorial's chat.py uses."""

import contextlib
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from qtool.chat.messages import Message, parse_message
from qtool.errors import IntegrityError, NotFoundError, UsageError

MAX_HISTORY_BYTES = 256 * 1024 * 1024


def load_history(path: Path, *, may_be_missing: bool = False) -> list[Message]:
    """Read the history file ``path``; it is never changed here.

    Raises:
        NotFoundError: there is no such file (unless ``may_be_missing``).
        IntegrityError: it is damaged; the message names line and column or the entry.
    """
    try:
        if path.stat().st_size > MAX_HISTORY_BYTES:
            raise UsageError(f"{path} is larger than {MAX_HISTORY_BYTES // 2**20} MiB")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        if may_be_missing:
            return []
        raise NotFoundError(
            f"there is no history file {path}", hint="-io FILE starts one that does not exist yet"
        ) from None
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise _damaged(path, f"byte {exc.start} is not UTF-8") from exc
    return _parse_history(text, path)


def _parse_history(text: str, path: Path) -> list[Message]:
    try:
        items = json.loads(text)
    except json.JSONDecodeError as exc:
        raise _damaged(path, f"line {exc.lineno}, column {exc.colno}: {exc.msg}") from exc
    except RecursionError as exc:
        raise _damaged(path, "it is nested too deeply") from exc
    if not isinstance(items, list):
        raise _damaged(path, f"it holds a {type(items).__name__}, not a list of messages")
    messages = []
    for number, item in enumerate(items, 1):
        try:
            messages.append(parse_message(item))
        except ValueError as exc:
            raise _damaged(path, f"message {number}: {exc}") from exc
    return messages


def _damaged(path: Path, what: str) -> IntegrityError:
    return IntegrityError(
        f"the history file {path} is damaged: {what}",
        hint=f"the file was left as it is; mend it, or name another one instead of {path}",
    )


def check_writable(path: Path) -> None:
    """Find out before the conversation, not after it, whether ``path`` can be written.

    Raises:
        UsageError: it cannot.
    """
    folder = path.parent
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder} for {path.name}", hint=f"mkdir -p {folder}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; -o takes a file")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write into {folder}")


def save_history(path: Path, messages: Sequence[Message]) -> None:
    """Write ``messages`` to ``path`` atomically: the old file stands until the new one is whole.

    A symbolic link is followed, so that the file it names is replaced and the link stays.

    Raises:
        UsageError: it cannot be written; whatever was at ``path`` is untouched.
    """
    path = path.resolve()
    items = [message.to_api() for message in messages]
    data = json.dumps(items, ensure_ascii=False, indent=2).encode("utf-8", "surrogatepass") + b"\n"
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as exc:
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
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
        raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
