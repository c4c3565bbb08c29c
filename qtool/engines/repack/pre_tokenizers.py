"""How text is cut before byte-pair encoding: tokenizer.json's steps as llama.cpp's names.

llama.cpp has these cuts compiled in and knows each by a name; what is not exactly one of them is
refused, since other cuts make other tokens. So are two that it has only nearly, those of GPT-4o and
Tekken (Mistral Nemo): letters without case and combining marks, Katakana among them, come out
differently (measured, every one of 18 mixed texts). Source: ``llm_tokenizer_bpe`` and ``load`` in
src/llama-vocab.cpp, https://github.com/ggml-org/llama.cpp (as of November 2026).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from qtool.engines.repack.refusal import NotRepackable

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS: Mapping[tuple[str, bool], str] = {
    (_WORDS + r"\p{N}{1,3}" + _REST, True): "llama-bpe",
    (_WORDS + r"\p{N}{1,3}" + _REST, False): "smaug-bpe",
    (_WORDS + r"\p{N}" + _REST, False): "qwen2",
}
"""By the pattern, and by whether words that are tokens are kept whole (``ignore_merges``)."""


def name_pre_tokenizer(step: Mapping[str, Any] | None, *, ignores_merges: bool) -> str:
    """Return llama.cpp's name for the ``pre_tokenizer`` of a byte-level tokenizer.json.

    Raises:
        NotRepackable: llama.cpp does not have it.
    """
    kinds = [_brief(one) for one in _flattened(step)]
    match kinds:
        case [("ByteLevel", True)] if not ignores_merges:
            return "gpt-2"
        case [("Digits", True), ("ByteLevel", True)] if not ignores_merges:
            return "smollm"
        case [("Split", str(pattern)), ("ByteLevel", False)]:
            name = _SPLITS.get((pattern, ignores_merges))
            if name is not None:
                return name
    raise NotRepackable("its tokenizer cuts text in a way that llama.cpp does not know")


def _flattened(step: object) -> Iterator[Mapping[str, Any]]:
    if not isinstance(step, Mapping):
        return
    if step.get("type") == "Sequence":
        for one in step.get("pretokenizers", ()):
            yield from _flattened(one)
    else:
        yield step


def _brief(step: Mapping[str, Any]) -> tuple[object, object]:
    """A step as its type and the one setting that matters; with unusual others, as unknown."""
    kind = step.get("type")
    pattern = step.get("pattern")
    match kind:
        case "ByteLevel" if not step.get("add_prefix_space"):
            return kind, step.get("use_regex", True)
        case "Digits":
            return kind, step.get("individual_digits")
        case "Split" if isinstance(pattern, Mapping):
            if step.get("behavior") == "Isolated" and not step.get("invert"):
                return kind, pattern.get("Regex")
            if step.get("behavior") == "Removed" and step.get("invert"):
                return kind, pattern.get("Regex")
    return "unknown", kind
