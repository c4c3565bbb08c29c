"""What a hub accepts as a repository name, a revision and a file name within a repository."""

import re
from typing import NamedTuple, NoReturn

from qtool.errors import UsageError

# validate_repo_id of huggingface_hub: ASCII letters, digits, - _ . ; at most 96 characters a part;
# no - or . at either end; neither -- nor .. ; not .git at the end.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?"
_REPO_ID = re.compile(rf"(?:{_PART}/)?{_PART}")
# What git refuses in a reference (git-check-ref-format), control characters and spaces apart.
_BAD_IN_REVISION = re.compile(r"[~^:?*\[\\]|\.\.|@\{|//|^[-/.]|/\.|[/.]$|\.lock(/|$)")
_QUANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_REVISION_CHARS = 250

_MODIFIER = re.compile(r"([:@])([^:@]*)")

REFERENCE_HINT = "qtool download org/name  (or org/name:Q4_K_M, org/name@revision, a hub URL)"


class RepoName(NamedTuple):
    """``org/name:QUANT@revision``, taken apart."""

    repo_id: str
    quant: str | None
    revision: str | None


def parse_repo_name(name: str, text: str) -> RepoName:
    """Parse ``org/name`` with ``:quant`` and ``@revision`` behind it, in either order.

    ``text`` is the whole reference, for the UsageError.
    """
    repo_id = re.split("[:@]", name, maxsplit=1)[0]
    modifiers = _MODIFIER.findall(name[len(repo_id) :])
    found = dict(modifiers)
    if len(found) != len(modifiers):
        bad_reference(text, "names two quantizations or two revisions")
    check_repo_id(repo_id, text)
    quant, revision = found.get(":"), found.get("@")
    return RepoName(
        repo_id,
        None if quant is None else check_quant(quant, text),
        None if revision is None else check_revision(revision, text),
    )


def is_repo_id(text: str) -> bool:
    """Whether ``text`` is a repository name: ``org/name``, or a bare legacy ``name``."""
    return (
        _REPO_ID.fullmatch(text) is not None
        and "--" not in text
        and ".." not in text
        and not text.endswith(".git")
    )


def check_repo_id(repo_id: str, text: str) -> None:
    """Raise UsageError about the reference ``text`` unless ``repo_id`` can be a repository."""
    if is_repo_id(repo_id):
        return
    if repo_id.count("/") > 1:
        reason = "it has one slash; a file in it is hf://org/name/file, a local one ./file"
    elif "--" in repo_id or ".." in repo_id:
        reason = "a repository name contains neither -- nor .."
    elif repo_id.endswith(".git"):
        reason = "a repository name does not end in .git"
    elif any(len(part) > 96 for part in repo_id.split("/")):
        reason = "each part of a repository name has at most 96 characters"
    else:
        reason = "letters, digits, - _ . are allowed in it, no - or . at either end"
    bad_reference(text, f"is not a repository name: {reason}")


def check_revision(revision: str, text: str) -> str:
    """Return a branch, tag, commit or ``refs/pr/N`` that git could have, or raise UsageError."""
    is_sound = (
        0 < len(revision) <= _MAX_REVISION_CHARS
        and is_clean(revision)
        and " " not in revision
        and not _BAD_IN_REVISION.search(revision)
    )
    if not is_sound:
        bad_reference(text, f"names the revision {shown(revision)}, which no repository can have")
    return revision


def check_quant(quant: str, text: str) -> str:
    """Return a quantization label as it was given, or raise UsageError."""
    if not _QUANT.fullmatch(quant):
        bad_reference(text, f"names the quantization {shown(quant)}; they are like Q4_K_M")
    return quant


def check_filename(filename: str, text: str) -> str:
    """Return a relative POSIX path inside a repository, or raise UsageError."""
    parts = filename.split("/")
    if not is_clean(filename) or "\\" in filename or any(p in {"", ".", ".."} for p in parts):
        bad_reference(text, f"names the file {shown(filename)}, which no repository can have")
    return filename


def is_clean(text: str) -> bool:
    """Whether ``text`` has no control, format or unassigned characters and no line breaks."""
    return text.isprintable()


def shown(text: str) -> str:
    """``text`` in quotes, shortened and with odd characters escaped, for a message."""
    return repr(text if len(text) <= 120 else text[:119] + "…")


def bad_reference(text: str, reason: str) -> NoReturn:
    """Raise UsageError about the reference ``text``."""
    raise UsageError(f"{shown(text)} {reason}", hint=REFERENCE_HINT)
