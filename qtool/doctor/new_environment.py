"""Cures for an interpreter that a distribution manages: made in a new environment instead.

There pip refuses to install ("error: externally-managed-environment"), and rightly so. A new
environment is empty, so it gets what the old one had as well, less what the cure removes. Source:
https://packaging.python.org/en/latest/specifications/externally-managed-environments/
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qtool.doctor.case import Case
from qtool.doctor.commands import COMPANIONS, Commands
from qtool.doctor.described import format_of
from qtool.doctor.finding import Finding, Fix
from qtool.doctor.proven_sets import proven_set
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import parse_version
from qtool.language.message import say, together

# What a cure does not name goes along at its version. flash-attn would have to be compiled.
_WITH_ANY_TORCH = ("transformers", "accelerate", "optimum", "peft")
_WITH_ITS_TORCH = (
    "torch",
    *COMPANIONS,
    "auto-gptq",
    "autoawq",
    "autoawq-kernels",
    "gptqmodel",
    "bitsandbytes",
    "llama-cpp-python",
)


@dataclass(frozen=True, slots=True)
class _Change:
    """What the commands of a cure install and remove, by name."""

    installed: frozenset[str]
    removed: frozenset[str]


def in_new_environment(case: Case, finding: Finding) -> Finding:
    """Return the finding with cures that begin with an environment, where it takes one."""
    if not case.is_externally_managed:
        return finding
    moved = tuple(_moved(case, fix) for fix in finding.fixes)
    is_changed = moved != finding.fixes
    own = proven_set(case, format_of(case.goal)) if is_changed else None
    return replace(finding, fixes=moved if own is None or own in moved else (*moved, own))


def _moved(case: Case, fix: Fix) -> Fix:
    commands = Commands(case)
    if not any(commands.python in command for command in fix.commands):
        return fix
    change = _change_of(fix)
    kept = tuple(command for command in fix.commands if _verb(command) != "uninstall")
    carried = _carried(case, change)
    along = (commands.install(*carried),) if carried else ()
    brings_torch = "torch" in change.installed
    ordered = (*kept, *along) if brings_torch else (*along, *kept)
    note = say(" (in a new environment, for the distribution manages this Python)")
    title = together((fix.title, note))
    return Fix(title, (*commands.make_environment(), *ordered))


def _change_of(fix: Fix) -> _Change:
    named: dict[str, set[str]] = {"install": set(), "uninstall": set()}
    for command in fix.commands:
        verb = _verb(command)
        if verb:
            words = command.partition(f" {verb} ")[2].replace('"', "").split()
            named[verb] |= {re.split(r"[=<>!~\[]", word)[0] for word in words}
    return _Change(frozenset(named["install"]), frozenset(named["uninstall"]))


def _verb(command: str) -> str | None:
    match = re.search(r"\bpip (install|uninstall) ", command)
    return match[1] if match else None


def _carried(case: Case, change: _Change) -> Sequence[str]:
    """Return the requirements that bring along what the old environment had."""
    brings_torch = "torch" in change.installed
    names = _WITH_ANY_TORCH if brings_torch else (*_WITH_ITS_TORCH, *_WITH_ANY_TORCH)
    dists = {} if case.snapshot.dists is UNKNOWN else case.snapshot.dists
    found = []
    for name in names:
        version = parse_version(dists.get(name))
        if version and name not in change.installed | change.removed:
            found.append(f"{name}=={version.public}")
    return found
