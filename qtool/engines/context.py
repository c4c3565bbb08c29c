"""How long a context to serve: what is asked, else what the model and memory allow."""

import shlex

from qtool.errors import ResourceError, UsageError
from qtool.language.message import say
from qtool.models.info import ModelInfo
from qtool.models.local import title_of
from qtool.models.memory import DEFAULT_CONTEXT_TOKENS, estimate_memory, largest_context
from qtool.units import format_size

MINIMUM_CONTEXT_TOKENS = 512
"""Less than this is no conversation."""

SMALLEST_CONTEXT_TOKENS = 16
"""Less than this no engine serves."""

LLAMA_CPP_SMALLEST_TOKENS = 256
"""llama.cpp serves no shorter context, whatever is asked (``n_ctx`` is padded to so many)."""

MEMORY_SHARE = 0.8
"""How much of the free memory a model with its KV cache may take by default."""


def choose_context(
    info: ModelInfo,
    wanted_tokens: int | None,
    free_bytes: int | None,
    *,
    kv_bytes_per_element: float = 2,
) -> int:
    """Return the context length to serve: what is asked, else what the model and memory allow.

    Raises:
        UsageError: ``wanted_tokens`` is more than the model was trained for.
        ResourceError: it does not fit into ``free_bytes``.
    """
    trained = info.context_length_tokens
    if wanted_tokens is not None and wanted_tokens < SMALLEST_CONTEXT_TOKENS:
        told = say("a context of {n} tokens is no context", n=wanted_tokens)
        raise UsageError(told, hint="--ctx 4096")
    if wanted_tokens is not None and trained is not None and wanted_tokens > trained:
        raise UsageError(
            say(
                "--ctx {n}: {model} was made for at most {trained} tokens",
                n=wanted_tokens,
                model=title_of(info.path),
                trained=trained,
            ),
            hint=f"--ctx {trained}",
        )
    context = wanted_tokens or min(trained or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
    if free_bytes is None:
        return context
    if info.attention is None and info.weights_bytes <= free_bytes:
        return context  # what such a model keeps of a conversation is not known
    budget_bytes = int(free_bytes * MEMORY_SHARE)
    fitting = largest_context(info, budget_bytes, kv_bytes_per_element=kv_bytes_per_element) or 0
    if fitting >= context:
        return context
    if wanted_tokens is not None or fitting < MINIMUM_CONTEXT_TOKENS:
        raise _does_not_fit(info, context, fitting, free_bytes)
    return fitting


def llama_cpp_context_warnings(wanted_tokens: int | None) -> tuple[str, ...]:
    """Return a warning where llama.cpp makes the context longer than is asked."""
    smallest = LLAMA_CPP_SMALLEST_TOKENS
    if wanted_tokens is None or wanted_tokens >= smallest:
        return ()
    return (
        say(
            "--ctx {n} becomes {smallest}: llama.cpp has no shorter context",
            n=wanted_tokens,
            smallest=smallest,
        ),
    )


def _does_not_fit(info: ModelInfo, context: int, fitting: int, free_bytes: int) -> ResourceError:
    need = estimate_memory(info, n_ctx_tokens=context).total_bytes
    enough = fitting >= MINIMUM_CONTEXT_TOKENS
    return ResourceError(
        say(
            "{model} with a context of {n} tokens needs {need} of memory; {free} are free",
            model=title_of(info.path),
            n=context,
            need=format_size(need),
            free=format_size(free_bytes),
        ),
        hint=f"--ctx {fitting}" if enough else f"qtool doctor {shlex.quote(str(info.path))}",
    )
