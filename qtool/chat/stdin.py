"""What is piped into a conversation: lines that are turns, or a text that joins the prompt."""

from collections.abc import Iterator
from typing import BinaryIO

from qtool.errors import UsageError
from qtool.language.message import say


def read_lines(stream: BinaryIO) -> Iterator[str]:
    """Yield the lines of ``stream`` as they come, without their ends.

    Raises:
        UsageError: a line is not UTF-8.
    """
    for line in iter(stream.readline, b""):
        yield _decode(line).rstrip("\r\n")


def read_prompt(prompt: str, stream: BinaryIO | None) -> str:
    """Return ``prompt`` followed by what ``stream`` holds, if anything.

    Raises:
        UsageError: either is not UTF-8.
    """
    piped = _decode(stream.read()).strip() if stream is not None else ""
    own = _decode(prompt.encode("utf-8", "surrogateescape"))
    return f"{own}\n\n{piped}" if piped else own


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(
            say(
                "the input is not UTF-8: byte 0x{byte:02x} at {at}",
                byte=data[exc.start],
                at=exc.start,
            ),
            hint="iconv -f GB18030 -t UTF-8 INPUT | qtool chat …",
        ) from exc
