"""What pip would make of a fix, foreseen from facts: what it moves, and what that breaks. Pure.

pip takes the newest release that the requirements of one command allow and moves along what those
declare; what other installed packages declare it does not ask. So a fix can be right for its
finding and break the rest. Only packages whose releases and requirements are facts are followed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.commands import COMPANIONS, companion
from qtool.doctor.described import format_of
from qtool.doctor.finding import Finding, Fix
from qtool.doctor.proven_sets import proven_set
from qtool.doctor.requirements import asked_of
from qtool.doctor.snapshot import UNKNOWN, Interpreter
from qtool.doctor.steps import Step, parse_step
from qtool.doctor.versions import is_within, minor_release, parse_version

Dists = Mapping[str, str]
Pair = tuple[str, str]


DECLARES_WRONGLY = ("autoawq-kernels",)
"""Their symbols decide what they load on, not what they declare; see the facts of autoawq."""


class Unsatisfiable(ValueError):
    """No release meets all that is asked."""


def without_harm(case: Case, finding: Finding) -> Finding:
    """Return the finding without fixes that would break what works.

    Where that leaves nothing to install, an environment of qtool's own takes their place.
    """
    good = tuple(fix for fix in finding.fixes if not harm_of(case, fix))
    if len(good) == len(finding.fixes):
        return finding
    is_any_left = any(steps_of(case, fix) for fix in good)
    own = None if is_any_left else proven_set(case, format_of(case.goal))
    return replace(finding, fixes=good if own is None or own in good else (*good, own))


def harm_of(case: Case, fix: Fix) -> frozenset[Pair]:
    """Return (holder, package) of requirements that ``fix`` would break; what was broken before
    does not count. A fix that cannot be carried out breaks itself: ("pip", the reason)."""
    dists = case.snapshot.dists
    steps = steps_of(case, fix)
    if dists is UNKNOWN or not steps:
        return frozenset()
    try:
        after = foresee(case, steps, dists)
    except Unsatisfiable as exc:
        return frozenset({("pip", str(exc))})
    return frozenset(_broken(case, after)) - frozenset(_broken(case, dists))


def steps_of(case: Case, fix: Fix) -> tuple[Step, ...]:
    """Return what pip would carry out of a fix; the rest leaves packages alone."""
    interpreter = case.snapshot.interpreter
    path = interpreter.path if isinstance(interpreter, Interpreter) else "python"
    if case.is_externally_managed:
        path = ".venv\\Scripts\\python.exe" if case.is_windows else ".venv/bin/python"
    parsed = (parse_step(one, path, is_windows=case.is_windows) for one in fix.commands)
    return tuple(step for step in parsed if step)


def foresee(case: Case, steps: Sequence[Step], dists: Dists) -> dict[str, str]:
    """Return the distributions as they would be after ``steps``.

    Raises:
        Unsatisfiable: a step could not be carried out.
    """
    state = dict(dists)
    for step in steps:
        if step.verb == "uninstall":
            for name in step.packages:
                state.pop(name, None)
            continue
        for name, versions in step.packages.items():
            _install(step, name, versions, state)
        if "--no-deps" not in step.argv:
            _settle(case, step, state)
    return state


def _install(step: Step, name: str, versions: str, state: dict[str, str]) -> None:
    """Take what is named; unless it is to upgrade, pip keeps what is there and fits."""
    is_kept = not {"--upgrade", "--force-reinstall"} & set(step.argv)
    if is_kept and name in state and (not versions or is_within(state[name], versions)):
        return
    if (found := _newest(name, versions, state)) is not None:
        state[name] = found


def _newest(name: str, versions: str, state: Dists) -> str | None:
    """Return the newest release within ``versions``; ``None`` of packages not followed."""
    if name in COMPANIONS and not versions:
        return companion(name, state.get("torch", ""))
    if versions.startswith("==") and "," not in versions:
        return versions[2:]
    releases = facts.fact("releases", "known").get(name)
    if releases is None:
        return None
    fitting = [one for one in releases if not versions or is_within(one, versions)]
    if not fitting:
        raise Unsatisfiable(f"{name}{versions}")
    return str(fitting[-1])


def _settle(case: Case, step: Step, state: dict[str, str]) -> None:
    """Move what the named packages declare, and what that declares, where it is not met."""
    pending = [name for name in step.packages if name in state]
    for name in pending:
        for other, specifier in asked_of(case, name, state[name]):
            if other in state and is_within(state[other], specifier):
                continue
            asked = step.packages.get(other, "")
            found = _newest(other, ",".join(filter(None, (asked, specifier))), state)
            if found is not None and state.get(other) != found:
                if len(pending) > 200:
                    raise Unsatisfiable(f"{name} wants {other}{specifier}")
                state[other] = found
                pending.append(other)


def _broken(case: Case, dists: Dists) -> Iterator[Pair]:
    """Yield (holder, package) of what is not met: declared requirements, and torch's own ties."""
    for holder in dists.keys() - set(DECLARES_WRONGLY):
        for name, specifier in asked_of(case, holder, dists[holder]):
            installed = dists.get(name)
            if parse_version(installed) and not is_within(installed, specifier):
                yield holder, name
    torch = dists.get("torch")
    is_old = is_within(torch, facts.fact("torch", "numpy1_only"))
    if is_old and is_within(dists.get("numpy"), ">=2"):
        yield "torch", "numpy"
    for name in COMPANIONS:
        wanted = companion(name, torch or "")
        if wanted and name in dists and minor_release(dists[name]) != minor_release(wanted):
            yield name, "torch"
