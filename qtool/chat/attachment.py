"""``/file``: text files that go along with a message."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from qtool.chat.typed_path import typed_path
from qtool.errors import NotFoundError, UsageError
from qtool.language.message import say

MAX_FILE_BYTES = 4 * 1024 * 1024
"""More than any model reads; what fits into the context is found out when it is sent."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file's name and text."""

    name: str
    text: str


def read_attachment(argument: str) -> Attachment:
    """Read the file that ``argument`` names, in quotes or not.

    Raises:
        NotFoundError: there is none.
        UsageError: it is no text file, or too large.
    """
    path = typed_path(argument, example="/file notes.txt")
    try:
        if not path.is_file():
            kind = UsageError if path.exists() else NotFoundError
            raise kind(say("{path} is no file", path=path))
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise UsageError(
                say("{path} is larger than {n} MiB", path=path, n=MAX_FILE_BYTES // 2**20)
            )
        text = data.decode("utf-8-sig")
        if not text.strip():
            raise UsageError(say("{path} is empty", path=path))
    except (OSError, ValueError) as exc:
        if isinstance(exc, UnicodeDecodeError):
            told = say("{path} is no UTF-8 text: byte {at}", path=path, at=exc.start)
            raise UsageError(told) from exc
        why = getattr(exc, "strerror", exc)
        raise UsageError(say("cannot read {path}: {why}", path=path, why=why)) from exc
    if "\0" in text:
        raise UsageError(say("{path} is no text file", path=path))
    return Attachment(path.name, text)


def with_attachments(text: str, attachments: Sequence[Attachment]) -> str:
    """Return ``text`` after the files, each in a fence longer than any inside it."""
    return "\n\n".join([*(_fenced(attachment) for attachment in attachments), text])


def _fenced(attachment: Attachment) -> str:
    longest = max((len(run) for run in re.findall("`+", attachment.text)), default=0)
    fence = "`" * max(3, longest + 1)
    body = attachment.text.rstrip("\n")
    return f"{attachment.name}:\n{fence}\n{body}\n{fence}"
