"""The examined machine in a few words: Python, torch, GPUs, and the hardware beside them. Pure."""

from collections.abc import Iterator

from qtool.doctor.case import Case
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import capability_words
from qtool.language.message import Message, say, together
from qtool.units import format_size

COMMA, SEMICOLON = say(", "), say("; ")
"""Punctuation that is another one in Chinese."""


def machine_words(case: Case) -> Message:
    """Return the machine in a few words: Python, torch, GPUs, and what else counts."""
    return together((software_words(case), *hardware_words(case)), SEMICOLON)


def software_words(case: Case) -> Message:
    """Return the examined Python, its torch, and the GPUs for it."""
    snapshot = case.snapshot
    where = "" if snapshot.interpreter is UNKNOWN else f" ({snapshot.interpreter.path})"
    python = f"Python {snapshot.python}"
    if snapshot.python is UNKNOWN:
        python = say("an unknown Python")
    torch = f"torch {case.torch_version}" if case.torch_version else _no_torch(case)
    return together((f"{python}{where}" if where else python, torch, _gpu_words(case)), COMMA)


def hardware_words(case: Case) -> Iterator[Message]:
    """Yield the hardware beside the GPUs' names in one piece, as far as it is known."""
    snapshot = case.snapshot
    cpu, words = snapshot.cpu, list[str]()
    if cpu.name is not UNKNOWN:
        words.append(str(cpu.name))
    if cpu.n_cores is not UNKNOWN:
        words.append(say("{n} cores", n=cpu.n_cores) if cpu.n_cores != 1 else say("1 core"))
    if snapshot.ram_bytes is not UNKNOWN:
        words.append(say("{size} of RAM", size=format_size(snapshot.ram_bytes)))
    if snapshot.disk_free_bytes is not UNKNOWN:
        words.append(say("{size} free on disk", size=format_size(snapshot.disk_free_bytes)))
    sizes = [gpu.vram_bytes for gpu in case.gpus if gpu.vram_bytes]
    if sizes:
        words.append(say("{size} of VRAM", size=" + ".join(map(format_size, sizes))))
    if words:
        yield together(words, COMMA)


def _no_torch(case: Case) -> Message:
    is_absent = case.snapshot.torch is None or case.lacks("torch")
    return say("no torch") if is_absent else say("torch unknown")


def _gpu_words(case: Case) -> str:
    if not case.gpus:
        nvidia = say("no NVIDIA GPU") if case.has_no_gpu else say("GPU unknown")
        return together((nvidia, *_other_gpus(case)), COMMA)
    names = [
        f"{gpu.name}" + (f" {capability_words(gpu.capability)}" if gpu.capability else "")
        for gpu in case.gpus
    ]
    counted = [f"{names.count(n)} × {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names)]
    return together(counted, COMMA)


def _other_gpus(case: Case) -> tuple[str, ...]:
    """Return the names of other makers' GPUs that programs compute on."""
    cards = [one for one in case.snapshot.accelerators or () if one.arch]
    names = [(one.vendor, one.name or "") for one in cards]
    return tuple(n if n.startswith(vendor) else f"{vendor} {n}".rstrip() for vendor, n in names)
