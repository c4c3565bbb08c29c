"""Drawing the next token from the scores of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .refusal import SERVER_ERROR, Refusal, bad_request
from .request import Sampling


class Sampler:
    """Draws one token after the other for one reply.

    The order is transformers': penalties, temperature, top-k, top-p, min-p. ``prompt`` counts for
    the repetition penalty. Nothing here knows what was cached, so neither does a seeded reply.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], n_vocab: int, device: Any):
        """Raise a Refusal if a token to bias is none of this model's."""
        self._sampling = sampling
        self._generator = torch.Generator(device=device)
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)
        self._bias = self._make_bias(n_vocab, device) if sampling.logit_bias else None
        self._seen = self._counts = None
        if sampling.repetition_penalty != 1:
            self._seen = torch.zeros(n_vocab, dtype=torch.bool, device=device)
            self._seen[torch.tensor(list(prompt), device=device)] = True
        if sampling.presence_penalty or sampling.frequency_penalty:
            self._counts = torch.zeros(n_vocab, device=device)

    def draw(self, logits: Any) -> int:
        """Return the next token for ``logits`` of shape (vocabulary,).

        Raises:
            Refusal: the scores are no numbers.
        """
        scores = self._penalised(logits.float())
        if self._sampling.temperature > 0:
            token = self._draw_at_random(scores)
        else:
            token = _likeliest(scores)
        if self._seen is not None:
            self._seen[token] = True
        if self._counts is not None:
            self._counts[token] += 1
        return token

    def _make_bias(self, n_vocab: int, device: Any) -> Any:
        bias = torch.zeros(n_vocab, device=device)
        for token, value in self._sampling.logit_bias.items():
            if not 0 <= token < n_vocab:
                raise bad_request(f"there is no token {token}", "logit_bias")
            bias[token] = value
        return bias

    def _penalised(self, scores: Any) -> Any:
        if self._bias is not None:
            scores = scores + self._bias
        if self._seen is not None:
            penalty = self._sampling.repetition_penalty
            lowered = torch.where(scores > 0, scores / penalty, scores * penalty)
            scores = torch.where(self._seen, lowered, scores)
        if self._counts is not None:
            scores = scores - self._counts * self._sampling.frequency_penalty
            scores = scores - (self._counts > 0) * self._sampling.presence_penalty
        return scores

    def _draw_at_random(self, scores: Any) -> int:
        sampling, n_vocab = self._sampling, scores.shape[-1]
        n_top = min(sampling.top_k or n_vocab, n_vocab)
        best, tokens = scores.topk(n_top)
        _require_number(best[0])
        shares = torch.softmax((best - best[0]) / sampling.temperature, dim=-1)
        if sampling.top_p < 1:
            before = shares.cumsum(-1) - shares
            shares = torch.where(before < sampling.top_p, shares, torch.zeros_like(shares))
        if sampling.min_p > 0:
            shares = shares * (shares >= sampling.min_p * shares[0])
        shares[0].clamp_(min=1e-12)  # a top-p of 0 leaves the likeliest one
        return int(tokens[torch.multinomial(shares, 1, generator=self._generator)])


def _likeliest(scores: Any) -> int:
    best, token = scores.max(dim=-1)
    _require_number(best)
    return int(token)


def _require_number(score: Any) -> None:
    if not bool(torch.isfinite(score)):
        raise Refusal(
            500,
            SERVER_ERROR,
            "the model's scores are no numbers: a damaged model, or a float type too small for it",
        )
