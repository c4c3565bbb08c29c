"""Models in the Hugging Face cache, where many programs put them; nothing is asked of a hub.

Layout: https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from fnmatch import fnmatchcase
from pathlib import Path

from qtool.errors import NotFoundError, UsageError
from qtool.models.gguf_model import find_variants
from qtool.models.quants import select_quant
from qtool.models.reference import Reference

WEIGHTS = (".gguf", ".safetensors", ".bin", ".pt")


def find_in_hub_cache(reference: Reference, cache: Path) -> Path | None:
    """Return the snapshot of a repository that has what ``reference`` names.

    Of a reference with a file's name or pattern, return the first such file. ``None`` where there
    is no such snapshot, or it has no weights, or not that quantization.
    """
    snapshot = _find_snapshot(reference, cache)
    return find_in_folder(reference, snapshot) if snapshot is not None else None


def find_in_folder(reference: Reference, folder: Path) -> Path | None:
    """Return ``folder``, which holds files of the repository, if it has what ``reference`` names.

    Of a reference with a file's name or pattern, return the first such file.
    """
    files = sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in WEIGHTS and path.is_file()
    )
    if reference.filename is not None:
        wanted = reference.filename
        found = next((name for name in files if fnmatchcase(name, wanted)), None)
        return folder / found if found else None
    if not files or (reference.quant is not None and not _has_quant(folder, reference.quant)):
        return None
    return folder


def _find_snapshot(reference: Reference, cache: Path) -> Path | None:
    folder = cache / "--".join(["models", *(reference.repo_id or "").split("/")])
    revision = reference.revision or "main"
    try:
        commit = (folder / "refs" / revision).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        commit = revision
    if not commit or "/" in commit or commit.startswith("."):
        return None
    snapshot = folder / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _has_quant(folder: Path, quant: str) -> bool:
    try:
        select_quant(find_variants(folder), quant)
    except (NotFoundError, UsageError):
        return False
    return True
