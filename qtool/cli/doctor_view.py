"""How a diagnosis, a plan of cures and a difference look on a terminal."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from qtool.language.message import Message, say, together
from qtool.output import Output, Style

if TYPE_CHECKING:
    from qtool.doctor.cures import CurePlan
    from qtool.doctor.diff import Change, SnapshotDiff
    from qtool.doctor.finding import Finding
    from qtool.doctor.lines import Line

STYLES: dict[str, tuple[Style, ...]] = {
    "error": (Style.RED, Style.BOLD),
    "warning": (Style.YELLOW, Style.BOLD),
    "ok": (Style.GREEN,),
    "info": (Style.DIM,),
    "command": (Style.CYAN,),
}
MAX_VALUE_CHARACTERS = 60
MAX_LISTED = 8
SHOWN_FIRST = (
    *("torch", "transformers", "gptqmodel", "auto-gptq", "autoawq", "autoawq-kernels", "optimum"),
    *("accelerate", "bitsandbytes", "flash-attn", "llama-cpp-python", "xllamacpp", "vllm", "numpy"),
)
"""Distributions in the order in which they matter here."""
FOR_PROGRAMS = {"ext_files", "missing_symbols", "missing_libraries"}
"""Fields of a difference that say nothing to people beside the findings that follow from them."""


def painted_lines(output: Output, lines: "Iterable[Line]") -> list[str]:
    """Return lines in the language of ``output``, painted."""
    from qtool.doctor.lines import translated

    return [text for line in translated(lines, output.language) for text in _painted(output, line)]


def _painted(output: Output, line: "Line") -> list[str]:
    """Wrap prose to a terminal's width, never a command; then paint it."""
    styles = STYLES.get(line.kind, ())
    texts = [line.text]
    if output.stdout.isatty() and line.kind not in ("command", "table") and line.text:
        import shutil

        from qtool.chat.width import wrap

        indent = " " * (len(line.text) - len(line.text.lstrip()))
        width = max(40, min(shutil.get_terminal_size().columns, 100))
        texts = wrap(line.text, width, indent=indent)
    return [output.paint(text, *styles) if styles else text for text in texts]


def plan_lines(plan: "CurePlan", where: str) -> "Iterator[Line]":
    """Yield what is going to be done, and what is left to the user."""
    from qtool.doctor.lines import Line, LineKind

    if plan.cures:
        yield Line(LineKind.SUMMARY, say("plan for {where}:", where=where))
    for number, cure in enumerate(plan.cures, 1):
        words = together((f"  {number}. {cure.code}", say(": "), cure.fix.title))
        yield Line(LineKind.TEXT, words)
    yield from (Line(LineKind.COMMAND, f"      {step.command}") for step in plan.steps)
    if plan.later:
        codes = ", ".join(plan.later)
        again = say("  then looked at again, for its cure is another: {codes}", codes=codes)
        yield Line(LineKind.TEXT, again)
    yield from _by_hand_lines(plan.by_hand)


def _by_hand_lines(findings: "Sequence[Finding]") -> "Iterator[Line]":
    from qtool.doctor.lines import Line, LineKind

    for finding in findings:
        cannot = say("! {code} cannot be cured by installing packages", code=finding.code)
        yield Line(LineKind.WARNING, cannot)
        for fix in finding.fixes[:1]:
            yield Line(LineKind.TEXT, together(("  ", fix.title, ":")))
            yield from (Line(LineKind.COMMAND, f"      {one}") for one in fix.commands)


def plan_json(plan: "CurePlan") -> dict[str, Any]:
    """Return a plan as JSON values."""
    return {
        "cures": [{"code": one.code, "title": one.fix.title} for one in plan.cures],
        "commands": [step.command for step in plan.steps],
        "later": list(plan.later),
        "by_hand": [finding.code for finding in plan.by_hand],
    }


def diff_lines(diff: "SnapshotDiff") -> "Iterator[Line]":
    """Yield what changed, findings first."""
    from qtool.doctor.lines import Line, LineKind

    if not diff:
        yield Line(LineKind.OK, say("no difference"))
    for finding in diff.went:
        gone = say("✓ gone: {code}: {title}", code=finding.code, title=finding.title)
        yield Line(LineKind.OK, gone)
    for finding in diff.came:
        kind = LineKind(finding.severity.value)
        yield Line(kind, say("✗ new: {code}: {title}", code=finding.code, title=finding.title))
    dists = [change for change in diff.changes if change.field.startswith("dists.")]
    for change in dists:
        if change.before and change.after:
            yield Line(LineKind.TEXT, f"  {_name(change)}: {change.before} → {change.after}")
    for word, some in (
        (say("installed"), {_name(one): one.after for one in dists if not one.before}),
        (say("removed"), {_name(one): one.before for one in dists if not one.after}),
    ):
        if some:
            yield Line(LineKind.TEXT, together(("  ", word, say(": "), _listed(some))))
    for change in diff.changes:
        if change not in dists and not _is_for_programs(change):
            before, after = _value(change.before), _value(change.after)
            yield Line(LineKind.TEXT, f"  {change.field}: {before} → {after}")


def _is_for_programs(change: "Change") -> bool:
    is_nested = isinstance(change.before or change.after, dict)
    return is_nested or change.field.partition(".")[0] in FOR_PROGRAMS


def _listed(versions: dict[str, str]) -> Message:
    """Return a few distributions in words, those that matter first, and how many others."""

    known = [name for name in SHOWN_FIRST if name in versions]
    names = [*known, *(name for name in versions if name not in known)]
    shown = [f"{name} {versions[name]}" for name in names[:MAX_LISTED]]
    n_others = len(names) - len(shown)
    words = together(shown, say(", "))
    return words + say(" and {n} others", n=n_others) if n_others else words


def _name(change: "Change") -> str:
    return change.field.removeprefix("dists.")


def _value(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    cut = text[:MAX_VALUE_CHARACTERS]
    return cut if cut == text else f"{cut}…"
