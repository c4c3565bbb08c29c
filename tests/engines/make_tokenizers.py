"""Makes a tokenizer of each known kind, trained on ``corpus``, and says how it cuts a text.

``python make_tokenizers.py FOLDER`` makes ``FOLDER/<kind>/tokenizer.json``; with ``--encode TEXTS
IDS`` it writes the ids of the texts in the JSON file TEXTS, of ``FOLDER/tokenizer.json``, to IDS.
Runs in an environment with tokenizers.
"""

import json
import sys
from pathlib import Path

from corpus import make_corpus
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as cuts

WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPACE = "▁"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def split(pattern: str) -> cuts.PreTokenizer:
    bytes_ = cuts.ByteLevel(add_prefix_space=False, use_regex=False)
    return cuts.Sequence([cuts.Split(Regex(pattern), "isolated"), bytes_])


BYTE_LEVEL = {
    "gpt2": (cuts.ByteLevel(add_prefix_space=False), False, None),
    "smollm": (
        cuts.Sequence([cuts.Digits(True), cuts.ByteLevel(add_prefix_space=False)]),
        *(False, None),
    ),
    "llama3": (split(WORDS + r"\p{N}{1,3}" + REST), True, None),
    "smaug": (split(WORDS + r"\p{N}{1,3}" + REST), False, None),
    "qwen2": (split(WORDS + r"\p{N}" + REST), False, normalizers.NFC()),
}
SPACED = {
    "llama2": (
        normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]),
        None,
    ),
    "gemma": (normalizers.Replace(" ", SPACE), cuts.Split(" ", "merged_with_previous")),
    "mistral3": (None, cuts.Metaspace(prepend_scheme="first", split=False)),
}


def make_byte_level(name: str, lines: "list[str]") -> Tokenizer:
    """GPT-2's kind: BPE over bytes."""
    cut, ignores_merges, normalizer = BYTE_LEVEL[name]
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignores_merges))
    tokenizer.pre_tokenizer, tokenizer.decoder = cut, decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(
        vocab_size=5000,
        initial_alphabet=cuts.ByteLevel.alphabet(),
        special_tokens=["<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.add_special_tokens(["<|a|>", "<|ab|>"])
    tokenizer.add_tokens([AddedToken("<tool>", special=False, normalized=False)])
    return tokenizer


def make_spaced(name: str, lines: "list[str]") -> Tokenizer:
    """SentencePiece's kind: BPE over characters, with bytes for those that are none."""
    special = ["<unk>", "<s>", "</s>"]
    base = Tokenizer(models.BPE())
    scheme = "never" if name == "gemma" else "always"
    base.pre_tokenizer = cuts.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(
        vocab_size=3500,
        special_tokens=[*special, *BYTES],
        limit_alphabet=400,
        max_token_length=16,
        show_progress=False,
    )
    base.train_from_iterator(lines, trainer)
    vocab = base.get_vocab()
    fallbacks = {"byte_fallback": True, "fuse_unk": True, "unk_token": "<unk>"}
    merges = all_merges(vocab, {*special, *BYTES})
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, **fallbacks))
    normalizer, cut = SPACED[name]
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if cut is not None:
        tokenizer.pre_tokenizer = cut
    tokenizer.add_special_tokens([*special, "[INST]"])
    return tokenizer


def all_merges(vocab: "dict[str, int]", special: "set[str]") -> "list[tuple[str, str]]":
    """Return all pairs that make a token, as transformers derives them from SentencePiece."""
    merges = []
    for token in sorted(vocab.keys() - special, key=vocab.__getitem__):
        parts = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [pair for pair in parts if pair[0] in vocab and pair[1] in vocab]
        merges += sorted(known, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    return merges


def main() -> None:
    base = Path(sys.argv[1])
    if sys.argv[2:3] == ["--encode"]:
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        texts = json.loads(Path(sys.argv[3]).read_text())
        ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
        Path(sys.argv[4]).write_text(json.dumps(ids))
        return
    text = make_corpus(400_000).replace("\0", "")
    lines = [text[start : start + 2000] for start in range(0, len(text), 2000)]
    for name in (*BYTE_LEVEL, *SPACED):
        make = make_byte_level if name in BYTE_LEVEL else make_spaced
        (base / name).mkdir()
        make(name, lines).save(str(base / name / "tokenizer.json"))


if __name__ == "__main__":
    main()
