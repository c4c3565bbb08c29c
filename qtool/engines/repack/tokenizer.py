"""The tokenizer of a checkpoint as llama.cpp's keys: vocabulary, merges, special tokens, template.

Two families are known: byte-level BPE (GPT-2, Llama 3, Qwen; llama.cpp calls it ``gpt2``) and BPE
over characters with a space marker and bytes to fall back on (Llama 2, Mistral, Gemma, Phi 3;
``llama``). Everything comes from tokenizer.json and tokenizer_config.json, formats of
https://github.com/huggingface/tokenizers.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from qtool.engines.repack.pre_tokenizers import name_pre_tokenizer
from qtool.engines.repack.refusal import NotRepackable
from qtool.errors import IntegrityError
from qtool.models.fields import Fields
from qtool.models.json_file import read_json_fields

MAX_TOKENIZER_BYTES = 100 * 2**20
"""The largest known (Gemma 3) has 33 MB."""
SPACE = "▁"


class TokenType(IntEnum):
    """``llama_token_type`` of include/llama.h."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Tokens by id, their types, and what llama.cpp needs to make them from text."""

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    metadata: Mapping[str, object]

    def id_of(self, token: str | None) -> int | None:
        """Return the id of ``token``; None if there is none."""
        if token is None or token not in self.tokens:
            return None
        return self.tokens.index(token)


def read_tokenizer(folder: Path, n_rows: int) -> dict[str, object]:
    """Return the keys ``tokenizer.…`` for a model whose embedding has ``n_rows``.

    Raises:
        NotRepackable: llama.cpp would make other tokens.
        IntegrityError: tokenizer.json is missing or damaged.
    """
    path = folder / "tokenizer.json"
    if not path.exists():
        raise NotRepackable("there is no tokenizer.json", folder)
    tokenizer = read_json_fields(path, limit_bytes=MAX_TOKENIZER_BYTES)
    config = _optional(folder / "tokenizer_config.json")
    vocabulary = read_vocabulary(tokenizer, n_rows)
    return {
        "tokenizer.ggml.tokens": list(vocabulary.tokens),
        "tokenizer.ggml.token_type": [int(kind) for kind in vocabulary.types],
        **vocabulary.metadata,
        **_special_ids(folder, tokenizer, config, vocabulary),
        **_template(folder, config),
    }


def read_vocabulary(tokenizer: Fields, n_rows: int) -> Vocabulary:
    """Return the vocabulary of a tokenizer.json, filled up to ``n_rows`` tokens."""
    model = tokenizer.section("model")
    if model is None or (model.text("type") or "BPE") != "BPE":
        raise NotRepackable(
            f"its tokenizer is {model.text('type') if model else 'unknown'}, not BPE"
        )
    for key in ("continuing_subword_prefix", "end_of_word_suffix", "dropout"):
        if model.data.get(key):
            raise NotRepackable(f"its tokenizer has a {key}")
    tokens, types = _tokens(tokenizer, model, n_rows)
    merges = _merges(model)
    if model.boolean("byte_fallback"):
        return _with_scores(tokenizer, tokens, types, merges)
    pre = name_pre_tokenizer(
        tokenizer.data.get("pre_tokenizer"), ignores_merges=bool(model.boolean("ignore_merges"))
    )
    normalizer = tokenizer.section("normalizer")
    if normalizer is not None and normalizer.text("type") != "NFC":
        raise NotRepackable(f"its tokenizer normalises text ({normalizer.text('type')})")
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in merges],
    }
    return Vocabulary(tuple(tokens), tuple(types), metadata)


def _tokens(tokenizer: Fields, model: Fields, n_rows: int) -> tuple[list[str], list[TokenType]]:
    vocab = model.section("vocab")
    if vocab is None:
        model.reject("vocab", "an object")
    tokens: list[str | None] = [None] * n_rows
    types = [TokenType.UNUSED] * n_rows
    is_byte_token = bool(model.boolean("byte_fallback"))

    def put(token: object, index: object, kind: TokenType) -> None:
        if not isinstance(token, str) or not isinstance(index, int) or index < 0:
            raise IntegrityError(f"{tokenizer.source}: a token is malformed")
        if index >= n_rows:
            raise IntegrityError(
                f"{tokenizer.source}: token {index} has no row in the embedding, which has {n_rows}"
            )
        tokens[index], types[index] = token, kind

    for token, index in vocab.data.items():
        is_byte = is_byte_token and len(token) == 6 and token.startswith("<0x")
        put(token, index, TokenType.BYTE if is_byte else TokenType.NORMAL)
    unknown = model.text("unk_token")
    for added in _added(tokenizer):
        content, index = added.text("content"), added.integer("id")
        _check_plain(added)
        kind = TokenType.CONTROL if added.boolean("special") else TokenType.USER_DEFINED
        put(content, index, TokenType.UNKNOWN if content == unknown else kind)
    return [token or f"[PAD{index}]" for index, token in enumerate(tokens)], types


def _added(tokenizer: Fields) -> list[Fields]:
    added = tokenizer.data.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(one, Mapping) for one in added):
        tokenizer.reject("added_tokens", "a list of objects")
    return [Fields(one, f"{tokenizer.source}: added_tokens") for one in added]


def _check_plain(added: Fields) -> None:
    """llama.cpp finds added tokens wherever they stand, and leaves the text around them alone."""
    for key in ("lstrip", "rstrip", "single_word"):
        if added.boolean(key):
            raise NotRepackable(f"its token {added.text('content')!r} has {key}")


def _merges(model: Fields) -> list[tuple[str, str]]:
    merges = model.data.get("merges") or []
    if not isinstance(merges, list):
        model.reject("merges", "a list")
    pairs = []
    for merge in merges:
        pair = tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge)
        if len(pair) != 2 or not all(isinstance(part, str) for part in pair):
            model.reject("merges", "a list of pairs")
        pairs.append(pair)
    return pairs


def _with_scores(
    tokenizer: Fields, tokens: list[str], types: list[TokenType], merges: list[tuple[str, str]]
) -> Vocabulary:
    """llama.cpp joins the neighbours whose whole has the best score: that of the merge that makes
    it, the earlier the better. What no merge makes must not be joined at all."""
    scores = [-1e9] * len(tokens)
    places = {token: index for index, token in enumerate(tokens)}
    for rank, (left, right) in enumerate(merges):
        index = places.get(left + right)
        if index is not None and scores[index] == -1e9:
            scores[index] = -float(rank)
    metadata: dict[str, object] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": _prefixes_space(tokenizer),
    }
    return Vocabulary(tuple(tokens), tuple(types), metadata)


def _prefixes_space(tokenizer: Fields) -> bool:
    """Tell whether a space is put before text, at its beginning and after every special token."""
    steps = _steps(tokenizer.data.get("normalizer"), "normalizers")
    cuts = _steps(tokenizer.data.get("pre_tokenizer"), "pretokenizers")
    replaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    if [dict(step) for step in steps] == [{"type": "Prepend", "prepend": SPACE}, replaces]:
        if not cuts:
            return True
    elif [dict(step) for step in steps] == [replaces]:
        # Gemma cuts at spaces after there are none left.
        if all(_cuts_spaces(step) for step in cuts):
            return False
    elif not steps and len(cuts) == 1 and cuts[0].get("type") == "Metaspace":
        # "first" puts it before text that begins with no special token; chats begin with one.
        scheme = cuts[0].get("prepend_scheme")
        if cuts[0].get("split") is False and scheme in ("first", "never", "always"):
            return bool(scheme == "always")
    raise NotRepackable("its tokenizer treats spaces in a way that llama.cpp does not know")


def _cuts_spaces(step: Mapping[str, Any]) -> bool:
    return step.get("type") == "Split" and step.get("pattern") == {"String": " "}


def _steps(step: object, key: str) -> list[Mapping[str, Any]]:
    if not isinstance(step, Mapping):
        return []
    if step.get("type") == "Sequence":
        return [one for part in step.get(key, ()) for one in _steps(part, key)]
    return [step]


def _special_ids(
    folder: Path, tokenizer: Fields, config: Fields, vocabulary: Vocabulary
) -> dict[str, object]:
    ids: dict[str, object] = {}
    generation, model = (
        _optional(folder / "generation_config.json"),
        _optional(folder / "config.json"),
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
    """Tell whether text is put between BOS and EOS: what the post-processor does, nothing else."""
    processor = tokenizer.data.get("post_processor")
    template: list[Any] = []
    for step in _steps(processor, "processors"):
        if step.get("type") == "TemplateProcessing":
            template = list(step.get("single") or [])
    is_special = ["SpecialToken" in part for part in template if isinstance(part, Mapping)]
    return (is_special[0], is_special[-1]) if len(is_special) > 1 else (False, False)


def _ids(fields: Fields, kind: str) -> list[int]:
    value = fields.data.get(f"{kind}_token_id")
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, int) and not isinstance(one, bool)]


def _token_text(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _template(folder: Path, config: Fields) -> dict[str, object]:
    """The chat template, looked for where transformers looks."""
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        return {"tokenizer.chat_template": jinja.read_text(encoding="utf-8")}
    for fields in (_optional(folder / "chat_template.json"), config):
        template = fields.data.get("chat_template")
        if isinstance(template, list):
            named = {one.get("name"): one.get("template") for one in template}
            template = named.get("default")
        if isinstance(template, str):
            return {"tokenizer.chat_template": template}
    return {}


def _optional(path: Path) -> Fields:
    return read_json_fields(path) if os.path.lexists(path) else Fields({}, str(path))
