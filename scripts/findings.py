"""Write docs/findings.md, the codes that `qtool doctor` uses, from the rules themselves.

``python scripts/findings.py`` writes it; a test fails when it is stale.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT)]

from qtool.language.translation import Language, load_catalogue  # noqa: E402 - after the path

PLACE = ROOT / "docs" / "findings.md"
DOCTOR = ROOT / "qtool" / "doctor"
HEAD = """# What `qtool doctor` finds

`python scripts/findings.py` wrote this page from the rules. A code is stable: programs that read
`--json` may rely on it. How bad a finding is depends on the goal: what it does not need is
information at most. `…` stands for what is seen on the machine; with `--lang zh` the titles are
those on the right.

| code | title | 中文 |
|---|---|---|
"""


def page() -> str:
    """Return the page."""
    rows = sorted({(code, title) for path in _rules() for code, title in _findings(path)})
    catalogue = load_catalogue(Language.CHINESE)
    lines = [f"| {c} | {_plain(t)} | {_plain(catalogue.get(t, t))} |" for c, t in rows]
    return HEAD + "\n".join(lines) + "\n"


def _rules() -> list[Path]:
    return [*sorted((DOCTOR / "rules").glob("*.py")), DOCTOR / "diagnosis.py"]


def _findings(path: Path) -> Iterator[tuple[str, str]]:
    """Yield code and title of every finding that a file makes; several where they are chosen."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding":
            given = {word.arg: word.value for word in call.keywords}
            titles = _titles(given["title"], tree)
            for code in _codes(given["code"], tree):
                yield from ((code, title) for title in titles)


def _codes(node: ast.expr, tree: ast.Module) -> list[str]:
    """Return a literal code, or all of the table that it is looked up in."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    assert isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
    tables = [
        one.value
        for one in tree.body
        if isinstance(one, ast.Assign) and getattr(one.targets[0], "id", "") == node.value.id
    ]
    return sorted({value.value for table in tables for value in table.values})  # type: ignore[attr-defined]


def _titles(node: ast.expr, tree: ast.Module) -> list[str]:
    """Return the template of a title; where it is made elsewhere, those of what returns a title
    with its evidence (``Problem``)."""
    if isinstance(node, ast.Call):
        return _templates(node)[:1]
    makers = [
        one
        for one in tree.body
        if isinstance(one, ast.FunctionDef)
        and one.returns is not None
        and ast.unparse(one.returns).startswith("Problem")
    ]
    return [template for one in makers for template in _templates(one)]


def _templates(node: ast.AST) -> list[str]:
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    says = [one.args[0] for one in calls if getattr(one.func, "id", "") == "say"]
    return [str(one.value) for one in says if isinstance(one, ast.Constant)]


def _plain(template: str) -> str:
    return re.sub(r"\{\w+(:[^}]*)?\}", "…", template).replace("|", "\\|")


if __name__ == "__main__":
    PLACE.write_text(page(), encoding="utf-8")
