"""Large pages for the weights and the KV cache of an engine that takes them from ``malloc``.

A token of a decode reads all weights once, and with pages of 4 KiB the processor looks most of
them up anew each time. In pages of 2 MiB llama.cpp decodes a small model 1.3 times as fast, and
computes the same; a large one takes seconds longer to load (``llama_cpp`` has the figures).

Where Linux gives large pages to those who ask (``madvise``, the usual setting), glibc 2.35 and
later ask on behalf of ``malloc`` if they are told so before the program starts. Sources:
https://sourceware.org/glibc/manual/latest/html_node/Memory-Allocation-Tunables.html and the
kernel's Documentation/admin-guide/mm/transhuge.rst.
"""

from collections.abc import Mapping
from pathlib import Path

VARIABLE, TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
POLICY = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def huge_page_variables(environ: Mapping[str, str], policy: Path = POLICY) -> dict[str, str]:
    """Return the environment variables by which a program's ``malloc`` asks for large pages.

    None where that would change nothing, or where the user has decided it: then ``environ`` has
    the tunable.
    """
    told = environ.get(VARIABLE, "")
    if TUNABLE in told or not _is_on_request(policy):
        return {}
    return {VARIABLE: ":".join(filter(None, (told, f"{TUNABLE}=1")))}


def _is_on_request(policy: Path) -> bool:
    try:
        return "[madvise]" in policy.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
