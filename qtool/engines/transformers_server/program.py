"""The server's program: read the settings, listen, load, and answer until the parent goes."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..lifeline import tie_to_parent  # noqa: TID252 - the folder runs without qtool
from .http_server import ApiServer
from .jobs import WaitingLine
from .request import Sampling
from .settings import Settings, read_settings
from .status import Status

if TYPE_CHECKING:
    from .generator import Generator
    from .loader import Loaded

SPIN_COUNT = "1000"
"""How long OpenMP's threads spin before they sleep; see ``llama_cpp_server``."""

DEFAULT_CONTEXT_TOKENS = 8192

END_OF_TURN = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
)
"""Tokens that end a turn although some models' configurations forget them.

Source: llama.cpp, src/llama-vocab.cpp, ``special_eog_ids``.
"""


def main() -> None:
    """Run the server. The order matters: the lifeline forks, so it comes before any thread."""
    settings = read_settings()
    tie_to_parent(0)
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["HF_HUB_OFFLINE"] = "1"
    status = Status(_own_stdout())
    line = WaitingLine(settings.max_waiting)
    try:
        server = ApiServer(
            settings.port, settings.api_key, settings.name, status, line, settings.host
        )
    except OSError as exc:
        raise SystemExit(
            f"cannot listen on {settings.host}:{settings.port}: {exc.strerror}"
        ) from exc
    threading.Thread(target=server.serve_forever, daemon=True).start()
    status.listens(server.url)
    generator = _load(settings, server, status)
    status.ready(server.url)
    line.serve(generator.answer)


def _own_stdout() -> int:
    """Keep stdout for the reports alone: what libraries print goes to stderr from now on."""
    reports = os.dup(1)
    os.dup2(2, 1)
    return reports


def _load(settings: Settings, server: ApiServer, status: Status) -> Generator:
    """Load the model; end the program with the reason where that fails."""
    try:
        from .loader import load

        loaded = load(settings, status.progress)
        status.progress("trying it out", 0.0)
        generator = make_generator(settings, loaded)
    except Exception as exc:  # whatever it is, /health and the parent are told
        traceback.print_exc()
        status.failed(type(exc).__name__, describe_failure(exc))
        if settings.stays_up:
            threading.Event().wait()
        raise SystemExit(1) from exc
    server.n_ctx_tokens = context_length(settings, loaded.model.config)
    server.defaults = default_sampling(loaded.model.generation_config)
    return generator


def make_generator(settings: Settings, loaded: Loaded) -> Generator:
    """Put the parts together around a loaded model."""
    from .generator import Generator, Speech
    from .kv_slots import KvSlots
    from .memory import cache_budget
    from .network import Network
    from .prompt import PromptMaker

    network, tokenizer = Network(loaded.model), loaded.tokenizer
    slots = KvSlots(network, settings.n_slots, cache_budget(network.device, settings.cache_bytes))
    speech = Speech(_decoder(tokenizer), end_ids(tokenizer, loaded.model.generation_config))
    context = context_length(settings, loaded.model.config)
    return Generator(network, PromptMaker(tokenizer), speech, slots, context)


def describe_failure(exc: BaseException) -> str:
    """Return why loading failed, in one line of the library's own words."""
    words = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {words}" if words else type(exc).__name__


def context_length(settings: Settings, config: Any) -> int:
    """Return the context in tokens: what was asked for, else the model's own."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    own = getattr(text, "max_position_embeddings", None)
    return int(settings.n_ctx_tokens or own or DEFAULT_CONTEXT_TOKENS)


def default_sampling(generation_config: Any) -> Sampling:
    """Return how a model wants to be sampled; llama.cpp's defaults where it does not say."""
    if not getattr(generation_config, "do_sample", False):
        return Sampling()
    base = Sampling()
    names = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
    own: Mapping[str, Any] = {name: getattr(generation_config, name, None) for name in names}
    return Sampling(**{n: getattr(base, n) if v is None else v for n, v in own.items()})


def end_ids(tokenizer: Any, generation_config: Any) -> frozenset[int]:
    """Return the tokens that end a reply."""
    own = getattr(generation_config, "eos_token_id", None)
    found = set(own if isinstance(own, (list, tuple)) else [own]) | {tokenizer.eos_token_id}
    special = tokenizer.get_added_vocab()
    found |= {special[name] for name in END_OF_TURN if name in special}
    return frozenset(int(token) for token in found if token is not None)


def _decoder(tokenizer: Any) -> Any:
    def decode(ids: list[int]) -> str:
        return str(
            tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )

    return decode
