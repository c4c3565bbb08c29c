"""A change stays only if it helped; in every other case the environment is as it was."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qtool.doctor.apply import Surgeon, lock_of
from qtool.doctor.cures import Cure, CurePlan
from qtool.doctor.finding import Finding, Fix, Severity
from qtool.doctor.snapshot import Snapshot
from qtool.doctor.steps import Step, parse_step
from qtool.envs.events import Event, StepStarted
from qtool.errors import EnvironmentFault

TOUCH = "import pathlib, sys; pathlib.Path(sys.argv[1], 'lib', 'new').touch()"


def finding(code: str, severity: Severity = Severity.ERROR) -> Finding:
    return Finding(code, severity, code, "", ())


def step(prefix: Path, script: str = TOUCH, name: str = "touch") -> Step:
    return Step(name, (sys.executable, "-c", script, str(prefix)), {}, "install", {"x": ""})


def plan_of(*steps: Step, codes: tuple[str, ...] = ("A",)) -> CurePlan:
    return CurePlan(tuple(Cure(code, Fix("", ()), steps) for code in codes))


class Theatre:
    """An environment to operate in, and what was told of it."""

    def __init__(self, prefix: Path, surgeon: Surgeon, events: list[Event]) -> None:
        self.prefix, self.surgeon, self.events = prefix, surgeon, events

    def operate(self, plan: CurePlan, before: list[Finding], after: list[Finding]):
        examine = lambda: (Snapshot(), tuple(after))  # noqa: E731
        return self.surgeon.operate(plan, Snapshot(dists={}), before, examine)

    @property
    def is_changed(self) -> bool:
        return (self.prefix / "lib" / "new").exists()


@pytest.fixture
def theatre(tmp_path: Path) -> Iterator[Theatre]:
    prefix, events = tmp_path / "env", []
    (prefix / "lib").mkdir(parents=True)
    (prefix / "pyvenv.cfg").touch()
    with lock_of(prefix, tmp_path) as lock, (tmp_path / "log").open("wb") as log:
        yield Theatre(prefix, Surgeon(prefix, lock, log, events.append), events)
    assert not (prefix / ".qtool-fix").exists()


@pytest.mark.parametrize(
    ("before", "after", "codes", "is_kept"),
    [
        (["A"], [], ("A",), True),
        (["A"], ["A"], ("A",), False),
        (["A"], ["B"], ("A",), False),
        (["A", "B"], ["B"], ("A",), True),
        (["A", "B"], ["B"], ("A", "B"), True),
        (["A", "B"], ["A", "B"], ("A", "B"), False),
    ],
)
def test_it_is_kept_only_if_it_helped(
    theatre: Theatre, before: list[str], after: list[str], codes: tuple[str, ...], is_kept: bool
) -> None:
    plan = plan_of(step(theatre.prefix), codes=codes)

    outcome = theatre.operate(plan, list(map(finding, before)), list(map(finding, after)))

    assert outcome.is_kept is is_kept
    assert theatre.is_changed is is_kept
    assert (outcome.why_not is None) is is_kept


def test_an_error_that_became_a_warning_is_not_gone(theatre: Theatre) -> None:
    after = [finding("A", Severity.WARNING)]

    assert not theatre.operate(plan_of(step(theatre.prefix)), [finding("A")], after).is_kept


def test_a_step_that_fails_ends_it_and_undoes_what_came_before(theatre: Theatre) -> None:
    fails = step(theatre.prefix, "import sys; sys.exit('no such wheel')", "second")
    never = step(theatre.prefix, name="third")

    outcome = theatre.operate(plan_of(step(theatre.prefix), fails, never), [finding("A")], [])

    assert not outcome.is_kept
    assert not theatre.is_changed
    assert outcome.why_not is not None
    assert "“second” ended with code 1" in outcome.why_not.message
    assert "no such wheel" in outcome.why_not.message
    titles = [event.title for event in theatre.events if isinstance(event, StepStarted)]
    assert titles == ["touch", "second"]


def test_what_goes_wrong_while_looking_again_undoes_it_too(theatre: Theatre) -> None:
    def examine() -> tuple[Snapshot, tuple[Finding, ...]]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        theatre.surgeon.operate(plan_of(step(theatre.prefix)), Snapshot(), (), examine)

    assert not theatre.is_changed


def fake_pip(folder: Path) -> Path:
    """Write an interpreter that notes its arguments and the constraints it is given."""
    path = folder / "python"
    path.write_text(
        '#!/bin/sh\necho "$@" >> "$0.said"\n'
        'while [ "$1" != --constraint ]; do shift; done; cat "$2" >> "$0.said"\n'
        'case "$*" in *impossible*) echo "ResolutionImpossible"; exit 1;;\n'
        '*ancient*) echo "no such option: --dry-run"; exit 2;; esac\n'
    )
    path.chmod(0o755)
    return path


def rehearse(theatre: Theatre, tmp_path: Path, *commands: str) -> tuple[bool, str]:
    python = fake_pip(tmp_path)
    steps = [parse_step(f"{python} -m pip {command}", str(python)) for command in commands]
    is_whole = theatre.surgeon.rehearse([one for one in steps if one], tmp_path)
    said = tmp_path / "python.said"
    return is_whole, said.read_text() if said.exists() else ""


def test_a_rehearsal_holds_each_step_to_those_before(theatre: Theatre, tmp_path: Path) -> None:
    is_whole, said = rehearse(
        theatre,
        tmp_path,
        "uninstall -y torch",
        "install torch==2.6.0 --index-url https://i/cu124",
        'install "autoawq[kernels]==0.2.7" transformers',
        "install accelerate",
    )

    assert is_whole
    assert "uninstall" not in said
    first, second, constraint, third, *constraints = said.splitlines()
    assert "--dry-run" in first
    assert first.endswith("torch==2.6.0 --index-url https://i/cu124")
    assert "--extra-index-url" not in first
    assert "--extra-index-url https://i/cu124 autoawq[kernels]==0.2.7" in second
    assert constraint == "torch==2.6.0"
    assert third.endswith("accelerate")
    assert constraints == ["torch==2.6.0", "autoawq==0.2.7"]


def test_what_cannot_be_resolved_ends_it_before_it_begins(theatre: Theatre, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="ResolutionImpossible"):
        rehearse(theatre, tmp_path, "install impossible")


@pytest.mark.parametrize(
    "command", ["install ancient", "install --no-build-isolation flash-attn==2.8.3"]
)
def test_what_cannot_be_foretold_is_said(theatre: Theatre, tmp_path: Path, command: str) -> None:
    assert rehearse(theatre, tmp_path, command)[0] is False
