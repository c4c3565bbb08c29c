"""The vocabulary of a tokenizer.json as llama.cpp keeps it: tokens, types, merges or scores.

Two families are known: byte-level BPE (GPT-2, Llama 3, Qwen; llama.cpp calls it ``gpt2``) and BPE
over characters with a space marker and bytes to fall back on (Llama 2, Mistral, Gemma, Phi 3;
``llama``). The format is that of https://github.com/huggingface/tokenizers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from qtool.engines.repack.pre_tokenizers import name_pre_tokenizer
from qtool.engines.repack.refusal import NotRepackable
from qtool.errors import IntegrityError
from qtool.models.fields import Fields

SPACE = "▁"
_UNJOINED = -1e9
_PHI3_PLAIN = {"<unk>", "<s>", "<|endoftext|>"}
"""Phi 3's only tokens that leave the spaces after them. Source: ``load`` in llama-vocab.cpp."""


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
    """Tokens by id, their types, and what llama.cpp needs to make them from text.

    ``is_phi3``: added tokens swallow spaces in the way of that model.
    """

    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    metadata: Mapping[str, object]
    is_phi3: bool = False

    def id_of(self, token: str | None) -> int | None:
        """Return the id of ``token``; None if there is none."""
        if token is None or token not in self.tokens:
            return None
        return self.tokens.index(token)


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
        metadata = _score_keys(tokenizer, tokens, types, merges)
    else:
        metadata = _merge_keys(tokenizer, model, merges)
    return Vocabulary(tuple(tokens), tuple(types), metadata, _swallows_spaces(tokenizer))


def _merge_keys(
    tokenizer: Fields, model: Fields, merges: list[tuple[str, str]]
) -> dict[str, object]:
    pre = name_pre_tokenizer(
        tokenizer.data.get("pre_tokenizer"), ignores_merges=bool(model.boolean("ignore_merges"))
    )
    normalizer = tokenizer.section("normalizer")
    if normalizer is not None and normalizer.text("type") != "NFC":
        raise NotRepackable(f"its tokenizer normalises text ({normalizer.text('type')})")
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        # llama.cpp insists on merges; an empty list would not be written. This one never applies.
        "tokenizer.ggml.merges": [f"{left} {right}" for left, right in merges] or [" "],
    }


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
        kind = TokenType.CONTROL if added.boolean("special") else TokenType.USER_DEFINED
        put(content, index, TokenType.UNKNOWN if content == unknown else kind)
    filled = [token or f"[PAD{index}]" for index, token in enumerate(tokens)]
    if len(set(filled)) < n_rows or any("\0" in token for token in filled):
        # llama.cpp, where text ends at a NUL, would abort.
        raise NotRepackable("two of its tokens are the same text, or one contains a NUL")
    return filled, types


def _added(tokenizer: Fields) -> list[Fields]:
    added = tokenizer.data.get("added_tokens") or []
    if not isinstance(added, list) or not all(isinstance(one, Mapping) for one in added):
        tokenizer.reject("added_tokens", "a list of objects")
    return [Fields(one, f"{tokenizer.source}: added_tokens") for one in added]


def _swallows_spaces(tokenizer: Fields) -> bool:
    """Tell whether added tokens swallow the spaces that follow, as those of Phi 3 do.

    llama.cpp finds added tokens wherever they stand, and leaves the text around them alone; Phi
    3's it treats as they are, and knows them by the model's name.
    """
    added = _added(tokenizer)
    for key in ("lstrip", "single_word"):
        if found := next((one for one in added if one.boolean(key)), None):
            raise NotRepackable(f"its token {found.text('content')!r} has {key}")
    swallowing = {one.text("content") for one in added if one.boolean("rstrip")}
    if not swallowing:
        return False
    if {one.text("content") for one in added} - swallowing == _PHI3_PLAIN and "</s>" in swallowing:
        return True
    raise NotRepackable(f"its token {min(map(str, swallowing))!r} has rstrip")


def _merges(model: Fields) -> list[tuple[str, str]]:
    merges = model.data.get("merges") or []
    if not isinstance(merges, list):
        model.reject("merges", "a list")
    pairs = []
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if (
            not isinstance(pair, list)
            or len(pair) != 2
            or not all(isinstance(part, str) for part in pair)
        ):
            model.reject("merges", "a list of pairs")
        pairs.append((pair[0], pair[1]))
    return pairs


def _score_keys(
    tokenizer: Fields, tokens: list[str], types: list[TokenType], merges: list[tuple[str, str]]
) -> dict[str, object]:
    """llama.cpp joins the neighbours whose whole has the best score: that of the merge that makes
    it, the earlier the better. It joins all that makes a token, with a merge or without."""
    scores = [_UNJOINED] * len(tokens)
    places = {token: index for index, token in enumerate(tokens)}
    for rank, (left, right) in enumerate(merges):
        index = places.get(left + right)
        if index is not None and scores[index] == _UNJOINED:
            scores[index] = -float(rank)
    for token, score, kind in zip(tokens, scores, types, strict=True):
        if score == _UNJOINED and kind is TokenType.NORMAL and _has_parts(token, places):
            raise NotRepackable(f"its tokenizer never makes its token {token!r}; llama.cpp would")
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.add_space_prefix": _prefixes_space(tokenizer),
    }


def _has_parts(token: str, places: Mapping[str, int]) -> bool:
    return any(
        all(len(part) == 1 or part in places for part in (token[:cut], token[cut:]))
        for cut in range(1, len(token))
    )


def _prefixes_space(tokenizer: Fields) -> bool:
    """Tell whether a space is put before text, at its beginning and after every special token."""
    steps = flat_steps(tokenizer.data.get("normalizer"), "normalizers")
    cuts = flat_steps(tokenizer.data.get("pre_tokenizer"), "pretokenizers")
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


def flat_steps(step: object, key: str) -> list[Mapping[str, Any]]:
    """Return the steps of a normalizer, pre-tokenizer or post-processor, sequences dissolved."""
    if not isinstance(step, Mapping):
        return []
    if step.get("type") == "Sequence":
        return [one for part in step.get(key, ()) for one in flat_steps(part, key)]
    return [step]
