"""Chat templates: one from a file, or the family's usual one where the model has none.

Sources: the model cards of google/gemma-2, Qwen/Qwen2.5, microsoft/Phi-3 and
mistralai/Mistral-7B-Instruct-v0.1. The plain dialogue is what base models of any family continue.
"""

from dataclasses import dataclass
from pathlib import Path

from qtool.errors import NotFoundError, UsageError
from qtool.language.message import say

MAX_TEMPLATE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FallbackTemplate:
    """A Jinja template; ``stops`` end a reply where the model has no token for that."""

    name: str
    text: str
    stops: tuple[str, ...] = ()


_PROMPT = "{% if add_generation_prompt %}"

CHATML = FallbackTemplate(
    "ChatML",
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}"
    "{% if not loop.last or m['role'] != 'assistant' or add_generation_prompt %}<|im_end|>\n"
    "{% endif %}{% endfor %}" + _PROMPT + "<|im_start|>assistant\n{% endif %}",
    ("<|im_end|>",),
)
GEMMA = FallbackTemplate(
    "Gemma",
    "{{ bos_token }}{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else 'user' }}\n{{ m['content'] }}"
    "{% if not loop.last or m['role'] != 'assistant' or add_generation_prompt %}<end_of_turn>\n"
    "{% endif %}{% endfor %}" + _PROMPT + "<start_of_turn>model\n{% endif %}",
    ("<end_of_turn>",),
)
PHI = FallbackTemplate(
    "Phi-3",
    "{% for m in messages %}<|{{ m['role'] }}|>\n{{ m['content'] }}"
    "{% if not loop.last or m['role'] != 'assistant' or add_generation_prompt %}<|end|>\n"
    "{% endif %}{% endfor %}" + _PROMPT + "<|assistant|>\n{% endif %}",
    ("<|end|>",),
)
MISTRAL = FallbackTemplate(
    "Mistral",
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %} {{ m['content'] }}"
    "{% if not loop.last %}{{ eos_token }}{% endif %}"
    "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}",
)
PLAIN = FallbackTemplate(
    "plain dialogue",
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ m['content'] }}\n\n"
    "{% else %}{{ 'User' if m['role'] == 'user' else 'Assistant' }}: {{ m['content'] }}"
    "{% if not loop.last or m['role'] == 'user' %}{{ '\\n' }}{% endif %}{% endif %}{% endfor %}"
    + _PROMPT
    + "Assistant:{% endif %}",
    ("\nUser:",),
)

FAMILIES = (
    ("gemma", GEMMA),
    ("qwen", CHATML),
    ("internlm2", CHATML),
    ("phi3", PHI),
    ("mistral", MISTRAL),
    ("mixtral", MISTRAL),
)
"""Architectures by how they begin. ``llama`` is everybody's, and so tells nothing."""


def fallback_template(architecture: str | None) -> FallbackTemplate:
    """Return the usual template of the family ``architecture`` belongs to."""
    name = (architecture or "").lower()
    return next((template for prefix, template in FAMILIES if name.startswith(prefix)), PLAIN)


def stops_of(template: str | None) -> tuple[str, ...]:
    """Return what ends a reply where ``template`` is a fallback of ours."""
    known = {each.text: each.stops for each in (CHATML, GEMMA, PHI, MISTRAL, PLAIN)}
    return known.get(template or "", ())


def read_template(path: Path) -> str:
    """Return the Jinja template in the file ``path``.

    Raises:
        NotFoundError: there is none.
        UsageError: it is empty, too large, or no text.
    """
    try:
        if not path.exists() or path.is_dir():  # a pipe is fine: --template <(…)
            raise NotFoundError(say("there is no template {path}", path=path))
        with path.open("rb") as file:
            data = file.read(MAX_TEMPLATE_BYTES + 1)
        text = data.decode("utf-8-sig")
    except OSError as exc:
        raise UsageError(say("cannot read {path}: {why}", path=path, why=exc.strerror)) from exc
    except UnicodeDecodeError as exc:
        told = say("the template {path} is no UTF-8 text: byte {at}", path=path, at=exc.start)
        raise UsageError(told) from exc
    if len(data) > MAX_TEMPLATE_BYTES or not text.strip() or "\0" in text:
        raise UsageError(say("{path} is no chat template", path=path))
    return text
