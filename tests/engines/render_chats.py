"""Renders conversations by models' own templates and tokenizers.

``python render_chats.py CHATS FOLDER…``: CHATS is a JSON list of conversations; each FOLDER with a
tokenizer gets ``ids.json``, the list of their token ids, with the prompt for a reply. Runs in an
environment with transformers.
"""

import json
import sys
from pathlib import Path

from transformers import PreTrainedTokenizerFast


def main() -> None:
    chats = json.loads(Path(sys.argv[1]).read_text())
    for folder in map(Path, sys.argv[2:]):
        stated = json.loads((folder / "tokenizer_config.json").read_text())
        names = ("bos_token", "eos_token", "chat_template")
        known = {name: stated[name] for name in names if stated.get(name)}
        if (folder / "chat_template.jinja").is_file():
            known["chat_template"] = (folder / "chat_template.jinja").read_text()
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **known)
        texts = [
            tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
            for chat in chats
        ]
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        (folder / "ids.json").write_text(json.dumps(ids))


if __name__ == "__main__":
    main()
