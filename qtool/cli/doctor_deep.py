"""``qtool doctor --deep`` and ``--run``: real imports and real kernels, with a line about each."""

import os
import shlex
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from qtool.cli.doctor_options import ExamineFlags
from qtool.language.message import Message, say
from qtool.output import Output

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qtool.doctor.case import Case
    from qtool.doctor.snapshot import Snapshot
    from qtool.models.info import ModelInfo

LINE_EVERY_S = 5.0


def import_modules(output: Output, asked: ExamineFlags, snapshot: "Snapshot") -> "Snapshot":
    """Return the snapshot with what became of importing each module of interest."""
    from qtool.doctor.deep.imports import look_deeper

    progress = _Progress(output, lambda name: say("importing {name}", name=name))
    seen = look_deeper(snapshot, os.environ, timeout_s=asked.timeout_s, on_start=progress.show)
    output.status()
    return seen


def run_kernels(output: Output, asked: ExamineFlags, case: "Case") -> "Case":
    """Return the case with what became of running each kernel."""
    from qtool.doctor.deep import kernel_runs
    from qtool.doctor.deep.kernel_tasks import plan_kernels

    tasks = plan_kernels(case, gguf_to_decode(case))
    progress = _Progress(output, lambda kind: say("running the {kind} kernel", kind=kind))
    snapshot = kernel_runs.run_kernels(
        case.snapshot, tasks, os.environ, timeout_s=asked.timeout_s, on_start=progress.show
    )
    output.status()
    return replace(case, snapshot=snapshot)


def say_what_was_not_run(output: Output, case: "Case") -> None:
    """Say below the report what ``--run`` had nothing to run of."""
    from qtool.doctor.repacked import runs_repacked

    if case.model is not None and not case.model.path.exists():
        name = shlex.quote(str(case.model.path))
        output.note(say("not run: the model is not here yet: qtool download {name}", name=name))
    elif case.model is not None and runs_repacked(case) and gguf_to_decode(case) is None:
        path = shlex.quote(str(case.model.path))
        output.note(
            say("not run: llama.cpp can be once this has been done: qtool repack {path}", path=path)
        )
    elif not case.snapshot.kernel_runs:
        output.note(say("no kernel to run: the examined Python has no torch, and there is no GGUF"))


class _Progress:
    """Says what is going on: in place on a terminal, else a plain line every few seconds."""

    def __init__(self, output: Output, words: "Callable[[str], Message]") -> None:
        self._output, self._words = output, words
        self._next_line_at = time.monotonic() + LINE_EVERY_S

    def show(self, what: str) -> None:
        """Say that ``what`` begins."""
        self._output.status(self._words(what))
        if not self._output.is_animated and time.monotonic() >= self._next_line_at:
            self._next_line_at = time.monotonic() + LINE_EVERY_S
            self._output.note(self._words(what))


def gguf_to_decode(case: "Case") -> "Path | None":
    """Return the model's file if it fits into memory: what it was repacked to, where it is.

    Without a model a starter that is here.
    """
    from qtool.doctor.repacked import runs_repacked
    from qtool.models.info import ModelFormat

    if case.model is None:
        return _starter_here()
    if not case.model.path.exists():
        return None  # it is on a hub
    if runs_repacked(case):
        return _repacked_here(case.model)
    if case.model.format is not ModelFormat.GGUF or case.model.missing_files:
        return None
    free = case.snapshot.ram_available_bytes or None
    is_too_large = free is not None and case.model.weights_bytes > free
    return case.model.files[0] if case.model.files and not is_too_large else None


def _repacked_here(model: "ModelInfo") -> "Path | None":
    from qtool.config import Config
    from qtool.engines.repack.run import find_repacked
    from qtool.engines.repack.store import RepackStore

    return find_repacked(model, RepackStore(Config().cache_dir()))


def _starter_here() -> "Path | None":
    from qtool.config import Config
    from qtool.models.starters import load_starters, starter_path

    paths = [starter_path(one, Config().cache_dir()) for one in load_starters()]
    return next((path for path in paths if path.is_file()), None)
