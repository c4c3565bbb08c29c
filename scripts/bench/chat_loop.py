"""What chat scripts do: the whole history through `generate` at every turn, by transformers.

    python chat_loop.py MODEL TRANSCRIPT N_NEW_TOKENS TURN…

Prints a JSON object for each TURN: the answer to the TURN-th thing that the user says in the
history file TRANSCRIPT, asked anew. Runs in an environment with torch and transformers.
"""

import json
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.generation.streamers import BaseStreamer


class Clock(BaseStreamer):
    """Notes when each token comes; the prompt, which comes first, is none."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self._is_begun = False

    def put(self, value: torch.Tensor) -> None:
        if self._is_begun:
            self.times.append(time.perf_counter())
        self._is_begun = True

    def end(self) -> None:
        """Nothing is left to note."""


def answer(model, tokenizer, messages: "list[dict]", n_new_tokens: int) -> "dict[str, float]":
    """Answer ``messages`` as a script does that keeps nothing from turn to turn."""
    started_at = time.perf_counter()
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = tokenizer(text, return_tensors="pt", add_special_tokens=False)
    clock = Clock()
    model.generate(
        **inputs,
        streamer=clock,
        do_sample=False,
        min_new_tokens=n_new_tokens,
        max_new_tokens=n_new_tokens,
        pad_token_id=tokenizer.eos_token_id,
    )
    first, last = clock.times[0], clock.times[-1]
    return {
        "prompt_tokens": inputs["input_ids"].shape[1],
        "first_token_s": first - started_at,
        "decode_tokens_per_s": (len(clock.times) - 1) / (last - first),
    }


def main() -> None:
    model_path, transcript, n_new_tokens, *turns = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype="auto").eval()
    messages = json.loads(Path(transcript).read_text())
    asked = [i for i, message in enumerate(messages) if message["role"] == "user"]
    answer(model, tokenizer, messages[: asked[0] + 1], 4)  # the first call pays for everything lazy
    for turn in map(int, turns):
        figures = answer(model, tokenizer, messages[: asked[turn] + 1], int(n_new_tokens))
        print(json.dumps({"turn": turn, **figures}), flush=True)


if __name__ == "__main__":
    main()
