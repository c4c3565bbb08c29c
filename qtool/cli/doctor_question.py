"""What ``qtool doctor`` is asked: about which machine, for which model, how deep to look."""

import os
import shlex
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qtool.cli.doctor_options import ExamineFlags
from qtool.doctor.finding import Goal
from qtool.errors import NotFoundError, UsageError
from qtool.language.message import say
from qtool.output import Output

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qtool.doctor.case import Case
    from qtool.doctor.snapshot import Snapshot
    from qtool.envs.environment import Environment
    from qtool.models.info import ModelInfo


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about a machine, whichever it is. ``repo_id``: where its model is from."""

    asked: ExamineFlags
    info: "ModelInfo | None"
    repo_id: str | None = None

    def about(self, snapshot: "Snapshot", goal_of_file: Goal | None = None) -> "Case":
        """Return the case of a snapshot."""
        from qtool.doctor.case import make_case

        goal = self.asked.goal or (None if self.info else goal_of_file)
        case = make_case(
            snapshot, goal, self.info, self.asked.n_ctx_tokens, environments=self._environments()
        )
        return replace(case, model_origin=self.repo_id)

    def _environments(self) -> "Iterable[Environment]":
        """Return what ``qtool env`` made here; of another machine's that is not known."""
        if self.asked.snapshot_file is not None:
            return ()
        from qtool.envs.store import Store

        return Store().all()

    def about_this_machine(self, output: Output) -> "Case":
        """Take a snapshot, as deep as asked, and return its case."""
        return self._measured(output, self.about(_obtain_snapshot(output, self.asked)[0]))

    def about_what_is_asked(self, output: Output) -> "Case":
        """Return the case of this machine, or of the snapshot that was named."""
        snapshot, goal_of_file = _obtain_snapshot(output, self.asked)
        _say_which_python(output, snapshot)
        return self._measured(output, self.about(snapshot, goal_of_file))

    def _measured(self, output: Output, case: "Case") -> "Case":
        if not self.asked.is_running:
            return case
        from qtool.cli.doctor_deep import run_kernels

        return run_kernels(output, self.asked, case)


def read_question(asked: ExamineFlags, output: Output) -> Question:
    """Return the question, its model's headers read; a goal that the model is not is left aside.

    Raises:
        NotFoundError: there is no such model.
        UsageError: a context is asked for that it was not made for.
    """
    info, repo_id = _inspect(asked.model, output) if asked.model else (None, None)
    if info and asked.n_ctx_tokens:
        _check_context(info, asked.n_ctx_tokens, asked.model)
    return Question(_about_the_model(asked, info, output) if info else asked, info, repo_id)


def _about_the_model(asked: ExamineFlags, info: "ModelInfo", output: Output) -> ExamineFlags:
    """Leave a goal aside that is another format than the model's, and say so.

    bitsandbytes is a way to run unquantized models.
    """
    from qtool.doctor.described import format_of
    from qtool.models.info import ModelFormat
    from qtool.models.local import title_of

    wanted = format_of(asked.goal)
    is_by_bnb = (wanted, info.format) == (ModelFormat.BITSANDBYTES, ModelFormat.PLAIN)
    if wanted in (None, info.format) or is_by_bnb:
        return asked
    output.note(
        say(
            "--goal {goal} is left aside: {model} is in the format {format}",
            goal=asked.goal,
            model=title_of(info.path),
            format=info.format.upper(),
        )
    )
    return replace(asked, goal=None)


def _inspect(text: str, output: Output) -> "tuple[ModelInfo, str | None]":
    """Read the headers of a model, here or on a hub; with its repository where that is known."""
    from qtool.cli.hub_model import is_repository, locate_here
    from qtool.config import Config
    from qtool.hub.auth import is_hub_offline
    from qtool.models.formats import inspect_model
    from qtool.models.origin import find_origin

    try:
        model = locate_here(text, Config(), output)
    except NotFoundError:
        if not is_repository(text) or is_hub_offline(os.environ):
            raise
        from qtool.cli.hub_headers import inspect_on_hub

        return inspect_on_hub(text, Config(), output)
    info = inspect_model(model.path, quant=model.quant)
    return info, find_origin(info.path)


def _check_context(info: "ModelInfo", wanted_tokens: int, model: str | None) -> None:
    """Refuse a context that the model was not made for, as ``qtool chat`` does.

    Raises:
        UsageError: it is longer than the model's own.
    """
    from qtool.models.local import title_of

    longest = info.context_length_tokens
    if longest and wanted_tokens > longest:
        raise UsageError(
            say("--ctx {wanted}: {model} was made for at most {longest} tokens",
                wanted=wanted_tokens, model=title_of(info.path), longest=longest),
            hint=f"qtool doctor {shlex.quote(model or '')} --ctx {longest}",
        )  # fmt: skip


def _obtain_snapshot(output: Output, examined: ExamineFlags) -> "tuple[Snapshot, Goal | None]":
    """Return the snapshot to look at, and the goal that a saved one names."""
    if examined.snapshot_file is not None:
        from qtool.doctor.snapshot_file import load

        return load(examined.snapshot_file)
    from qtool.doctor.probes.take import take_snapshot

    needs_bandwidth = examined.model is not None or examined.is_running
    snapshot = take_snapshot(os.environ, python=examined.python, needs_bandwidth=needs_bandwidth)
    if examined.is_deep:
        from qtool.cli.doctor_deep import import_modules

        snapshot = import_modules(output, examined, snapshot)
    return snapshot, None


def _say_which_python(output: Output, snapshot: "Snapshot") -> None:
    """Say that qtool's own environment was not examined, where one could think it was."""
    from qtool.doctor.probes.interpreter import FIRST_ON_PATH

    interpreter = snapshot.interpreter
    if (
        not interpreter
        or interpreter.chosen_because != FIRST_ON_PATH
        or sys.prefix == sys.base_prefix
    ):
        return
    output.note(
        say(
            "examined {path}, the first python3 on PATH, for no environment is active;",
            path=interpreter.path,
        )
    )
    output.note(
        say("for another: qtool doctor --python PATH (qtool's own: {prefix})", prefix=sys.prefix)
    )
