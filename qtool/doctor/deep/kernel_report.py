"""What the kernels did, as a small table. Pure."""

from collections.abc import Iterator, Sequence

from qtool.doctor.lines import Line, LineKind
from qtool.doctor.rules.runs import is_wrong
from qtool.doctor.snapshot import UNKNOWN, KernelEnding, KernelRun
from qtool.language.message import say, together

HEADER = ("kernel", "device", "error", "a call", "reads", "of memory")


def kernel_lines(runs: Sequence[KernelRun]) -> Iterator[Line]:
    """Yield a heading, a row for each kernel, and where it was measured."""
    rows = [_row(run) for run in runs if run.ending is KernelEnding.MEASURED]
    table = [HEADER, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEADER))]
    yield Line(LineKind.TEXT, "")
    yield Line(LineKind.SUMMARY, say("kernels, run here (one row of input, as in decoding):"))
    if rows:
        yield Line(LineKind.INFO, f"    {_joined(HEADER, widths)}")
    for run in runs:
        is_good = run.ending is KernelEnding.MEASURED and not is_wrong(run)
        mark, kind = ("✓", LineKind.OK) if is_good else ("✗", LineKind.ERROR)
        if run.ending is KernelEnding.MEASURED:
            yield Line(kind, f"  {mark} {_joined(_row(run), widths)}")
        else:
            yield Line(kind, f"  {mark} {run.kind}: {run.ending}: {run.detail}")
    yield from (Line(LineKind.TEXT, together(("  ", text))) for text in _conclusions(runs))


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join([first, *others]).rstrip()


def _row(run: KernelRun) -> tuple[str, ...]:
    rate, share = run.bytes_per_s, run.bandwidth_share
    return (
        f"{run.kind}: {run.engine} {run.kernel}",
        run.device,
        _error(run),
        "-" if run.seconds_per_call is UNKNOWN else _duration(run.seconds_per_call),
        "-" if rate is None else f"{rate / 1e9:.3g} GB/s",
        "-" if share is None else f"{share:.0%}" if share >= 0.1 else f"{share:.1%}",
    )


def _error(run: KernelRun) -> str:
    """Return the error in percent; tokens of a whole model have no fp32 to be held against."""
    if run.is_token:
        return "not compared"
    return "-" if run.relative_error is UNKNOWN else f"{run.relative_error:.2%}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _conclusions(runs: Sequence[KernelRun]) -> Iterator[str]:
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
    for device, rate in {r.device: r.bandwidth_bytes_per_s for r in runs if r.device}.items():
        if rate:
            yield say(
                "memory of {device}: {rate} GB/s by copying, measured in the same run",
                device=device,
                rate=f"{rate / 1e9:.3g}",
            )
