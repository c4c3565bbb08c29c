"""The table of starter models (``starters.toml``) and where the cache keeps them."""

from dataclasses import dataclass
from pathlib import Path

DEFAULT_NAME = "starter"


@dataclass(frozen=True, slots=True)
class Starter:
    """A small model that a newcomer can have without knowing a hub."""

    name: str
    title: str
    filename: str
    size_bytes: int
    sha256: str
    license: str
    hub_repo: str
    hub_revision: str
    wheel_requirement: str
    wheel_member: str
    system: str
    temperature: float


def load_starters() -> tuple[Starter, ...]:
    """Read the table; the first one is the default."""
    import tomllib

    # importlib.resources would cost 3 ms at every start.
    text = Path(__file__).with_name("starters.toml").read_text(encoding="utf-8")
    return tuple(Starter(**item) for item in tomllib.loads(text)["starter"])


def find_starter(name: str) -> Starter | None:
    """Return the starter called ``name`` (any case), ``None`` when there is none."""
    if "/" in name:
        return None
    starters = load_starters()
    if name.lower() == DEFAULT_NAME:
        return starters[0]
    return next((starter for starter in starters if starter.name == name.lower()), None)


def starter_path(starter: Starter, cache_dir: Path) -> Path:
    """Return where ``starter`` lies once it has been fetched; a file there is a verified one."""
    return cache_dir / "starters" / starter.sha256[:12] / starter.filename
