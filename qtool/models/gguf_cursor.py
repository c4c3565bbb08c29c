"""Forward reading of a binary header, with every length checked against what is left."""

import struct
from typing import Any, BinaryIO, Literal

from qtool.errors import IntegrityError
from qtool.models.weight_file import REFETCH_HINT

_CHUNK_BYTES = 2**20
_MAX_NAME_BYTES = 2**16  # of keys; tensor names are shorter still
_MAX_TEXT_BYTES = 2**26  # all text that is decoded, together
_MAX_ARRAY_ITEMS = 2**22  # all strings and arrays within arrays, together: under a second


class Cursor:
    """A position in a seekable binary file of known size.

    At most a chunk of 1 MiB or the value being read is in memory. What is decoded, and what has
    to be stepped over one by one, is charged to an allowance for the whole file.
    """

    def __init__(
        self,
        file: BinaryIO,
        name: str,
        *,
        byte_order: Literal["little", "big"] = "little",
        offset: int = 0,
    ) -> None:
        self.name = name
        self.byte_order = byte_order
        self.size = file.seek(0, 2)
        self._file = file
        self._buffer = b""
        self._buffer_offset = offset
        self._position = 0
        self._items_left = _MAX_ARRAY_ITEMS
        self._text_left = _MAX_TEXT_BYTES

    @property
    def offset(self) -> int:
        """Bytes from the start of the file."""
        return self._buffer_offset + self._position

    def peek(self, count: int) -> bytes:
        """The next bytes, fewer at the end of the file, without moving on."""
        count = min(count, self.size - self.offset)
        self._require(count)
        return self._buffer[self._position : self._position + count]

    def unpack(self, codes: str) -> tuple[Any, ...]:
        """Numbers by the format codes of `struct`, in the file's byte order, unpadded."""
        layout = struct.Struct(("<" if self.byte_order == "little" else ">") + codes)
        self._require(layout.size)
        values = layout.unpack_from(self._buffer, self._position)
        self._position += layout.size
        return values

    def skip(self, count: int) -> None:
        self._check_left(count)
        self._position += count

    def text(self) -> str:
        """A string that is free text; bytes that are not UTF-8 are replaced."""
        return self._text_bytes().decode("utf-8", errors="replace")

    def name_text(self, what: str) -> str:
        """A string that is a name, and therefore short and valid UTF-8."""
        offset = self.offset
        data = self._text_bytes(_MAX_NAME_BYTES)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as exc:
            raise IntegrityError(
                f"{self.name}: the {what} at offset {offset} is not UTF-8", hint=REFETCH_HINT
            ) from exc

    def skip_texts(self, count: int) -> None:
        """Step over an array of strings: the hot loop, once for every token and merge."""
        self.charge(count)
        unpack_length = struct.Struct("<Q" if self.byte_order == "little" else ">Q").unpack_from
        while count:
            self._require(8)
            buffer, position, done = self._buffer, self._position, 0
            last = len(buffer) - 8
            for done in range(1, count + 1):  # noqa: B007
                position += 8 + unpack_length(buffer, position)[0]
                if position > last:
                    break
            self.skip(position - self._position)
            count -= done

    def charge(self, count: int) -> None:
        """Take ``count`` off the number of items in arrays that one file may have."""
        if count > self._items_left:
            raise IntegrityError(
                f"{self.name}: an array of {count} items at offset {self.offset} is not credible"
                f" (at most {_MAX_ARRAY_ITEMS} in a file)",
                hint=REFETCH_HINT,
            )
        self._items_left -= count

    def _text_bytes(self, limit: int = _MAX_TEXT_BYTES) -> bytes:
        offset = self.offset
        (length,) = self.unpack("Q")
        self._check_left(length)
        if length > min(limit, self._text_left):
            raise IntegrityError(
                f"{self.name}: a text of {length} bytes at offset {offset} is too long to be one",
                hint=REFETCH_HINT,
            )
        self._text_left -= length
        self._require(length)
        data = self._buffer[self._position : self._position + length]
        self._position += length
        return data

    def _check_left(self, count: int) -> None:
        left = self.size - self.offset
        if count > left:
            raise IntegrityError(
                f"{self.name} is truncated or damaged: {count} bytes are needed at offset"
                f" {self.offset} of its header, {count - left} more than the file has",
                hint=REFETCH_HINT,
            )

    def _require(self, count: int) -> None:
        """Have the next ``count`` bytes in the buffer."""
        if self._position + count <= len(self._buffer):
            return
        self._check_left(count)
        offset = self.offset
        self._file.seek(offset)
        self._buffer = self._file.read(max(count, min(_CHUNK_BYTES, self.size - offset)))
        self._buffer_offset, self._position = offset, 0
        if len(self._buffer) < count:
            raise IntegrityError(f"{self.name} became shorter while it was being read")
