"""From a case to its findings: run the rules, weigh them against each other, sort them."""

from collections.abc import Sequence
from dataclasses import replace

from qtool.doctor.case import Case
from qtool.doctor.commands import TORCH_INDEX_URL, TORCH_INDEX_VARIABLE
from qtool.doctor.finding import Confidence, Finding, Severity
from qtool.doctor.foresight import without_harm
from qtool.doctor.kernels import KernelReport, KernelState, awq_kernels, gptq_kernels
from qtool.doctor.new_environment import in_new_environment
from qtool.doctor.rules import RULES, Rule
from qtool.doctor.rules.imports import with_imports_as_evidence
from qtool.language.message import say, together


def diagnose(case: Case, rules: Sequence[Rule] = RULES) -> tuple[Finding, ...]:
    """Return every finding about ``case``, worst first; pure."""
    found = [finding for rule in rules for finding in rule(case)]
    found = _without_blame_for_conflicts(with_imports_as_evidence(found))
    if any(finding.code == "ENGINE-MISSING" for finding in found):
        # Its cures bring the torch that the engine needs.
        found = [finding for finding in found if finding.code != "TORCH-MISSING"]
    healthy = _old_but_good(case, found)
    found = [without_harm(case, finding) for finding in found]
    found = [_naming_mirrors(in_new_environment(case, finding)) for finding in found]
    found.sort(key=lambda finding: finding.severity.rank)
    return (*found, *healthy)


def _naming_mirrors(finding: Finding) -> Finding:
    """Say of cures that need PyTorch's own index that a mirror of it can take its place."""
    note = say(
        " (PyTorch's index; for a mirror of it: {variable}=URL qtool doctor)",
        variable=TORCH_INDEX_VARIABLE,
    )
    fixes = [
        replace(fix, title=together((fix.title, note)))
        if any(TORCH_INDEX_URL in command for command in fix.commands)
        else fix
        for fix in finding.fixes
    ]
    return replace(finding, fixes=tuple(fixes))


def _without_blame_for_conflicts(found: list[Finding]) -> list[Finding]:
    """Lower PIP-CONFLICT to a warning beside an error that says what actually breaks."""
    has_cause = any(f.severity is Severity.ERROR and f.code != "PIP-CONFLICT" for f in found)
    if not has_cause:
        return found
    return [
        replace(finding, severity=Severity.WARNING)
        if finding.code == "PIP-CONFLICT" and finding.severity is Severity.ERROR
        else finding
        for finding in found
    ]


def _old_but_good(case: Case, found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Praise auto-gptq or autoawq whose kernels load, where nothing was found wrong."""
    if any(finding.severity in (Severity.ERROR, Severity.WARNING) for finding in found):
        return ()
    if case.has_no_gpu:
        return ()
    good = [
        f"{name} {case.version(name)}"
        for name, report in (
            ("auto-gptq", gptq_kernels(case)),
            ("autoawq", _awq_report(case)),
        )
        if case.has(name) and report.state is KernelState.LOADS
    ]
    if not good:
        return ()
    return (
        Finding(
            code="OK-LEGACY",
            severity=Severity.OK,
            title=say(
                "{names}: an old set that fits together; leave it alone",
                names=together(good, say(" and ")),
            ),
            explanation=say(
                "These packages are no longer maintained, but this set is what they were made "
                "for: torch {torch}, transformers "
                "{transformers}. Upgrading any one of them "
                "would break it.",
                torch=case.torch_version,
                transformers=case.version("transformers") or say("not installed"),
            ),
            evidence=tuple(good),
            confidence=Confidence.LIKELY,
        ),
    )


def _awq_report(case: Case) -> KernelReport:
    """Judge autoawq: without the kernels' package it runs through Triton, which is fine."""
    if case.lacks("autoawq-kernels"):
        return KernelReport(KernelState.LOADS)
    return awq_kernels(case)
