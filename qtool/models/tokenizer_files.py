"""Whether a checkpoint has what turns text into tokens."""

from pathlib import Path

from qtool.errors import IntegrityError
from qtool.language.message import say, together
from qtool.models.weight_file import REFETCH_HINT

NAMES = frozenset(
    {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json"}
)
SUFFIXES = frozenset({".tiktoken", ".model", ".py"})
"""What a tokenizer may lie in: files of known names, or what code of the model's own reads."""


def require_tokenizer(folder: Path) -> None:
    """Refuse a folder in which nothing could be a tokenizer, or which has no config.json.

    A download that was stopped leaves such folders; transformers' words for it help nobody.

    Raises:
        IntegrityError: what is missing.
    """
    files = list(folder.iterdir())
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(file.name in NAMES or file.suffix in SUFFIXES for file in files):
        missing.append("tokenizer.json")
    if missing:
        told = say("{path} is incomplete: {name} is missing", path=folder, name=missing[0])
        if len(missing) > 1:
            told = say(
                "{path} is incomplete: {names} are missing",
                path=folder,
                names=together(missing, " and "),
            )
        raise IntegrityError(told, hint=REFETCH_HINT)
