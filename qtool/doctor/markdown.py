"""A diagnosis as Markdown, to paste into an issue: short to read, complete when unfolded."""

import json
import re
from collections.abc import Iterator, Sequence

from qtool.doctor.case import Case
from qtool.doctor.finding import Finding, Severity
from qtool.doctor.lines import translated
from qtool.doctor.machine_words import machine_words
from qtool.doctor.report import verdict_lines
from qtool.doctor.snapshot import UNKNOWN, Unknown
from qtool.doctor.snapshot_writer import to_mapping
from qtool.doctor.verdict import Verdict
from qtool.language.message import say, together
from qtool.language.translation import Language, translate

_MARKS = {
    Severity.ERROR: "❌",
    Severity.WARNING: "⚠️",
    Severity.INFO: "ℹ️",
    Severity.OK: "✅",
}
_SPECIAL = re.compile(r"([\\`*\[\]<>|#]|(?<!\w)_|_(?!\w))")
"""What Markdown could take for markup; an underscore inside a word is none."""


def markdown_lines(
    case: Case,
    findings: Sequence[Finding],
    verdict: Verdict,
    language: Language = Language.ENGLISH,
) -> Iterator[str]:
    """Yield the report. It is not redacted yet; see ``sharing``."""
    from qtool import __version__

    yield "### qtool doctor"
    yield ""
    yield from _machine_table(case, __version__, language)
    if not findings:
        yield ""
        yield translate(say("Nothing wrong found."), language)
    for finding in findings:
        yield from _finding_lines(finding, language)
    for name, one in verdict.items():
        if case.model is not None:
            mark = say("✅ runs") if one.runs else say("❌ does not run")
            why = _plain(translate(one.why, language))
            yield ""
            yield f"**{name.upper()}** {translate(mark, language)}: {why}"
            yield ""
            _, *others = verdict_lines(case.model, name, one)
            details = [line.text for line in translated(others, language)]
            yield from _fenced("\n".join(details), "text") if details else ()
    yield from _details("snapshot", json.dumps(to_mapping(case.snapshot), indent=1), "json")


def _machine_table(case: Case, version: str, language: Language) -> Iterator[str]:
    snapshot = case.snapshot
    rows: tuple[tuple[str, str], ...] = (
        (say("machine"), machine_words(case)),
        (say("system"), " ".join(str(w) for w in (snapshot.os.distro, snapshot.os.arch) if w)),
        (say("driver, nvcc"), together((_word(snapshot.driver), _word(snapshot.nvcc)), ", ")),
        (say("goal"), case.goal or say("none given")),
        ("qtool", version),
    )
    yield "| | |"
    yield "|---|---|"
    for name, value in rows:
        yield f"| {translate(name, language)} | {_plain(translate(value, language))} |"


def _word(value: str | Unknown | None) -> str:
    return say("unknown") if value is UNKNOWN else value or say("none")


def _finding_lines(finding: Finding, language: Language) -> Iterator[str]:
    title = _plain(translate(finding.title, language))
    yield ""
    yield f"#### {_MARKS[finding.severity]} `{finding.code}` {title}"
    yield ""
    yield _plain(translate(finding.explanation, language))
    if finding.evidence:
        seen = translate(say("seen"), language)
        yield ""
        yield from (f"- {seen}: {_plain(text)}" for text in finding.evidence)
    for fix in finding.fixes:
        yield ""
        yield f"{_plain(translate(fix.title, language))}:"
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
