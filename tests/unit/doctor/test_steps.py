"""Which commands qtool runs itself, and that a plan made of them contradicts nothing."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.doctor.cures import plan_cures
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding, Fix, Severity
from qtool.doctor.snapshot import Interpreter
from qtool.doctor.steps import parse_step
from tests.unit.doctor.machines import case_of
from tests.unit.doctor.test_public_cases import CASES, diagnosis

PYTHON = "/my env/bin/python"
PIP = f'"{PYTHON}" -m pip'
UV = f'uv pip install --python "{PYTHON}"'


@pytest.mark.parametrize(
    ("command", "verb", "packages"),
    [
        (f"{PIP} uninstall -y torch torchvision", "uninstall", {"torch": "", "torchvision": ""}),
        (f'{PIP} install "torch>=2.8,<2.11" auto_gptq', "install",
         {"torch": ">=2.8,<2.11", "auto-gptq": ""}),
        (f'{UV} "autoawq[kernels]==0.2.7.post2"', "install", {"autoawq": "==0.2.7.post2"}),
        (f"{PIP} install -v --no-build-isolation --no-binary auto-gptq auto-gptq==0.7.1",
         "install", {"auto-gptq": "==0.7.1"}),
    ],
)  # fmt: skip
def test_installing_into_the_examined_python_is_a_step(
    command: str, verb: str, packages: dict[str, str]
) -> None:
    step = parse_step(command, PYTHON)

    assert step is not None
    assert (step.verb, step.packages) == (verb, packages)


@pytest.mark.parametrize(
    "command",
    [
        "sudo apt-get install -y cuda-toolkit-12-4",
        "export CUDA_HOME=/usr/local/cuda",
        "# in your code: from_pretrained(...)",
        "qtool find MODEL --format gguf",
        "/usr/bin/python3 -m pip install torch",
        f"{PIP} install torch; rm -rf /",
        f"{PIP} install torch && true",
        f"{PIP} install $(whoami)",
        f"{PIP} install git+https://example.com/x",
        f"{PIP} install ./x",
        f"{PIP} install -r requirements.txt",
        f"{PIP} install --target /usr torch",
        f"{PIP} install",
        f"{PIP} check",
        f"LD_PRELOAD=/x.so {PIP} install torch",
        f'{PIP} install "torch',
    ],
)
def test_nothing_else_is(command: str) -> None:
    assert parse_step(command, PYTHON) is None


def test_variables_and_index_are_taken_apart() -> None:
    step = parse_step(f"MAX_JOBS=2 {PIP} install torch --index-url https://i/cpu", PYTHON)

    assert step is not None
    assert step.variables == {"MAX_JOBS": "2"}
    assert step.argv[0] == PYTHON
    assert step.index_url == "https://i/cpu"


def finding(code: str, *fixes: tuple[str, ...], severity: Severity = Severity.ERROR) -> Finding:
    return Finding(code, severity, code, "", (), tuple(Fix("", fix) for fix in fixes))


CASE = case_of(interpreter={"path": "/e/bin/python"})
INSTALL = "/e/bin/python -m pip install "
REMOVE = "/e/bin/python -m pip uninstall -y "


def test_the_first_fix_that_qtool_can_apply_is_taken() -> None:
    plan = plan_cures(CASE, [finding("A", ("sudo x",), (INSTALL + "a==1",), (INSTALL + "b",))])

    assert [step.command for step in plan.steps] == [INSTALL + "a==1"]


def test_what_only_the_user_can_do_is_left_to_the_user() -> None:
    plan = plan_cures(CASE, [finding("A", ("sudo reboot",))])

    assert plan.cures == ()
    assert [one.code for one in plan.by_hand] == ["A"]


@pytest.mark.parametrize("second", [INSTALL + "a==2", REMOVE + "a"])
def test_a_contradiction_waits_for_the_next_round(second: str) -> None:
    plan = plan_cures(CASE, [finding("A", (INSTALL + "a==1",)), finding("B", (second,))])

    assert [cure.code for cure in plan.cures] == ["A"]
    assert plan.later == ("B",)


def test_the_same_command_runs_once() -> None:
    plan = plan_cures(CASE, [finding("A", (INSTALL + "a==1",)), finding("B", (INSTALL + "a==1",))])

    assert len(plan.cures) == 2
    assert len(plan.steps) == 1


def test_warnings_are_cured_where_there_is_no_error() -> None:
    warning = finding("W", (INSTALL + "w",), severity=Severity.WARNING)

    assert plan_cures(CASE, [warning]).cures
    assert [c.code for c in plan_cures(CASE, [finding("A", (INSTALL + "a",)), warning]).cures] == [
        "A"
    ]


def test_what_failed_or_cannot_be_reached_gives_way_to_the_next() -> None:
    first, second = INSTALL + "a --index-url https://gone", INSTALL + "a"
    found = [finding("A", (first,), (second,))]

    assert plan_cures(CASE, found).indexes == {"https://gone": "a"}
    for options in ({"unreachable": frozenset({"https://gone"})}, {"tried": frozenset({first})}):
        assert [s.command for s in plan_cures(CASE, found, **options).steps] == [second]


@given(st.sampled_from(CASES), st.sampled_from(CASES))
def test_no_plan_wants_a_package_in_two_ways(case: dict, other: dict) -> None:
    machine = case_of()
    machine = replace(
        machine, snapshot=replace(machine.snapshot, interpreter=Interpreter("python", ""))
    )
    plan = plan_cures(machine, [*diagnosis(case), *diagnosis(other)])

    wishes: dict[str, set[str]] = {}
    for cure in plan.cures:
        last: dict[str, str] = {}
        for step in cure.steps:
            for name, versions in step.packages.items():
                last[name] = "-" if step.verb == "uninstall" else versions
        for name, wish in last.items():
            wishes.setdefault(name, set()).add(wish)
    assert all(len(wish - {""}) <= 1 for wish in wishes.values())


def test_every_public_case_can_be_planned() -> None:
    for case in CASES:
        machine = case_of(**case["env"])
        plan = plan_cures(machine, diagnose(machine))
        planned = {cure.code for cure in plan.cures} | set(plan.later)
        assert planned.isdisjoint(one.code for one in plan.by_hand)
