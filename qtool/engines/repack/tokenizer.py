"""The tokenizer of a checkpoint as llama.cpp's keys; the rest is in its neighbours."""

import re
from pathlib import Path

from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.special_tokens import chat_template, read_optional, special_ids
from qtool.engines.repack.vocabulary import read_vocabulary
from qtool.models.json_file import read_json_fields

MAX_TOKENIZER_BYTES = 100 * 2**20
"""The largest known (Gemma 3) has 33 MB."""


def read_tokenizer(folder: Path, n_rows: int) -> dict[str, object]:
    """Return the keys ``tokenizer.…`` and ``general.name``; the embedding has ``n_rows``.

    Raises:
        NotRepackable: llama.cpp would make other tokens.
        IntegrityError: tokenizer.json is missing or damaged.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise NotRepackable("there is no tokenizer.json", folder)
    tokenizer = read_json_fields(path, limit_bytes=MAX_TOKENIZER_BYTES)
    config = read_optional(folder / "tokenizer_config.json")
    vocabulary = read_vocabulary(tokenizer, n_rows)
    return {
        "general.name": _name(folder.resolve().name, is_phi3=vocabulary.is_phi3),
        "tokenizer.ggml.tokens": list(vocabulary.tokens),
        "tokenizer.ggml.token_type": [int(kind) for kind in vocabulary.types],
        **vocabulary.metadata,
        **special_ids(folder, tokenizer, config, vocabulary),
        **chat_template(folder, config),
    }


def _name(name: str, *, is_phi3: bool) -> str:
    """llama.cpp lets some models' tokens swallow spaces, and knows these models by their names."""
    plain = re.sub(r"(phi|modern)-?(3|bert)", r"\1 \2", name, flags=re.IGNORECASE)
    return f"Phi-3 {plain}" if is_phi3 else plain
