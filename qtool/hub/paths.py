"""Names of files in a repository that may be written to a disk.

A hub, or someone between it and us, may list any string. What could leave the target folder, or
mean another file on another system, is refused before anything is written.
"""

import os
import re

from qtool.errors import EnvironmentFault, IntegrityError

# C0, DEL, C1, line and paragraph separators, what turns the direction of writing, and surrogates.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_RESERVED_ON_WINDOWS = frozenset(
    ["con", "prn", "aux", "nul"]
    + [f"{device}{digit}" for device in ("com", "lpt") for digit in "123456789¹²³"]
)
_MAX_PART_BYTES = 255


def check_path(path: str) -> None:
    """Raise IntegrityError when ``path`` is not a plain relative path with ``/`` between names.

    Raises EnvironmentFault when this system's encoding of names (see ``locale``) does not have it.
    """
    reason = _objection(path)
    if reason is not None:
        raise IntegrityError(
            f"the hub lists a file name that is not safe to write: {path[:200]!r} ({reason})",
            hint="nothing was written; report this repository to the hub, or leave the file out "
            "by naming the files you need",
        )
    try:
        os.fsencode(path)
    except UnicodeEncodeError as exc:
        raise EnvironmentFault(
            f"{path!r} cannot be the name of a file here: names are in {exc.encoding}",
            hint="LC_ALL=C.UTF-8 qtool …",
        ) from exc


def has_control(text: str) -> bool:
    """Return whether a text holds characters that could steer or fool a terminal."""
    return _CONTROL.search(text) is not None


def printable(text: str) -> str:
    """Return what a hub says without the characters that could steer or fool a terminal."""
    return _CONTROL.sub("", text)


def _objection(path: str) -> str | None:
    if not path or len(path) > 4096:
        return "empty or too long"
    if has_control(path):
        return "control character"
    if "\\" in path:
        return "backslash"
    if path.startswith("/"):
        return "absolute path"
    if len(path) > 1 and path[1] == ":" and path[0].isalpha():
        return "drive letter"
    for part in path.split("/"):
        if (reason := _objection_to_part(part)) is not None:
            return reason
    return None


def _objection_to_part(part: str) -> str | None:
    if part in ("", ".", ".."):
        return f"path segment {part!r}"
    if len(part.encode()) > _MAX_PART_BYTES:
        return "a name longer than 255 bytes"
    if part.split(".")[0].rstrip(" ").casefold() in _RESERVED_ON_WINDOWS:
        return "reserved device name"
    return None
