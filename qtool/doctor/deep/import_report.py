"""What became of the imports, a line for each module. Pure."""

from collections.abc import Iterator

from qtool.doctor.case import Case
from qtool.doctor.lines import Line, LineKind
from qtool.doctor.rules.imports import PACKAGES
from qtool.doctor.snapshot import UNKNOWN, ImportAttempt
from qtool.language.message import say


def import_lines(case: Case) -> Iterator[Line]:
    """Yield a heading and a line a module: name, version, whether it imported, in what time.

    Nothing where nothing was imported on purpose, that is without ``--deep``.
    """
    imports = case.snapshot.imports
    if imports is UNKNOWN:
        return
    yield Line(LineKind.TEXT, "")
    if not imports:
        none = say("imports: none of the modules that matter here is installed")
        yield Line(LineKind.SUMMARY, none)
        return
    yield Line(LineKind.SUMMARY, say("imports, each in a process of its own:"))
    rows = {module: (module, _version(case, module)) for module in imports}
    widths = [max(len(row[column]) for row in rows.values()) for column in range(2)]
    for module, attempt in imports.items():
        name, version = rows[module]
        cells = f"{name.ljust(widths[0])}  {version.ljust(widths[1])}"
        yield _line(cells, attempt)


def _line(cells: str, attempt: ImportAttempt) -> Line:
    seconds = "" if attempt.seconds is UNKNOWN else f"{attempt.seconds:.1f} s"
    if not attempt.failed:
        return Line(LineKind.OK, f"  ✓ {cells}  {seconds}".rstrip())
    return Line(LineKind.ERROR, f"  ✗ {cells}  {seconds}  {attempt.ending}: {attempt.detail}")


def _version(case: Case, module: str) -> str:
    """Return the version of a module's distribution; empty for one that belongs to another."""
    name, _ = PACKAGES.get(module, (module, ()))
    return case.version(name) or ""
