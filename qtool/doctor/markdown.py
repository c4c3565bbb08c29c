"""A diagnosis as Markdown, to paste into an issue: short to read, complete when unfolded."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from qtool.doctor.case import Case
from qtool.doctor.finding import Finding, Severity
from qtool.doctor.report import machine_words
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.snapshot_writer import to_mapping
from qtool.doctor.verdict import Verdict

_MARKS = {
    Severity.ERROR: "❌",
    Severity.WARNING: "⚠️",
    Severity.INFO: "ℹ️",
    Severity.OK: "✅",
}
_SPECIAL = re.compile(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))")
"""What Markdown could take for markup; an underscore inside a word is none."""


def markdown_lines(case: Case, findings: Sequence[Finding], verdict: Verdict) -> Iterator[str]:
    """Yield the report. It is not redacted yet; see ``sharing``."""
    from qtool import __version__

    yield "### qtool doctor"
    yield ""
    yield from _machine_table(case, __version__)
    if not findings:
        yield ""
        yield "Nothing wrong found."
    for finding in findings:
        yield from _finding_lines(finding)
    for name, one in verdict.items():
        if case.model is not None:
            mark = "✅ runs" if one.runs else "❌ does not run"
            yield ""
            yield f"**{name.upper()}** {mark}: {_plain(one.why)}"
    yield from _details("snapshot", json.dumps(to_mapping(case.snapshot), indent=1), "json")


def _machine_table(case: Case, version: str) -> Iterator[str]:
    snapshot = case.snapshot
    rows: list[tuple[str, Any]] = [
        ("machine", machine_words(case)),
        ("system", " ".join(str(w) for w in (snapshot.os.distro, snapshot.os.arch) if w)),
        ("driver, nvcc", f"{_word(snapshot.driver)}, {_word(snapshot.nvcc)}"),
        ("goal", case.goal or "none given"),
        ("qtool", version),
    ]
    yield "| | |"
    yield "|---|---|"
    yield from (f"| {name} | {_plain(str(value))} |" for name, value in rows)


def _word(value: object) -> str:
    return "unknown" if value is UNKNOWN else "none" if value is None else str(value)


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield ""
    yield f"#### {_MARKS[finding.severity]} `{finding.code}` {_plain(finding.title)}"
    yield ""
    yield _plain(finding.explanation)
    if finding.evidence:
        yield ""
        yield from (f"- seen: {_plain(text)}" for text in finding.evidence)
    for fix in finding.fixes:
        yield ""
        yield f"{_plain(fix.title)}:"
        yield from _fenced("\n".join(fix.commands), "sh")


def _details(title: str, text: str, language: str) -> Iterator[str]:
    yield ""
    yield f"<details><summary>{title}</summary>"
    yield ""
    yield from _fenced(text, language)
    yield ""
    yield "</details>"


def _fenced(text: str, language: str) -> Iterator[str]:
    """Yield a code block whose fence is longer than any within."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}{language}"
    yield text
    yield fence


def _plain(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
