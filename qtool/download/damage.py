"""What can be wrong with a file in place. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from qtool.download.ranges import Range
from qtool.errors import IntegrityError
from qtool.hub.repo import RemoteFile
from qtool.units import format_size


class DamageKind(StrEnum):
    """How a file differs from what it should be."""

    MISSING = "missing"
    TOO_SHORT = "too short"
    TOO_LONG = "too long"
    CORRUPT = "corrupt"
    OUTDATED = "outdated"
    POINTER = "pointer"


_OF_UNKNOWN_ORIGIN = frozenset({DamageKind.TOO_SHORT, DamageKind.TOO_LONG, DamageKind.CORRUPT})


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a file.

    ``size_found_bytes`` is None where nothing was found. ``bad_ranges`` are the bytes to bring
    anew, empty where bytes are only to be cut off; None where it is not known which are wrong.
    ``is_text``: what was found looks like text, which people edit.
    """

    kind: DamageKind
    size_found_bytes: int | None
    bad_ranges: tuple[Range, ...] | None = None
    is_text: bool = False

    @property
    def is_edited(self) -> bool:
        """Return whether somebody may have changed the file: a text that nobody ever published."""
        return self.is_text and self.kind in _OF_UNKNOWN_ORIGIN

    @property
    def label(self) -> str:
        """Return the damage in a word or two."""
        return "changed" if self.is_edited else self.kind.value

    @property
    def bad_bytes(self) -> int | None:
        """Return how many bytes are to be brought anew, None where that is not known."""
        if self.bad_ranges is None:
            return None
        return sum(end - start for start, end in self.bad_ranges)

    @property
    def needs_content(self) -> bool:
        """Return whether more is to be done than giving right bytes their name, as in a cache."""
        return self.kind is not DamageKind.MISSING or self.bad_ranges != ()

    def described(self, file: RemoteFile) -> str:
        """Return what is wrong in words, without the file's name."""
        if self.is_edited:
            return "not as the hub has it; edited here?"
        found_bytes, expected = self.size_found_bytes or 0, format_size(file.size_bytes)
        match self.kind:
            case DamageKind.MISSING:
                return "not there"
            case DamageKind.TOO_SHORT:
                lacking = format_size(file.size_bytes - found_bytes)
                return f"{lacking} of {expected} are missing at the end{self._place()}"
            case DamageKind.TOO_LONG:
                surplus = format_size(found_bytes - file.size_bytes)
                return f"{surplus} too much, it should have {expected}{self._place()}"
            case DamageKind.OUTDATED:
                return "a good file, but of another commit"
            case DamageKind.POINTER:
                return "a Git LFS pointer in place of the content"
        return f"wrong content{self._place()}"

    def to_error(self, file: RemoteFile) -> IntegrityError:
        """Return the damage as the failure of a check."""
        return IntegrityError(f"{file.path}: {self.described(file)}")

    def _place(self) -> str:
        if not self.bad_ranges:
            return ""
        first = ", ".join(f"{start}-{end - 1}" for start, end in self.bad_ranges[:3])
        more = f" and {len(self.bad_ranges) - 3} more ranges" if len(self.bad_ranges) > 3 else ""
        return f" (bytes {first}{more})"
