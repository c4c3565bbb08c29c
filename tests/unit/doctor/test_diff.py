"""What changed between two snapshots, and the report as Markdown."""

import pytest

from qtool.doctor.case import make_case
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.diff import compare
from qtool.doctor.finding import Goal
from qtool.doctor.markdown import markdown_lines
from qtool.doctor.snapshot import ImportAttempt, ImportEnding, Snapshot
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.verdict import judge
from tests.unit.doctor.machines import case_of, machine, torch
from tests.unit.doctor.test_public_cases import CASES


def diff_of(before: dict, after: dict, goal: str | None = None):
    cases = [case_of(goal, **before), case_of(goal, **after)]
    one, two = (case.snapshot for case in cases)
    return compare(one, two, diagnose(cases[0]), diagnose(cases[1]))


def test_the_same_machine_has_no_difference() -> None:
    assert not diff_of({}, {})


@pytest.mark.parametrize(
    "fields", [{"ram_available_bytes": 1}, {"disk_free_bytes": 1}, {"unknown": {"x": "y"}}]
)
def test_what_differs_by_the_minute_does_not_count(fields: dict) -> None:
    assert not diff_of({}, fields)


def test_changes_name_field_and_key() -> None:
    diff = diff_of(
        {"dists": {"torch": "2.2.2", "gone": "1"}, "driver": "550.54"},
        {"dists": {"torch": "2.6.0", "new": "2"}, "driver": "580.1"},
    )

    changes = {one.field: (one.before, one.after) for one in diff.changes}
    assert changes == {
        "dists.torch": ("2.2.2", "2.6.0"),
        "dists.gone": ("1", None),
        "dists.new": (None, "2"),
        "driver": ("550.54", "580.1"),
    }


def test_findings_come_and_go() -> None:
    good = {"dists": {"torch": "2.3.1", "torchvision": "0.18.1"}, "torch": torch("2.3.1")}
    bad = {"dists": {"torch": "2.3.1", "torchvision": "0.19.0"}, "torch": torch("2.3.1")}

    worse, better = diff_of(good, bad, "plain"), diff_of(bad, good, "plain")

    assert "TORCHVISION-MISMATCH" in [one.code for one in worse.came]
    assert worse.went == ()
    assert [one.code for one in better.went] == [one.code for one in worse.came]


def test_names_that_only_one_of_them_lacks_are_no_difference() -> None:
    named, masked = (
        from_mapping(machine(env_vars={"HF_HOME": h})) for h in ("/home/me/hf", "~/hf")
    )

    def mask(value: dict) -> dict:
        return {
            **value,
            "env_vars": {"HF_HOME": value["env_vars"]["HF_HOME"].replace("/home/me", "~")},
        }

    assert compare(named, masked, (), ())
    assert not compare(named, masked, (), (), mask=mask)


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_markdown_says_everything_in_blocks_that_close(case: dict) -> None:
    known = make_case(from_mapping(case["env"]), Goal(case["goal"]))
    findings = diagnose(known)

    text = "\n".join(markdown_lines(known, findings, judge(known)))

    lines = text.splitlines()
    assert sum(line.startswith("```") for line in lines) % 2 == 0
    for finding in findings:
        assert f"`{finding.code}`" in text
        for fix in finding.fixes:
            assert all(command in lines for command in fix.commands)
    assert text.rstrip().endswith("</details>")


def test_markdown_does_not_take_text_for_markup() -> None:
    known = case_of("plain", interpreter={"path": "/home/<b>|x|/`python`"})

    text = "\n".join(markdown_lines(known, (), {}))

    table = text.partition("<details>")[0]
    assert "<b>" not in table.replace("\\<", "")
    assert "\\|x\\|" in table


def test_how_long_imports_took_is_no_difference() -> None:
    def deep(seconds: float) -> Snapshot:
        return Snapshot(
            imports={"torch": ImportAttempt(ImportEnding.IMPORTED, seconds=seconds)},
            import_results={},
            accelerators=(),
        )

    assert not compare(deep(1.0), deep(2.0), (), ())
    assert not compare(Snapshot(), deep(1.0), (), ())
