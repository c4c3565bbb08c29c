"""Do a package's compiled modules load on the installed torch? Evidence first, ranges last."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.finding import Confidence
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import is_within

MAX_EVIDENCE = 5
FLASH_ATTN_MODULES = ("flash_attn_2_cuda",)


class KernelState(StrEnum):
    """What is known of a package's compiled modules."""

    LOADS = "loads"
    MISSING = "missing"  # the package has none
    BROKEN = "broken"  # there, and they do not load on this torch
    WITHOUT_TORCH = "without torch"  # there, and no torch for them to load on
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class KernelReport:
    """The state of a package's modules and how that is known."""

    state: KernelState
    modules: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    confidence: Confidence = Confidence.CERTAIN

    @property
    def built_for(self) -> str | None:
        """Return in words the torch that the modules were built for, judged by their symbols."""
        return next(filter(None, map(facts.built_for_by_symbol, self.symbols)), None)


def gptq_kernels(case: Case) -> KernelReport:
    """Judge auto-gptq's compiled modules."""
    return inspect_kernels(case, "auto-gptq", facts.fact("auto_gptq", "modules"))


def awq_kernels(case: Case) -> KernelReport:
    """Judge the compiled modules of autoawq-kernels."""
    return inspect_kernels(case, "autoawq-kernels", facts.fact("autoawq", "modules"))


def flash_attn_kernels(case: Case) -> KernelReport:
    """Judge flash-attn's compiled module."""
    return inspect_kernels(case, "flash-attn", FLASH_ATTN_MODULES)


def inspect_kernels(case: Case, package: str, known_modules: Sequence[str]) -> KernelReport:
    """Judge the modules of ``package``: failed imports, then symbols, then version ranges.

    Ranges speak only where nothing was imported and no symbol checked, and never of a vendor's
    torch; modules that are not listed at all leave the state unknown.
    """
    listed = case.snapshot.ext_files.get(package)
    if listed is None:
        return KernelReport(KernelState.UNKNOWN)
    modules = tuple(name for name in listed if name in known_modules)
    if not modules:
        return KernelReport(KernelState.MISSING)
    if case.torch is None and (case.snapshot.torch is None or case.lacks("torch")):
        return KernelReport(KernelState.WITHOUT_TORCH, modules)
    return (
        _by_import(case, modules)
        or _by_libraries(case, modules)
        or _by_symbols(case, modules)
        or _by_version(case, package, modules)
        or KernelReport(KernelState.UNKNOWN, modules)
    )


def _by_import(case: Case, modules: tuple[str, ...]) -> KernelReport | None:
    results = case.snapshot.import_results
    if results is UNKNOWN:
        return None
    failed = [(name, results[name]) for name in modules if name in results]
    if not failed:
        return KernelReport(KernelState.LOADS, modules, ("every module imports",))
    if all(text.startswith("import torch: ") for _, text in failed):
        return None  # they were not reached
    symbols = tuple(
        text.partition("undefined symbol: ")[2].split()[0]
        for _, text in failed
        if text.partition("undefined symbol: ")[2].split()
    )
    evidence = tuple(f"import {name}: {text}" for name, text in failed[:MAX_EVIDENCE])
    evidence += _symbol_evidence(case, modules)  # an import names the first obstacle only
    return KernelReport(KernelState.BROKEN, modules, evidence, symbols or _missing(case, modules))


def _by_libraries(case: Case, modules: tuple[str, ...]) -> KernelReport | None:
    absent = {name: case.snapshot.missing_libraries.get(name, ()) for name in modules}
    names = sorted({library for libraries in absent.values() for library in libraries})
    if not names:
        return None
    symbols = _missing(case, modules)
    evidence = (
        f"{', '.join(sorted(name for name in modules if absent[name]))} need {', '.join(names)}, "
        "which this environment does not have",
        *_symbol_evidence(case, modules),
    )
    return KernelReport(KernelState.BROKEN, modules, evidence, symbols)


def _by_symbols(case: Case, modules: tuple[str, ...]) -> KernelReport | None:
    checked = [name for name in modules if name in case.snapshot.missing_symbols]
    if not checked:
        return None
    symbols = _missing(case, modules)
    if symbols:
        evidence = _symbol_evidence(case, modules)
        return KernelReport(KernelState.BROKEN, modules, evidence, symbols)
    evidence = (f"{', '.join(checked)}: every symbol of torch's resolves",)
    is_complete = len(checked) == len(modules)
    return KernelReport(KernelState.LOADS, modules, evidence) if is_complete else None


def _missing(case: Case, modules: tuple[str, ...]) -> tuple[str, ...]:
    found = case.snapshot.missing_symbols
    return tuple(dict.fromkeys(s for name in modules for s in found.get(name, ())))


def _symbol_evidence(case: Case, modules: tuple[str, ...]) -> tuple[str, ...]:
    found = case.snapshot.missing_symbols
    broken = [(name, found[name]) for name in modules if found.get(name)]
    return tuple(
        f"{name}: {len(symbols)} undefined symbol{'s' * (len(symbols) > 1)}, e.g. {symbols[0]}"
        for name, symbols in broken[:MAX_EVIDENCE]
    )


def _by_version(case: Case, package: str, modules: tuple[str, ...]) -> KernelReport | None:
    version, torch_version = case.version(package), case.torch_version
    if version is None or torch_version is None or case.has_vendor_torch:
        return None
    built = facts.built_for(package, version)
    if built is None:
        return None
    evidence = (f"{package} {version} was built for {built.words}; here is torch {torch_version}",)
    is_good = is_within(torch_version, built.torch)
    state = KernelState.LOADS if is_good else KernelState.BROKEN
    return KernelReport(state, modules, evidence, confidence=Confidence.LIKELY)
