"""A diagnosis as lines of text. The caller paints and prints them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from qtool.doctor.case import Case
from qtool.doctor.finding import Confidence, Finding, Fix, Severity
from qtool.doctor.fit import Fit, FitKind
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
    TABLE = "table"


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
        yield from _fix_lines(fix)


def _fix_lines(fix: Fix) -> Iterator[Line]:
    yield Line(LineKind.TEXT, f"  {fix.title}:")
    for command in fix.commands:
        yield Line(LineKind.COMMAND, f"      {command}")


def _verdict_lines(model: ModelInfo, name: str, verdict: FormatVerdict) -> Iterator[Line]:
    kind = LineKind.OK if verdict.runs else LineKind.ERROR
    mark = "✓ runs" if verdict.runs else "✗ does not run"
    yield Line(kind, f"{mark}: {_model_words(model, name)}: {verdict.why}")
    if how := _how(verdict):
        yield Line(LineKind.TEXT, f"  {how}")
    yield from (Line(LineKind.TEXT, f"  {text}") for text in _memory_words(verdict))
    if verdict.tokens_per_s_estimate:
        estimate = f"{verdict.tokens_per_s_estimate:.3g}"
        yield Line(
            LineKind.TEXT,
            f"  speed: about {estimate} tokens/s, an estimate from memory bandwidth",
        )
    yield from _gpu_table(verdict)
    for note in verdict.notes:
        yield Line(LineKind.TEXT, f"  {note}")
    for fix in verdict.cures:
        yield from _fix_lines(fix)


def _how(verdict: FormatVerdict) -> str:
    """Return kernel, float type and attention, as far as they are known; llama.cpp has its own."""
    if verdict.engine == "llama.cpp":
        return ""
    parts = {"kernel": verdict.kernel, "dtype": verdict.dtype, "attention": verdict.attention}
    return ", ".join(f"{name}: {value}" for name, value in parts.items() if value)


def _gpu_table(verdict: FormatVerdict) -> Iterator[Line]:
    """Yield a line for each of several GPUs: how the model would do on it alone."""
    rows = [
        (
            f"GPU {row.index}",
            row.gpu.name,
            "?" if row.gpu.vram_bytes is None else format_size(row.gpu.vram_bytes),
            f"alone: {fit_words(row.fit)}",
            f"about {row.tokens_per_s_estimate:.3g} tokens/s" if row.tokens_per_s_estimate else "",
        )
        for row in verdict.gpus
    ]
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield Line(LineKind.TABLE, f"  {'  '.join(cells)}".rstrip())


def fit_words(fit: Fit) -> str:
    """Say how a model fits, in a few words."""
    match fit.kind:
        case FitKind.FITS:
            return "fits"
        case FitKind.WITH_LAYERS:
            return f"fits with {fit.n_gpu_layers} layers on the GPU, the others in RAM"
        case FitKind.WITH_CONTEXT:
            return f"fits with a context of at most {fit.n_ctx_max_tokens} tokens"
        case FitKind.DOES_NOT_FIT:
            return "does not fit"
        case FitKind.UNKNOWN:
            return "nobody can say whether it fits"


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
        f"overhead {format_size(need.overhead_bytes)}): {fit_words(fit)}"
    )
    if fit.n_ctx_max_tokens and fit.kind is not FitKind.WITH_CONTEXT:
        yield f"longest context that fits: {fit.n_ctx_max_tokens} tokens"
