"""What a model on this machine brings along, against what is there to run it."""

from collections.abc import Iterator

from qtool.doctor.case import Case
from qtool.doctor.commands import Commands
from qtool.doctor.finding import Confidence, Finding, Fix, Severity
from qtool.doctor.fit import Device
from qtool.doctor.fixes import gguf, some
from qtool.doctor.routes import SLOW_ON_CPU, WRITTEN_OUT, Route, find_route
from qtool.language.message import Message, say
from qtool.models.info import ModelFormat
from qtool.models.local import title_of

NEW_TOKENIZERS = ("TokenizersBackend", "SentencePieceBackend", "PythonBackend")


def tokenizer_too_new(case: Case) -> Iterator[Finding]:
    """Report a tokenizer that only transformers 5 knows by its name."""
    name = case.model.tokenizer_class if case.model else None
    if name is None or not name.startswith(NEW_TOKENIZERS):
        return
    if not case.has_within("transformers", "<5") or _route(case).engine != "transformers":
        return
    upgrade = Commands(case).install("--upgrade", "transformers>=5")
    yield Finding(
        code="TOKENIZER-NEEDS-TRANSFORMERS-5",
        severity=Severity.WARNING,
        title=say("Only transformers 5 knows the model's tokenizer class {name}", name=name),
        explanation=say(
            "The model was saved by transformers 5, and AutoTokenizer of transformers {version} "
            'fails on it ("Tokenizer class {name} does not exist or is not currently imported"). '
            "Its file tokenizer.json can be read all the same: qtool chat does so by itself, your "
            "own programs have to say PreTrainedTokenizerFast.",
            version=case.version("transformers"), name=name,
        ),
        evidence=(
            f"tokenizer_config.json: tokenizer_class {name}",
            f"transformers {case.version('transformers')}",
        ),
        fixes=(
            Fix(
                say("Read tokenizer.json by the class that both versions have"),
                ("# in your code: PreTrainedTokenizerFast.from_pretrained(path)",),
            ),
            Fix(say("Or transformers 5"), (upgrade,)),
        ),
        confidence=Confidence.LIKELY,
    )  # fmt: skip


def template_missing(case: Case) -> Iterator[Finding]:
    """Say that a model has no chat template, as base models have none."""
    model = case.model
    if model is None or not model.files or model.has_chat_template:
        return
    yield Finding(
        code="CHAT-TEMPLATE-MISSING",
        severity=Severity.INFO,
        title=say("The model has no chat template: it may be one that only continues texts"),
        explanation=say(
            "Without a template nobody knows how the model wants a conversation written down; "
            "llama.cpp silently takes ChatML, transformers refuses. qtool chat lets the template "
            "of the model's family stand in and says so. Variants named Instruct or Chat have one."
        ),
        evidence=(f"no chat template in {title_of(model.path)}",),
        fixes=(
            Fix(say("Give it one, or talk to it without"),
                ("qtool chat MODEL --template FILE", "qtool chat MODEL --raw")),
        ),
    )  # fmt: skip


def slow_on_cpu(case: Case) -> Iterator[Finding]:
    """Warn of a model whose bits or group size no fast CPU kernel has."""
    route = _route(case)
    if route.device is not Device.CPU or case.model is None:
        return
    if route.kernel not in (SLOW_ON_CPU, WRITTEN_OUT):
        return
    quantization = case.model.quantization
    bits = f"{quantization.bits:g}" if quantization and quantization.bits else "?"
    group = quantization.group_size if quantization else None
    yield Finding(
        code="GPTQ-NO-FAST-CPU-KERNEL",
        severity=Severity.WARNING,
        title=say("No fast kernel on the CPU for {bits} bits in groups of {group}",
                  bits=bits, group=group or "?"),
        explanation=_about_slowness(route),
        evidence=(f"{bits} bits, group size {group}; no GPU in use",),
        fixes=some(gguf(case)),
        confidence=Confidence.LIKELY,
    )  # fmt: skip


def _about_slowness(route: Route) -> Message:
    if route.kernel == WRITTEN_OUT:
        return say(
            "torch's 4-bit kernel for CPUs takes 4 bits in groups of a multiple of 32; all else is "
            "written out in half precision, with four times the memory, and a quarter of the "
            "speed. A GGUF of the same model runs on llama.cpp at the speed of memory."
        )
    return say(
        "On a CPU gptqmodel's fast kernel (int4pack) takes 4 bits in groups of 16, 32, 64 or 128; "
        "all else is unpacked at every token, which gave no answer within minutes. A GGUF of the "
        "same model runs on llama.cpp at the speed of memory."
    )


def _route(case: Case) -> Route:
    return find_route(case, case.model.format if case.model else ModelFormat.OTHER)


RULES = (tokenizer_too_new, template_missing, slow_on_cpu)
