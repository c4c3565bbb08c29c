"""A diagnosis as lines of text. The caller paints and prints them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from qtool.doctor.case import Case
from qtool.doctor.finding import Confidence, Finding, Severity
from qtool.doctor.goals import GoalAnswer
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.verdict import FormatVerdict, Verdict
from qtool.doctor.versions import capability_words
from qtool.models.info import ModelInfo
from qtool.units import format_size


class LineKind(StrEnum):
    """What a line is, for whoever paints it."""

    SUMMARY = "summary"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    OK = "ok"
    TEXT = "text"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the report."""

    kind: LineKind
    text: str


_MARKS = {
    Severity.ERROR: "✗",
    Severity.WARNING: "!",
    Severity.INFO: "·",
    Severity.OK: "✓",
}
_SURE = {Confidence.LIKELY: " (likely)", Confidence.POSSIBLE: " (if you get there)"}


def report_lines(
    case: Case,
    findings: Sequence[Finding],
    verdict: Verdict,
    answer: GoalAnswer | None = None,
) -> Iterator[Line]:
    """Yield the report: the answer to a goal, a summary, the findings, the verdict on a model.

    A healthy machine without a goal and a model gets the summary and nothing else.
    """
    if answer is not None:
        yield from _answer_lines(answer)
    is_denied = answer is not None and answer.runs is False
    yield _summary(case, findings, verdict, is_denied=is_denied)
    for finding in findings:
        if finding.severity is not Severity.INFO or case.goal is not None:
            yield from _finding_lines(finding)
    if case.model is not None:
        for name, one in verdict.items():
            yield Line(LineKind.TEXT, "")
            yield from _verdict_lines(case.model, name, one)


def _answer_lines(answer: GoalAnswer) -> Iterator[Line]:
    kind = {True: LineKind.OK, False: LineKind.ERROR, None: LineKind.WARNING}[answer.runs]
    mark = {True: "✓", False: "✗", None: "?"}[answer.runs]
    yield Line(kind, f"{mark} {answer.sentence}")
    for note in answer.notes:
        yield Line(LineKind.TEXT, f"  {note}")


def machine_words(case: Case) -> str:
    """Return the machine in a few words: Python, torch, GPUs."""
    snapshot = case.snapshot
    where = "" if snapshot.interpreter is UNKNOWN else f" ({snapshot.interpreter.path})"
    python = "an unknown Python" if snapshot.python is UNKNOWN else f"Python {snapshot.python}"
    torch = f"torch {case.torch_version}" if case.torch_version else _no_torch(case)
    return f"{python}{where}, {torch}, {_gpu_words(case)}"


def _no_torch(case: Case) -> str:
    is_absent = case.snapshot.torch is None or case.lacks("torch")
    return "no torch" if is_absent else "torch unknown"


def _gpu_words(case: Case) -> str:
    if not case.gpus:
        return "no NVIDIA GPU" if case.has_no_gpu else "GPU unknown"
    names = [
        f"{gpu.name}" + (f" {capability_words(gpu.capability)}" if gpu.capability else "")
        for gpu in case.gpus
    ]
    counted = [f"{names.count(n)} × {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names)]
    return ", ".join(counted)


def _summary(case: Case, findings: Sequence[Finding], verdict: Verdict, *, is_denied: bool) -> Line:
    n_errors = sum(finding.severity is Severity.ERROR for finding in findings)
    n_warnings = sum(finding.severity is Severity.WARNING for finding in findings)
    machine = machine_words(case)
    counts = [_counted(n_errors, "error")] * bool(n_errors)
    counts += [_counted(n_warnings, "warning")] * bool(n_warnings)
    if counts:
        kind = LineKind.ERROR if n_errors else LineKind.WARNING
        return Line(kind, f"{' and '.join(counts)}: {machine}")
    if is_denied:
        return Line(LineKind.INFO, f"examined: {machine}")
    runs = [name.upper() for name, one in verdict.items() if one.runs]
    able = f"; runs {', '.join(runs)}" if runs and case.model is None else ""
    return Line(LineKind.OK, f"nothing wrong found: {machine}{able}")


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def _finding_lines(finding: Finding) -> Iterator[Line]:
    kind = LineKind(finding.severity.value)
    yield Line(LineKind.TEXT, "")
    sure = _SURE.get(finding.confidence, "")
    yield Line(kind, f"{_MARKS[finding.severity]} {finding.code}: {finding.title}{sure}")
    yield Line(LineKind.TEXT, f"  {finding.explanation}")
    for evidence in finding.evidence:
        yield Line(LineKind.INFO, f"  seen: {evidence}")
    for fix in finding.fixes:
        yield Line(LineKind.TEXT, f"  {fix.title}:")
        for command in fix.commands:
            yield Line(LineKind.COMMAND, f"      {command}")


def _verdict_lines(model: ModelInfo, name: str, verdict: FormatVerdict) -> Iterator[Line]:
    kind = LineKind.OK if verdict.runs else LineKind.ERROR
    mark = "✓ runs" if verdict.runs else "✗ does not run"
    yield Line(kind, f"{mark}: {_model_words(model, name)}: {verdict.why}")
    if verdict.kernel:
        yield Line(LineKind.TEXT, f"  kernel: {verdict.kernel}")
    yield from (Line(LineKind.TEXT, f"  {text}") for text in _memory_words(verdict))
    if verdict.tokens_per_s_estimate:
        estimate = f"{verdict.tokens_per_s_estimate:.3g}"
        yield Line(
            LineKind.TEXT,
            f"  speed: about {estimate} tokens/s, an estimate from memory bandwidth",
        )
    for note in verdict.notes:
        yield Line(LineKind.TEXT, f"  {note}")


def _model_words(model: ModelInfo, name: str) -> str:
    quantization = model.quantization
    parts = [model.path.name or str(model.path), name.upper()]
    if quantization and quantization.gguf_type:
        parts.append(quantization.gguf_type)
    elif quantization and quantization.bits:
        group = f" g{quantization.group_size}" if quantization.group_size else ""
        parts.append(f"{quantization.bits:g} bit{group}")
    return ", ".join(parts)


def _memory_words(verdict: FormatVerdict) -> Iterator[str]:
    fit = verdict.fit
    if fit is None:
        return
    need = fit.need
    kv_cache = format_size(need.kv_cache_bytes) if need.is_kv_known else "unknown"
    have = "unknown" if fit.available_bytes is None else format_size(fit.available_bytes)
    yield (
        f"memory: {format_size(need.total_bytes)} of {have} (weights "
        f"{format_size(need.weights_bytes)}, KV cache {kv_cache} at {fit.n_ctx_tokens} tokens, "
        f"overhead {format_size(need.overhead_bytes)})"
    )
    if fit.n_ctx_max_tokens:
        yield f"longest context that fits: {fit.n_ctx_max_tokens} tokens"
    if fit.n_gpu_layers is not None:
        yield f"layers that fit on the GPU: {fit.n_gpu_layers}"
