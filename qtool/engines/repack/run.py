"""Repacking a model into the cache, or finding that it was."""

import os
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from qtool.engines.repack.fingerprint import digest, files_of, stamp
from qtool.engines.repack.refusal import NotRepackable, refuse_format
from qtool.engines.repack.store import RepackStore
from qtool.errors import IntegrityError, UsageError
from qtool.language.message import say
from qtool.models.gguf import MAGIC
from qtool.models.info import ModelInfo
from qtool.models.local import title_of

OnProgress = Callable[[float], None]
"""Told the fraction that is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class RepackResult:
    """A GGUF that holds the model. ``is_new``: it was made just now, of ``input_bytes``."""

    path: Path
    is_new: bool
    input_bytes: int
    output_bytes: int
    duration_s: float


def find_repacked(
    info: ModelInfo, store: RepackStore, *, is_embedding_q8: bool = False
) -> Path | None:
    """Return the GGUF in the cache, if the checkpoint was not touched since; reads no weights."""
    folder = _folder(info)
    mark = _stamp(folder, info, is_embedding_q8)
    found = store.find_by_stamp(folder, mark)
    return found.path if found else None


def repack(
    info: ModelInfo,
    store: RepackStore,
    *,
    target: Path | None = None,
    is_embedding_q8: bool = False,
    on_progress: OnProgress | None = None,
) -> RepackResult:
    """Make the GGUF of a checkpoint in the cache, or at ``target``; in the cache, only once.

    Raises:
        UsageError: ``target`` is a file that is no GGUF, such as one of the model's own, or lies
            in a folder that is not there.
        NotRepackable: llama.cpp has no exact form of the model.
        IntegrityError: the checkpoint is damaged, or was changed meanwhile.
        ResourceError: no room on the disk, or no permission.
    """
    begin = time.monotonic()
    refuse_format(info)
    folder = _folder(info)
    if target is not None:
        _require_free(target, files_of(folder, info.files))
    input_bytes = sum(file.stat().st_size for file in info.files)
    if target is None and (known := find_repacked(info, store, is_embedding_q8=is_embedding_q8)):
        return RepackResult(known, False, input_bytes, known.stat().st_size, 0.0)
    from qtool.engines.repack.plan import plan_repack
    from qtool.engines.repack.write import write_gguf

    mark = _stamp(folder, info, is_embedding_q8)
    try:
        plan = plan_repack(info, is_embedding_q8=is_embedding_q8)
    except NotRepackable as exc:
        raise exc.of(info) from None
    path, is_new = target, True
    if path is None:
        options = {"is_embedding_q8": is_embedding_q8}
        content = digest(files_of(folder, info.files), options)
        same = store.find_by_digest(content)
        path = (
            same.path
            if same
            else store.path_for(content, title_of(folder.resolve()).rpartition("/")[2])
        )
        is_new = same is None
    if is_new:

        def check() -> None:
            if _stamp(folder, info, is_embedding_q8) != mark:
                raise IntegrityError(
                    f"{folder} was changed while it was repacked", hint="run the same command again"
                )

        counted = _counted(on_progress, plan.n_bytes)
        # Not "-o": of `qtool chat`, which repacks unasked, that is the history.
        elsewhere = "QTOOL_CACHE=FOLDER" if target is None else "-o FILE"
        write_gguf(plan, path, on_bytes=counted, before_rename=check, elsewhere=elsewhere)
    if target is None:
        store.note_source(path, folder, mark)
    duration_s = time.monotonic() - begin
    return RepackResult(path, is_new, input_bytes, path.stat().st_size, duration_s)


def _require_free(target: Path, inputs: Iterable[Path]) -> None:
    """Refuse to replace anything but an older GGUF, or to make folders. Raises UsageError."""
    if not os.path.lexists(target.parent):
        missing = say("there is no folder {folder} for {name}",
                      folder=target.parent, name=target.name)  # fmt: skip
        raise UsageError(missing, hint=f"mkdir -p {shlex.quote(str(target.parent))}")
    problem = None
    try:
        if target.exists():
            problem = _what_else(target, inputs)
    except OSError as exc:
        problem = f"cannot be looked at: {exc.strerror}"
    if problem:
        raise UsageError(f"{target} {problem}", hint="choose another name: -o FILE.gguf")


def _what_else(target: Path, inputs: Iterable[Path]) -> str | None:
    """Say what a file is if not an older GGUF."""
    if any(target.samefile(file) for file in inputs):
        return "is a file of the model itself"
    if not target.is_file():
        return "is no file that could be replaced"
    with target.open("rb") as file:
        is_gguf = file.read(len(MAGIC)) == MAGIC
    return None if is_gguf else "is there already and is no GGUF: it is not overwritten"


def _counted(on_progress: OnProgress | None, total: int) -> Callable[[int], None]:
    done = 0

    def on_bytes(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        if on_progress is not None:
            on_progress(done / total)

    return on_bytes


def _stamp(folder: Path, info: ModelInfo, is_embedding_q8: bool) -> str:
    mark = stamp(files_of(folder, info.files))
    return f"{mark}-q8" if is_embedding_q8 else mark


def _folder(info: ModelInfo) -> Path:
    return info.path if info.path.is_dir() else info.path.parent
