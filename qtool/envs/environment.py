"""An environment that has proven itself, as its record on disk tells it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Environment:
    """A finished environment.

    Attributes:
        python: Its interpreter, to run engines with.
        engine: What runs models in it: ``llama.cpp``, ``transformers``, ``vllm``.
        serves: Formats of models it is for: ``gguf``, ``gptq``, ``awq``, ``plain``.
        versions: Canonical name to version of every distribution in it.
        proof: What the recipe's probe found out when it was made.
        created_at: Date and time in UTC, ISO 8601.
    """

    name: str
    recipe: str
    variant: str
    path: Path
    python: Path
    python_version: str
    engine: str
    serves: tuple[str, ...]
    versions: Mapping[str, str]
    proof: tuple[str, ...]
    created_at: str
    size_bytes: int

    @property
    def is_intact(self) -> bool:
        """Tell whether its interpreter is still there (the Python it was made with may go)."""
        return self.python.exists()

    def to_json(self) -> dict[str, Any]:
        """Return the environment as plain JSON values."""
        return {
            "name": self.name,
            "recipe": self.recipe,
            "variant": self.variant,
            "path": str(self.path),
            "python": str(self.python),
            "python_version": self.python_version,
            "engine": self.engine,
            "serves": list(self.serves),
            "versions": dict(self.versions),
            "proof": list(self.proof),
            "created_at": self.created_at,
            "size_bytes": self.size_bytes,
            "is_intact": self.is_intact,
        }


def write_record(environment: Environment) -> str:
    """Return the record of an environment as text; its paths are relative to the record's folder.

    So a home folder may move, as far as the environment itself survives that.
    """
    folder = environment.path.parent
    document = environment.to_json()
    document["path"] = environment.path.name
    document["python"] = environment.python.relative_to(folder).as_posix()
    del document["is_intact"]
    return json.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=1) + "\n"


def read_record(folder: Path, text: str) -> Environment:
    """Return the environment that a record in ``folder`` tells of.

    Raises:
        ValueError: it is no record, or one of another version of qtool.
    """
    document = json.loads(text)
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise ValueError("another version of qtool made it")
    try:
        return Environment(
            name=str(document["name"]),
            recipe=str(document["recipe"]),
            variant=str(document["variant"]),
            path=folder / document["path"],
            python=folder / document["python"],
            python_version=str(document["python_version"]),
            engine=str(document["engine"]),
            serves=tuple(document["serves"]),
            versions=dict(document["versions"]),
            proof=tuple(document["proof"]),
            created_at=str(document["created_at"]),
            size_bytes=int(document["size_bytes"]),
        )
    except (KeyError, TypeError) as exc:
        raise ValueError(f"it lacks {exc}") from exc
