"""Opening files that hold weights, and recognising what is often found in their place."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from qtool.errors import IntegrityError, NotFoundError, UsageError
from qtool.language.message import say

REFETCH_HINT = say("fetch it again: qtool download REPO (resumes, and verifies every file)")


def is_file(path: Path) -> bool:
    """Whether this is a regular file, or a link to one; never raises, whatever the path."""
    return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises on some errors


def is_folder(path: Path) -> bool:
    """Whether this is a folder, or a link to one; never raises, whatever the path."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises on some errors


def list_names(folder: Path) -> list[str]:
    """The names in a folder.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return os.listdir(folder)  # noqa: PTH208 - names are what is wanted
    except OSError as exc:
        raise UsageError(f"{folder} cannot be read: {exc.strerror}") from exc


@contextmanager
def open_weights(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading in binary; anything else (a pipe, a device) is refused.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it may not be read, or is not a regular file.
        IntegrityError: reading it failed half-way (a bad disk, a lost network drive).
    """
    if not os.path.lexists(path):
        raise NotFoundError(f"there is no file {path}")
    if not is_file(path):
        raise UsageError(f"{path} is not a regular file, or may not be seen")
    try:
        file = path.open("rb")
    except OSError as exc:
        raise UsageError(f"{path} cannot be opened: {exc.strerror}") from exc
    with file:
        try:
            yield file
        except OSError as exc:
            raise IntegrityError(f"{path} cannot be read: {exc.strerror}") from exc


def beginning(head: bytes) -> str:
    """Say how a file begins: as text where it is some, else in hexadecimal."""
    start = head[:8]
    if not start:
        return "it is empty"
    is_text = start.isascii() and start.decode("ascii").isprintable()
    return f"it starts with {repr(start.decode('ascii')) if is_text else start.hex(' ')}"


def impostor(head: bytes) -> str | None:
    """Say what a file is that should have been weights, judged by its first bytes, if known."""
    start = head.lstrip()[:64].lower()
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer instead of the file it stands for"
    if start.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return "a web page instead of a model (an error or login page saved under its name)"
    if head and not head.strip(b"\0"):
        return "filled with zeros (a download that reserved its space and never finished)"
    return None
