"""Carrying out a plan of cures in the examined environment, so that it is right or as before."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qtool.doctor.backup import Backup
from qtool.doctor.case import Case
from qtool.doctor.cures import CurePlan
from qtool.doctor.environments import recipe_for
from qtool.doctor.finding import Finding, Severity
from qtool.doctor.snapshot import UNKNOWN, Snapshot
from qtool.doctor.steps import Step
from qtool.envs import failure
from qtool.envs.events import OnEvent, StepStarted, ToolSaid
from qtool.envs.installers import for_children
from qtool.envs.task import PATIENCE_S, run
from qtool.errors import EnvironmentFault, QtoolError, UsageError
from qtool.language.message import say
from qtool.locks import ProcessLock

Examine = Callable[[], tuple[Snapshot, tuple[Finding, ...]]]
"""Takes a new snapshot of the environment and returns it with its findings."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an environment.

    Attributes:
        is_kept: The change stays; else everything is as it was before.
        snapshot: Taken after the change, also where it was undone.
        findings: Of that snapshot.
        why_not: Why it was undone.
        altered: Files that could not be put back, for somebody wrote into them.
    """

    is_kept: bool
    snapshot: Snapshot | None = None
    findings: tuple[Finding, ...] = ()
    why_not: QtoolError | None = None
    altered: tuple[str, ...] = ()


def environment_of(case: Case, store: Path) -> Path:
    """Return the folder of the examined environment, where it may be changed.

    ``store`` holds the environments of ``qtool env``, which are tested sets and stay as they are.

    Raises:
        EnvironmentFault: it is a system's Python, or not ours to change; says what to do instead.
    """
    interpreter = case.snapshot.interpreter
    if interpreter is UNKNOWN:
        raise UsageError(
            say("there is no interpreter to cure"), hint="qtool doctor --fix --python PATH"
        )
    prefix = Path(interpreter.path).parent.parent
    instead = f"qtool env create {recipe_for(case)}"
    if store in prefix.parents:
        name = prefix.relative_to(store).parts[0]
        raise EnvironmentFault(
            say(
                "{prefix} is the environment {name} of qtool env: a tested set, not to be changed",
                prefix=prefix,
                name=name,
            ),
            hint=f"qtool env create {name} --force",
        )
    if interpreter.is_externally_managed or not _is_environment(prefix):
        raise EnvironmentFault(
            say(
                "{path} is no virtual environment but a Python that other programs of this system "
                "use; qtool does not change it",
                path=interpreter.path,
            ),
            hint=instead,
        )
    if not os.access(prefix, os.W_OK):
        raise EnvironmentFault(say("{prefix} may not be written to", prefix=prefix), hint=instead)
    return prefix


def _is_environment(prefix: Path) -> bool:
    """Tell whether it is a virtual environment, or one of conda's other than its base."""
    is_conda = (prefix / "conda-meta").is_dir() and not (prefix / "condabin").is_dir()
    return is_conda or (prefix / "pyvenv.cfg").is_file()


def lock_of(prefix: Path, state: Path) -> ProcessLock:
    """Return the lock on an environment; it lies in ``state``, not in the user's environment."""
    name = hashlib.sha256(str(prefix).encode()).hexdigest()[:16]
    work = say("at work on {prefix}", prefix=prefix)
    return ProcessLock(state / "locks" / name, work, patience_s=PATIENCE_S)


class Surgeon:
    """Runs steps in one environment, under its lock."""

    def __init__(self, prefix: Path, lock: ProcessLock, log: IO[bytes], on_event: OnEvent) -> None:
        """Work in ``prefix``; installers' words go to ``log`` and ``on_event``."""
        self._prefix = prefix
        self._lock = lock
        self._log = log
        self._on_event = on_event
        self._environ = for_children(os.environ)
        self._backup = Backup(prefix)

    def rehearse(self, steps: Sequence[Step], scratch: Path) -> bool:
        """Let the installer resolve the steps without installing; tell whether it could.

        Each step is held to what those before it will have brought. Steps that compile cannot be
        foretold, nor can an old pip, and are passed over.

        Raises:
            QtoolError: they cannot be satisfied, or the index cannot be reached.
        """
        settled: list[Step] = []
        is_whole = True
        installs = [step for step in steps if step.verb == "install"]
        for index, step in enumerate(installs, 1):
            title = say("resolve: {command}", command=step.command)
            self._on_event(StepStarted(index, len(installs), title))
            constraints = scratch / "constraints.txt"
            constraints.write_text(_constraints(settled), encoding="utf-8")
            settled.append(step)
            argv = _dry(step, settled, constraints)
            if step.builds or not self._rehearse_one(step, argv):
                is_whole = False
        return is_whole

    def _rehearse_one(self, step: Step, argv: Sequence[str]) -> bool:
        code, lines = self._run(argv, step.variables)
        if code and any("no such option: --dry-run" in line for line in lines):
            return False
        if code:
            raise self._failure(say("rehearse: {command}", command=step.command), code, lines)
        return True

    def operate(
        self, plan: CurePlan, before: Snapshot, findings: Sequence[Finding], examine: Examine
    ) -> Outcome:
        """Apply the plan, look again, and keep the change only if it helped.

        It helped if one of the findings that it is for is gone and no error is new. Interrupted,
        it puts everything back first; killed, the next run finds what to put back.

        Raises:
            KeyboardInterrupt: after everything was put back.
        """
        dists = {} if before.dists is UNKNOWN else before.dists
        self._backup.take([step.command for step in plan.steps], dists)
        try:
            self._apply(plan.steps)
            snapshot, now = examine()
            why_not = _why_not(frozenset(cure.code for cure in plan.cures), findings, now)
        except QtoolError as exc:
            return Outcome(False, why_not=exc, altered=tuple(self._backup.restore()))
        except BaseException:
            self._backup.restore()
            raise
        if why_not is not None:
            altered = tuple(self._backup.restore())
            return Outcome(False, snapshot, now, why_not, altered)
        self._backup.drop()
        return Outcome(True, snapshot, now)

    def _apply(self, steps: Sequence[Step]) -> None:
        for index, step in enumerate(steps, 1):
            self._on_event(StepStarted(index, len(steps), step.command))
            code, lines = self._run(step.argv, step.variables)
            if code:
                raise self._failure(step.command, code, lines)

    def _run(self, argv: Sequence[str], variables: Mapping[str, str]) -> tuple[int, list[str]]:
        return run(
            argv,
            log=self._log,
            on_line=lambda line: self._on_event(ToolSaid(line)),
            environ={**self._environ, **variables},
            held=[self._lock.fd],
        )

    def _failure(self, title: str, code: int, lines: list[str]) -> QtoolError:
        return failure.of_step(title, code, lines, Path(self._log.name), str(self._prefix))


def _constraints(steps: Sequence[Step]) -> str:
    """Return what steps ask for as lines of a constraints file."""
    wanted = {name: versions for step in steps for name, versions in step.packages.items()}
    return "".join(f"{name}{versions}\n" for name, versions in wanted.items() if versions)


def _dry(step: Step, settled: Sequence[Step], constraints: Path) -> list[str]:
    """Return the rehearsal of a step: other steps' indexes may have what it needs as well."""
    at = step.argv.index("install") + 1
    urls = dict.fromkeys(one.index_url for one in settled if one.index_url)
    extra = [word for url in urls for word in ("--extra-index-url", url) if url != step.index_url]
    dry = ["--dry-run", "--constraint", str(constraints), *extra]
    return [*step.argv[:at], *dry, *step.argv[at:]]


def _why_not(
    cured: frozenset[str], before: Sequence[Finding], now: Sequence[Finding]
) -> QtoolError | None:
    """Say why a change did not help, ``None`` where it did."""
    still = cured & {one.code for one in now if one.severity in (Severity.ERROR, Severity.WARNING)}
    if still == cured:
        codes = _words(still)
        return EnvironmentFault(say("all steps went well, and {codes} is still there", codes=codes))
    new = _errors(now) - _errors(before)
    if not new:
        return None
    return EnvironmentFault(say("all steps went well, but brought {codes}", codes=_words(new)))


def _errors(findings: Sequence[Finding]) -> frozenset[str]:
    return frozenset(one.code for one in findings if one.severity is Severity.ERROR)


def _words(codes: frozenset[str]) -> str:
    return ", ".join(sorted(codes))
