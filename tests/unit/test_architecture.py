"""The direction of dependencies, read from the imports themselves."""

import ast
import functools
import re
from pathlib import Path

import pytest

import qtool

PACKAGE = Path(qtool.__file__).parent

RANKS = {
    "__main__": 4,
    "cli": 3,
    "download": 2,
    "doctor": 2,
    "chat": 2,
    "engines": 2,
    "envs": 2,
    "models": 1,
    "hub": 1,
    "config": 1,
    "output": 1,
    "ram": 1,
    "nvidia": 1,
    "locks": 1,
    "language": 0,
    "units": 0,
    "errors": 0,
    "__init__": 0,
}
PRINTERS = re.compile(r"cli(/|$)|chat/ui/|output\.py$")
HEAVY = {"torch", "transformers", "llama_cpp", "auto_gptq", "awq", "gptqmodel", "vllm", "optimum"}
CHILD_PROGRAMS = re.compile(r"engines/(llama_cpp_server\.py|transformers_server/)")


@functools.cache
def imported_modules(path: Path) -> frozenset[str]:
    """Return the dotted names that ``path`` imports, anywhere in the file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def parts(root: Path) -> dict[str, set[str]]:
    """Return for each top-level part of the package the other parts that it imports."""
    graph: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        part = path.relative_to(root).parts[0].removesuffix(".py")
        own = graph.setdefault(part, set())
        for name in imported_modules(path):
            words = name.split(".")
            if words[0] == "qtool" and len(words) > 1 and is_part(root, words[1]):
                own.add(words[1])
        own.discard(part)
    return graph


def is_part(root: Path, name: str) -> bool:
    return (root / name).is_dir() or (root / f"{name}.py").is_file()


def back_arrows(graph: dict[str, set[str]]) -> list[str]:
    """Return every arrow that points to a higher rank."""
    return [
        f"{part} -> {other}"
        for part, others in sorted(graph.items())
        for other in sorted(others)
        if RANKS[other] > RANKS[part]
    ]


def find_circle(graph: dict[str, set[str]]) -> list[str] | None:
    """Return one circle of parts, or ``None``."""

    def walk(part: str, trail: list[str]) -> list[str] | None:
        if part in trail:
            return [*trail[trail.index(part) :], part]
        for other in sorted(graph.get(part, ())):
            if circle := walk(other, [*trail, part]):
                return circle
        return None

    return next((circle for part in graph if (circle := walk(part, []))), None)


def test_every_part_has_a_rank():
    assert set(parts(PACKAGE)) <= set(RANKS)


def test_no_arrow_points_back():
    assert back_arrows(parts(PACKAGE)) == []


def test_there_is_no_circle():
    assert find_circle(parts(PACKAGE)) is None


def test_a_planted_back_arrow_is_found(tmp_path: Path):
    (tmp_path / "models").mkdir()
    (tmp_path / "cli").mkdir()
    (tmp_path / "models" / "gguf.py").write_text("def f():\n    from qtool.cli import chat\n")
    assert back_arrows(parts(tmp_path)) == ["models -> cli"]


def test_a_planted_circle_is_found(tmp_path: Path):
    (tmp_path / "chat.py").write_text("import qtool.engines\n")
    (tmp_path / "engines.py").write_text("from qtool import chat\n")
    assert find_circle(parts(tmp_path)) is not None


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_module_keeps_the_house_rules(path: Path):
    name = path.relative_to(PACKAGE).as_posix()
    imports = imported_modules(path)
    if not PRINTERS.search(name):
        assert "qtool.output" not in imports, "only the command line and the chat's screen print"
    if not CHILD_PROGRAMS.match(name) and "/probes/" not in name:
        assert not {module.split(".")[0] for module in imports} & HEAVY
