"""What distributions declare of each other: their own metadata, else what is known of a release."""

from collections.abc import Iterator

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.versions import is_within, parse_version


def asked_of(case: Case, holder: str, version: str) -> Iterator[tuple[str, str]]:
    """Yield (package, specifier) of what release ``version`` of ``holder`` wants on this machine.

    Without extras, and without what has no bound.
    """
    from packaging.requirements import InvalidRequirement, Requirement

    for line in requirement_lines(case, holder, version):
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.specifier and _is_asked(case, requirement.marker):
            yield requirement.name.lower().replace("_", "-"), str(requirement.specifier)


def requirement_lines(case: Case, holder: str, version: str) -> tuple[str, ...]:
    """Return the ``Requires-Dist`` lines of a release: of the one installed, those it has."""
    if holder in case.snapshot.requires and version == case.version(holder):
        return case.snapshot.requires[holder]
    for row in facts.fact("requirements", "declared"):
        if row["package"] == holder and is_within(version, row["versions"]):
            return tuple(row["requires"])
    return ()


def _is_asked(case: Case, marker: object) -> bool:
    """Evaluate a requirement's marker for the examined machine, without extras."""
    from packaging.markers import Marker, UndefinedEnvironmentName

    if not isinstance(marker, Marker):
        return True
    environment = {"extra": ""}
    version = parse_version(case.snapshot.python)
    if version is not None:
        environment["python_version"] = f"{version.major}.{version.minor}"
        environment["python_full_version"] = str(version)
    if case.snapshot.os.system is not UNKNOWN:
        system = case.snapshot.os.system
        names = {"Linux": "linux", "Windows": "win32", "Darwin": "darwin"}
        environment["platform_system"] = system
        environment["sys_platform"] = names.get(system, system.lower())
    if case.snapshot.os.arch is not UNKNOWN:
        environment["platform_machine"] = case.snapshot.os.arch
    try:
        return marker.evaluate(environment)
    except UndefinedEnvironmentName:
        return False
