"""Tokens with a meaning of their own, what frames a text, and the chat template."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtool.engines.repack.rope import MAX_UINT32
from qtool.engines.repack.vocabulary import Vocabulary, flat_steps
from qtool.models.fields import Fields
from qtool.models.json_file import read_json_fields


def special_ids(
    folder: Path, tokenizer: Fields, config: Fields, vocabulary: Vocabulary
) -> dict[str, object]:
    """Return the ids of tokens with a meaning, as the tokenizer says it, else the configuration.

    Every further end that generation_config.json names is one of a turn (EOT).
    """
    ids: dict[str, object] = {}
    generation, model = (
        read_optional(folder / "generation_config.json"),
        read_optional(folder / "config.json"),
    )
    for kind in ("bos", "eos", "unk", "pad"):
        index = vocabulary.id_of(_token_text(config.data.get(f"{kind}_token")))
        stated = [index, *_ids(model, kind), *_ids(generation, kind)]
        index = next(
            (one for one in stated if one is not None and one < len(vocabulary.tokens)), None
        )
        if index is not None:
            name = {"unk": "unknown", "pad": "padding"}.get(kind, kind)
            ids[f"tokenizer.ggml.{name}_token_id"] = index
    ends = [end for end in _ids(generation, "eos") if end != ids.get("tokenizer.ggml.eos_token_id")]
    if ends:
        ids["tokenizer.ggml.eot_token_id"] = ends[-1]
    first, last = _framing(tokenizer, config)
    ids["tokenizer.ggml.add_bos_token"] = first and "tokenizer.ggml.bos_token_id" in ids
    ids["tokenizer.ggml.add_eos_token"] = last and "tokenizer.ggml.eos_token_id" in ids
    return ids


def _framing(tokenizer: Fields, config: Fields) -> tuple[bool, bool]:
    """Tell whether BOS is put before text and EOS after it.

    By ``add_bos_token`` and ``add_eos_token`` of tokenizer_config.json where they are, of which
    transformers' classes make the post-processor, else by the post-processor itself.
    """
    processor = tokenizer.data.get("post_processor")
    template: list[Any] = []
    for step in flat_steps(processor, "processors"):
        if step.get("type") == "TemplateProcessing":
            template = list(step.get("single") or [])
    is_special = ["SpecialToken" in part for part in template if isinstance(part, Mapping)]
    frame = (is_special[0], is_special[-1]) if len(is_special) > 1 else (False, False)
    stated = config.boolean("add_bos_token"), config.boolean("add_eos_token")
    first, last = (one if said is None else said for said, one in zip(stated, frame, strict=True))
    return first, last


def _ids(fields: Fields, kind: str) -> list[int]:
    value = fields.data.get(f"{kind}_token_id")
    values = value if isinstance(value, list) else [value]
    whole = (one for one in values if isinstance(one, int) and not isinstance(one, bool))
    return [one for one in whole if 0 <= one <= MAX_UINT32]


def _token_text(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def chat_template(folder: Path, config: Fields) -> dict[str, object]:
    """The chat template, looked for where transformers looks."""
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return {"tokenizer.chat_template": jinja.read_text(encoding="utf-8")}
    for fields in (read_optional(folder / "chat_template.json"), config):
        template = fields.data.get("chat_template")
        if isinstance(template, list):
            named = {one.get("name"): one.get("template") for one in template}
            template = named.get("default")
        if isinstance(template, str):
            return {"tokenizer.chat_template": template}
    return {}


def read_optional(path: Path) -> Fields:
    """Return the object in a JSON file, an empty one without the file."""
    return read_json_fields(path) if os.path.lexists(path) else Fields({}, str(path))
