"""How to complete a model that is damaged or not all there: from the repository it came from."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from qtool.models.weight_file import REFETCH_HINT

SOURCE_FILE = Path(".cache") / "qtool" / "source.json"
"""Where ``qtool download`` notes of a folder what repository its files are from."""


@dataclass(frozen=True, slots=True)
class Source:
    """A repository, and where its files lie: ``--cache``, or ``--local-dir`` and the folder."""

    repo_id: str
    revision: str
    place: str


def refetch_hint(path: Path) -> str:
    """Return the command that fetches what is missing or damaged of the model at ``path``.

    Without knowing where it came from, it can only be described.
    """
    is_file = path.suffix.lower() in (".gguf", ".safetensors")
    folder = path.parent if is_file else path
    source = _from_cache(folder) or noted_source(folder)
    if source is None:
        return REFETCH_HINT
    name = source.repo_id if source.revision == "main" else f"{source.repo_id}@{source.revision}"
    files = f" {shlex.quote(path.name)}" if path.suffix.lower() == ".gguf" else ""
    return f"qtool download {name}{files} {source.place}"


def _from_cache(folder: Path) -> Source | None:
    """Read the repository off a path in the Hugging Face cache."""
    snapshots = folder.parent
    kind, _, repo = snapshots.parent.name.partition("--")
    if snapshots.name != "snapshots" or kind != "models" or not repo:
        return None
    try:
        is_main = (snapshots.parent / "refs" / "main").read_text("ascii").strip() == folder.name
    except (OSError, ValueError):
        is_main = False
    return Source(repo.replace("--", "/"), "main" if is_main else folder.name, "--cache")


def noted_source(folder: Path) -> Source | None:
    """Return what ``qtool download`` has noted of ``folder``, None where there is no such note."""
    try:
        noted = json.loads((folder / SOURCE_FILE).read_bytes())
        repo_id, revision = str(noted["repo_id"]), str(noted["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Source(repo_id, revision, f"--local-dir {shlex.quote(str(folder))}")
