"""What the kernels did, as a small table. Pure."""

from collections.abc import Iterator, Sequence
from unicodedata import east_asian_width

from qtool.doctor.case import Case
from qtool.doctor.finding import Severity
from qtool.doctor.lines import Line, LineKind
from qtool.doctor.rules.runs import is_wrong
from qtool.doctor.snapshot import UNKNOWN, KernelEnding, KernelRun
from qtool.doctor.speed import expected_of_run
from qtool.language.message import say, together
from qtool.language.translation import Language, translate

HEADER = (
    *(say("kernel"), say("device"), say("error")),
    *(say("a call"), say("reads"), say("of memory")),
)
FAR_BELOW = 0.5
"""Of the estimate: a run that decodes more slowly says something about the machine."""


def kernel_lines(
    runs: Sequence[KernelRun],
    case: Case | None = None,
    language: Language = Language.ENGLISH,
) -> Iterator[Line]:
    """Yield a heading, a row for each kernel, and where it was measured.

    Runs are held against what is expected of the machine of ``case``. The table is in
    ``language`` already, for its columns depend on that.
    """
    rows = {run: _row(run, language) for run in runs if run.ending is KernelEnding.MEASURED}
    header = [translate(cell, language) for cell in HEADER]
    widths = [max(map(_width, column)) for column in zip(header, *rows.values(), strict=True)]
    yield Line(LineKind.TEXT, "")
    yield Line(LineKind.SUMMARY, say("kernels, run here (one row of input, as in decoding):"))
    if rows:
        yield Line(LineKind.INFO, f"    {_joined(header, widths)}")
    for run in runs:
        mark, kind = _MARKS[_standing(run, case)]
        if run in rows:
            yield Line(kind, f"  {mark} {_joined(rows[run], widths)}")
        else:
            yield Line(kind, f"  {mark} {run.kind}: {run.ending}: {run.detail}")
    yield from (Line(LineKind.TEXT, together(("  ", text))) for text in _conclusions(runs, case))


_MARKS = {
    Severity.OK: ("✓", LineKind.OK),
    Severity.WARNING: ("!", LineKind.WARNING),
    Severity.ERROR: ("✗", LineKind.ERROR),
}


def _standing(run: KernelRun, case: Case | None) -> Severity:
    if run.ending is not KernelEnding.MEASURED or is_wrong(run):
        return Severity.ERROR
    return Severity.WARNING if _expected_instead(run, case) else Severity.OK


def _expected_instead(run: KernelRun, case: Case | None) -> float | None:
    """Return the tokens a second that were expected, where the run is far below."""
    expected = expected_of_run(case, run) if case else None
    if not expected or not run.seconds_per_call:
        return None
    return expected if 1 / run.seconds_per_call < FAR_BELOW * expected else None


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell + " " * (width - _width(cell)) for cell, width in zip(cells, widths, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _width(text: str) -> int:
    """Return the columns that ``text`` takes on a terminal."""
    return sum(2 if east_asian_width(one) in "WF" else 1 for one in text)


def _row(run: KernelRun, language: Language) -> tuple[str, ...]:
    rate, share = run.bytes_per_s, run.bandwidth_share
    return (
        f"{run.kind}: {run.engine} {run.kernel}",
        run.device,
        translate(_error(run), language),
        "-" if run.seconds_per_call is UNKNOWN else _duration(run.seconds_per_call),
        "-" if rate is None else f"{rate / 1e9:.3g} GB/s",
        "-" if share is None else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}",
    )


def _error(run: KernelRun) -> str:
    """Return the error in percent; tokens of a whole model have no fp32 to be held against."""
    if run.is_token:
        return say("not compared")
    return "-" if run.relative_error is UNKNOWN else f"{run.relative_error:.2%}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _conclusions(runs: Sequence[KernelRun], case: Case | None) -> Iterator[str]:
    """Yield what the figures mean: whether the GPU computes, and how fast a model decodes."""
    on_gpu = [run for run in runs if run.device not in ("", "cpu")]
    if on_gpu:
        gpu = on_gpu[0].device_name or on_gpu[0].device
        yield say("the GPU computes: measured on the {gpu}", gpu=gpu)
    elif any(run.device for run in runs):
        yield say("all of it on the CPU")
    for run in runs:
        if run.is_token and run.seconds_per_call:
            speed = f"{1 / run.seconds_per_call:.3g}"
            yield say(
                "{engine} decodes {model} at {rate} tokens/s here (the speed of whole tokens; not "
                "compared with fp32)",
                engine=run.engine, model=run.model or say("a model"), rate=speed,
            )  # fmt: skip
        if expected := _expected_instead(run, case):
            yield say(
                "that is less than half of what is expected here, about {rate} tokens/s: another "
                "program is busy, or the processor is slowed down (heat, battery, a quota)",
                rate=f"{expected:.2g}",
            )
    for device, rate in {r.device: r.bandwidth_bytes_per_s for r in runs if r.device}.items():
        if rate:
            yield say(
                "memory of {device}: {rate} GB/s by copying, measured in the same run",
                device=device,
                rate=f"{rate / 1e9:.3g}",
            )
