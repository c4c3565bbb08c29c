"""A model with its KV cache: tokens in, scores of the next token out, in any transformers."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch

from .grouped_attention import share_keys
from .kv_cache import GrowingCache, copy_cache, crop_cache, is_plain

CHUNK_TOKENS = {"cuda": 2048, "cpu": 512}
"""A prompt is read in chunks: between two of them a client may go, and memory peaks are lower."""

N_PROBE_TOKENS = 8
MAX_PROBE_ERROR = 0.1
"""The mean difference by the scores' standard deviation. Rounding in bfloat16 makes about a
hundredth, a cache that is read wrongly about one."""


class Network:
    """Wraps a causal language model.

    ``keeps_cache`` says whether its KV cache can be cut and extended at will; it is found out by
    trying. A cache made without the model's configuration keeps all tokens of every layer, those
    of a sliding window too: more memory, but any prefix of it is right. Models that insist on a
    cache of their own (state spaces, convolutions, remote code) get that, and start anew each time.
    ``chunk_tokens`` bounds how much is read at once; ``None`` is all of it.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        embeddings = model.get_input_embeddings()
        self.device = embeddings.weight.device
        if self.device.type == "cpu":
            share_keys()
        parameters = inspect.signature(model.forward).parameters
        names = ("logits_to_keep", "num_logits_to_keep")  # 4.50 and later, 4.45 and later
        self._last_only = {name: 1 for name in names if name in parameters}
        ids = [(11 + 7 * i) % int(embeddings.weight.shape[0]) for i in range(N_PROBE_TOKENS)]
        whole = self._read_at_once(ids)
        self.n_vocab = int(whole.shape[-1])
        self.keeps_cache = self._can_keep_cache(ids, whole)
        self.chunk_tokens = CHUNK_TOKENS.get(self.device.type, 512) if self.keeps_cache else None

    def new_cache(self) -> Any:
        """Return an empty cache; ``None`` lets the model make its own."""
        if not self.keeps_cache:
            return None
        return GrowingCache()

    def extend(self, cache: Any, ids: Sequence[int], n_past: int) -> tuple[Any, Any]:
        """Read ``ids`` after the ``n_past`` tokens in ``cache``.

        Return the scores of the next token, of shape (vocabulary,), and the cache.
        """
        tokens = torch.tensor([list(ids)], device=self.device)
        mask = torch.ones((1, n_past + len(ids)), dtype=torch.long, device=self.device)
        with torch.inference_mode():
            output = self.model(
                input_ids=tokens,
                attention_mask=mask,
                past_key_values=cache,
                use_cache=True,
                **self._last_only,
            )
        n_tokens = n_past + len(ids)
        return output.logits[0, -1], _extended(cache, output.past_key_values, n_tokens)

    def _read_at_once(self, ids: Sequence[int]) -> Any:
        with torch.inference_mode():
            tokens = torch.tensor([list(ids)], device=self.device)
            return self.model(input_ids=tokens, use_cache=False).logits[0, -1]

    def _can_keep_cache(self, ids: Sequence[int], whole: Any) -> bool:
        """Compare reading at once with reading in parts, cutting, copying, and reading again."""
        half = N_PROBE_TOKENS // 2
        try:
            _, cache = self.extend(GrowingCache(), ids[:half], 0)
            parts, cache = self.extend(cache, ids[half:], half)
            if not is_plain(cache):
                return False
            cut = copy_cache(cache, half)
            crop_cache(cache, half)
            again, _ = self.extend(cache, ids[half:], half)
            copied, _ = self.extend(cut, ids[half:], half)
        except (TypeError, ValueError, AttributeError, LookupError, NotImplementedError):
            return False  # a cache that is not made for this model
        except RuntimeError as exc:
            if "memory" in str(exc).lower():
                raise
            return False  # shapes that do not fit
        limit = MAX_PROBE_ERROR * float(whole.float().std())
        return all(_distance(one, whole) <= limit for one in (parts, again, copied))


def _extended(cache: Any, answered: Any, n_tokens: int) -> Any:
    """Return the cache that holds ``n_tokens`` now: the one given to the model, or its answer.

    transformers 4.38 to 4.42 answer with tuples, and some of them extend a copy of the cache.
    """
    if not hasattr(cache, "get_seq_length"):
        return answered
    if int(cache.get_seq_length()) == n_tokens or not isinstance(answered, tuple):
        return cache
    return type(cache).from_legacy_cache(answered)


def _distance(one: Any, other: Any) -> float:
    return float((one.float() - other.float()).abs().mean())
