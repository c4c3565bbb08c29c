"""A diagnosis as lines of text. The caller paints and prints them."""

from collections.abc import Iterator, Sequence, Set

from qtool.doctor.case import Case
from qtool.doctor.finding import Confidence, Finding, Fix, Severity
from qtool.doctor.fit import Fit, FitKind
from qtool.doctor.goals import GoalAnswer
from qtool.doctor.lines import Line, LineKind
from qtool.doctor.machine_words import COMMA, hardware_words, machine_words, software_words
from qtool.doctor.verdict import FormatVerdict, Verdict
from qtool.language.message import Message, say, together
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.local import title_of
from qtool.units import format_size

_MARKS = {
    Severity.ERROR: "✗",
    Severity.WARNING: "!",
    Severity.INFO: "·",
    Severity.OK: "✓",
}
COLON, ENDING_COLON = say(": "), say(":")
"""Punctuation that is another one in Chinese."""
_SURE = {Confidence.LIKELY: say(" (likely)"), Confidence.POSSIBLE: say(" (if you get there)")}


def report_lines(
    case: Case,
    findings: Sequence[Finding],
    verdict: Verdict,
    answer: GoalAnswer | None = None,
) -> Iterator[Line]:
    """Yield the report: the answer to a goal, the verdict on a model, the machine, the findings.

    A healthy machine without a goal and a model gets one line and nothing else.
    """
    lead = list(_lead_lines(case, verdict, answer))
    is_denied = (answer is not None and answer.runs is False) or (
        case.model is not None and not all(one.runs for one in verdict.values())
    )
    summary = list(_summary(findings, _what_runs(case, verdict), is_denied=is_denied))
    if not lead and summary[0].kind is LineKind.OK:
        one = say("{summary} (examined: {machine})",
                  summary=summary[0].text, machine=machine_words(case))  # fmt: skip
        yield Line(LineKind.OK, one)
    else:
        yield from lead or summary
        yield from _machine_lines(case)
        yield from summary if lead else ()
    shown = {fix for one in verdict.values() for fix in one.cures} if case.model else set[Fix]()
    for finding in findings:
        if finding.severity is not Severity.INFO or _is_of_use(case, finding, verdict):
            yield from _finding_lines(finding, shown)


def _is_of_use(case: Case, finding: Finding, verdict: Verdict) -> bool:
    """Tell whether information is; not of what is missing, where another environment runs it."""
    is_missing = finding.code in ("ENGINE-MISSING", "TORCH-MISSING")
    is_served = any(one.environment for one in verdict.values())
    return case.goal is not None and not (is_missing and is_served and case.model is not None)


def _lead_lines(case: Case, verdict: Verdict, answer: GoalAnswer | None) -> Iterator[Line]:
    """Yield what was asked about: the goal, the model."""
    if answer is not None:
        yield from _answer_lines(answer)
    if case.model is not None:
        for name, one in verdict.items():
            yield from verdict_lines(case.model, name, one)


def _answer_lines(answer: GoalAnswer) -> Iterator[Line]:
    kind = {True: LineKind.OK, False: LineKind.ERROR, None: LineKind.WARNING}[answer.runs]
    mark = {True: "✓", False: "✗", None: "?"}[answer.runs]
    yield Line(kind, together((mark, " ", answer.sentence)))
    yield from (Line(LineKind.TEXT, together(("  ", note))) for note in answer.notes)


def _machine_lines(case: Case) -> Iterator[Line]:
    software, *hardware = (software_words(case), *hardware_words(case))
    yield Line(LineKind.INFO, say("examined: {machine}", machine=software))
    yield from (Line(LineKind.INFO, together(("  ", words))) for words in hardware)


def _summary(findings: Sequence[Finding], runs: Message, *, is_denied: bool) -> Iterator[Line]:
    """Yield how much is wrong; nothing where what was asked for is denied without a finding."""
    n_errors = sum(finding.severity is Severity.ERROR for finding in findings)
    n_warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    if n_errors or n_warnings:
        kind = LineKind.ERROR if n_errors else LineKind.WARNING
        counts = together(_counts(n_errors, n_warnings), say(" and "))
        yield Line(kind, counts)
    elif not is_denied:
        yield Line(LineKind.OK, say("nothing wrong found") + runs)


def _format_words(name: str) -> str:
    return say("unquantized") if name == ModelFormat.PLAIN else name.upper()


def _what_runs(case: Case, verdict: Verdict) -> Message:
    """Return the formats that run on the machine, and which only after a repack, or elsewhere."""
    if case.model is not None:
        return together(())
    runs = {_format_words(name): one for name, one in verdict.items() if one.runs}
    repacked = [name for name, one in runs.items() if one.engine == "llama.cpp" and name != "GGUF"]
    as_they_are = [
        together((name, f" (--env {one.environment})")) if one.environment else name
        for name, one in runs.items()
        if name not in repacked
    ]
    if not runs:
        return together(())
    words = say("; runs {formats}", formats=together(as_they_are, COMMA))
    if not repacked:
        return words
    return words + say(", repacked also {formats}", formats=together(repacked, COMMA))


def _counts(n_errors: int, n_warnings: int) -> Iterator[Message]:
    if n_errors:
        yield say("1 error") if n_errors == 1 else say("{n} errors", n=n_errors)
    if n_warnings:
        yield say("1 warning") if n_warnings == 1 else say("{n} warnings", n=n_warnings)


def _finding_lines(finding: Finding, shown: Set[Fix]) -> Iterator[Line]:
    """Yield a finding, with those of its cures that were not ``shown`` above."""
    kind = LineKind(finding.severity.value)
    yield Line(LineKind.TEXT, "")
    sure = _SURE.get(finding.confidence, "")
    mark = f"{_MARKS[finding.severity]} {finding.code}"
    yield Line(kind, together((mark, COLON, finding.title, sure)))
    yield Line(LineKind.TEXT, together(("  ", finding.explanation)))
    for evidence in finding.evidence:
        yield Line(LineKind.INFO, say("  seen: {evidence}", evidence=evidence))
    for fix in finding.fixes:
        yield from () if fix in shown else _fix_lines(fix)


def _fix_lines(fix: Fix) -> Iterator[Line]:
    yield Line(LineKind.TEXT, together(("  ", fix.title, ENDING_COLON)))
    for command in fix.commands:
        yield Line(LineKind.COMMAND, together(("      ", _command_words(command))))


def _command_words(command: str) -> str:
    """Return a command, which is the same in any language, or a remark, which is not."""
    code = command.removeprefix("# in your code: ")
    return command if code == command else say("# in your code: {code}", code=code)


def verdict_lines(model: ModelInfo, name: str, verdict: FormatVerdict) -> Iterator[Line]:
    """Yield the verdict on a model: does it run, by what, in how much memory, how fast."""
    kind = LineKind.OK if verdict.runs else LineKind.ERROR
    mark = say("✓ runs") if verdict.runs else say("✗ does not run")
    yield Line(kind, together((mark, _model_words(model, name), verdict.why), COLON))
    if how := _how(verdict):
        yield Line(LineKind.TEXT, together(("  ", how)))
    yield from (
        Line(LineKind.TEXT, together(("  ", text))) for text in _memory_words(name, verdict)
    )
    if verdict.tokens_per_s_estimate:
        estimate = two_digits(verdict.tokens_per_s_estimate)
        speed = say("  speed: about {estimate} tokens/s, an estimate from memory bandwidth",
                    estimate=estimate)  # fmt: skip
        yield Line(LineKind.TEXT, speed)
    yield from _gpu_table(verdict)
    yield from (Line(LineKind.TEXT, together(("  ", note))) for note in verdict.notes)
    for fix in verdict.cures:
        yield from _fix_lines(fix)


def two_digits(rate: float) -> str:
    """Return an estimate with as many digits as it is worth."""
    return f"{float(f'{rate:.2g}'):g}"


def _how(verdict: FormatVerdict) -> Message:
    """Return kernel, float type and attention, as far as they are known; llama.cpp has its own."""
    if verdict.engine == "llama.cpp":
        return together(())
    parts = (
        (say("kernel: "), verdict.kernel),
        (say("dtype: "), verdict.dtype),
        (say("attention: "), verdict.attention),
    )
    return together((together((name, value)) for name, value in parts if value), COMMA)


def _gpu_table(verdict: FormatVerdict) -> Iterator[Line]:
    """Yield a line for each of several GPUs: how the model would do on it alone."""
    rows = [
        (
            f"GPU {row.index}",
            row.gpu.name,
            "?" if row.gpu.vram_bytes is None else format_size(row.gpu.vram_bytes),
        )
        for row in verdict.gpus
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for cells, row in zip(rows, verdict.gpus, strict=True):
        padded = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        text = say("  {gpu}  alone: {fit}", gpu=padded, fit=fit_words(row.fit))
        if row.tokens_per_s_estimate:
            text += say(", about {speed} tokens/s", speed=two_digits(row.tokens_per_s_estimate))
        yield Line(LineKind.TABLE, text)


def fit_words(fit: Fit) -> Message:
    """Say how a model fits, in a few words."""
    match fit.kind:
        case FitKind.FITS:
            return say("fits")
        case FitKind.WITH_LAYERS:
            return say("fits with {layers} layers on the GPU, the others in RAM",
                       layers=fit.n_gpu_layers)  # fmt: skip
        case FitKind.WITH_CONTEXT:
            return say("fits with a context of at most {longest} tokens",
                       longest=fit.n_ctx_max_tokens)  # fmt: skip
        case FitKind.DOES_NOT_FIT:
            return say("does not fit")
        case FitKind.UNKNOWN:
            return say("nobody can say whether it fits")


def _model_words(model: ModelInfo, name: str) -> Message:
    quantization = model.quantization
    parts = [title_of(model.path) or str(model.path), _format_words(name)]
    if quantization and quantization.gguf_type:
        parts.append(quantization.gguf_type)
    elif quantization and quantization.bits:
        group = f" g{quantization.group_size}" if quantization.group_size else ""
        parts.append(f"{quantization.bits:g} bit{group}")
    return together(parts, COMMA)


def _memory_words(name: str, verdict: FormatVerdict) -> Iterator[Message]:
    fit = verdict.fit
    if fit is None:
        return
    need, unknown = fit.need, say("unknown")
    is_repacked = verdict.engine == "llama.cpp" and name != "gguf"
    repacked = say(" once repacked") if is_repacked else ""
    yield say(
        "memory: {total} of {available} (weights {weights}, KV cache {kv_cache} at {n_ctx} "
        "tokens, overhead {overhead}): {fit}",
        total=format_size(need.total_bytes),
        available=unknown if fit.available_bytes is None else format_size(fit.available_bytes),
        weights=together((format_size(need.weights_bytes), repacked)),
        kv_cache=format_size(need.kv_cache_bytes) if need.is_kv_known else unknown,
        n_ctx=fit.n_ctx_tokens,
        overhead=format_size(need.overhead_bytes),
        fit=fit_words(fit),
    )
    if fit.n_ctx_max_tokens and fit.kind is not FitKind.WITH_CONTEXT:
        yield say("longest context that fits: {longest} tokens", longest=fit.n_ctx_max_tokens)
