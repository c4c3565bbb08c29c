"""Where a torch for the machine at hand comes from, and the commands that install it."""

import re
from dataclasses import replace

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import (
    Commands,
    overlap,
    serving_indexes,
    serving_pypi,
    torch_index_url,
)
from qtool.doctor.facts import TorchIndex
from qtool.doctor.finding import Fix
from qtool.doctor.versions import minor_release, number_tuple
from qtool.language.message import say, together

_BOUND = re.compile(r"(?:^|,)\s*(==|>=|>|<)\s*(\d+(?:\.\d+)*)\s*(?=,|$)")
_OTHER_TITLES = {
    True: say("Or what PyPI and its mirrors have"),
    False: say("Or what PyTorch publishes"),
}


def torch_fixes(case: Case, torch_range: str, title: str) -> tuple[Fix, ...]:
    """Install a torch inside ``torch_range`` that serves the GPUs and the driver, the best first.

    Empty if there is none, or a vendor made what is there.
    """
    return tuple(
        Fix(
            _with_cuda(case, source, _OTHER_TITLES[source.tag is None] if index else title),
            Commands(case).install_torch(_tightened(f"{source.torch},{torch_range}"), source.tag),
        )
        for index, source in enumerate(torch_sources(case, torch_range))
    )


def _with_cuda(case: Case, source: TorchIndex, title: str) -> str:
    """Say where a torch for the CPU would bring CUDA all the same; ``title`` otherwise."""
    if source.tag is not None or not case.has_no_gpu or not case.is_linux_x86:
        return title
    return together((title, say(" (PyPI's torch for Linux brings CUDA along, several GB)")))


def torch_commands(case: Case, torch_range: str) -> tuple[str, ...]:
    """Return the commands of the best of ``torch_fixes``; empty if there is none."""
    fixes = torch_fixes(case, torch_range, "")
    return fixes[0].commands if fixes else ()


def torch_sources(case: Case, torch_range: str) -> tuple[TorchIndex, ...]:
    """Return where a torch for this machine comes from, the best first, one of a kind.

    That is the package index of the user, who may have a mirror near by, unless it has an older
    torch or none: on a CPU PyTorch's index saves 2 GB of CUDA. Indexes that are known not to
    answer are left out.
    """
    base, python = torch_index_url(case), torch_for_python(case)
    if python is None:
        return ()
    return tuple(
        source
        for source in _all_sources(case, torch_range, python)
        if source.tag is None or f"{base}{source.tag}" not in case.unreachable
    )


def torch_for_python(case: Case) -> str | None:
    """Return the releases of torch with a wheel for the examined Python, all of them where that is
    not known; ``None`` where there is none."""
    release = minor_release(case.snapshot.python)
    if release is None:
        return ">=0"
    found = facts.fact("torch", "by_python").get(f"{release[0]}.{release[1]}")
    return str(found) if found else None


def _all_sources(case: Case, torch_range: str, python: str) -> tuple[TorchIndex, ...]:
    """Return the sources that have a torch in both ranges; the second is the Python's."""
    if case.has_vendor_torch or case.snapshot.os.is_jetson or not overlap(torch_range, python):
        return ()
    if case.has_no_gpu:
        pypi = TorchIndex(None, torch_range, (0, 0), (99, 0), 0)
        return (replace(pypi, tag="cpu"), pypi) if case.is_linux_x86 else (pypi,)
    both = f"{torch_range},{python}"
    own = serving_indexes(case, both)[:1]
    pypi_s = serving_pypi(case, both)[:1]
    if own and pypi_s and _newest(pypi_s[0], both) < _newest(own[0], both):
        return (*own, *pypi_s)
    return (*pypi_s, *own)


def _newest(source: TorchIndex, torch_range: str) -> tuple[int, ...]:
    """Return the upper bound of what a source has inside a range."""
    upper = _tightened(f"{source.torch},{torch_range}").rpartition("<")[2]
    return number_tuple(upper) or ()


def _tightened(specifier: str) -> str:
    """Reduce a conjunction of ranges to its exact version, or its highest lower and lowest upper
    bound; bounds of another kind (``!=``, ``~=``) are left out."""
    bounds = _BOUND.findall(specifier)
    if exact := [version for mark, version in bounds if mark == "=="]:
        return str(exact[0])

    def key(version: str) -> tuple[int, ...]:
        return number_tuple(version) or ()

    lower = [version for mark, version in bounds if mark in (">=", ">")]
    upper = [version for mark, version in bounds if mark == "<"]
    reduced = [f">={max(lower, key=key)}"] if lower else []
    reduced += [f"<{min(upper, key=key)}"] if upper else []
    return ",".join(reduced)
