"""Loading a model and its tokenizer in whatever transformers the environment has."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from .model_files import check_generation_config, check_templates
from .quantized import (
    MissingPackage,
    describe_method,
    find_packed,
    needs_float16,
    quantization_arguments,
)
from .settings import Settings

if TYPE_CHECKING:
    from .placement import Placement

Progress = Callable[[str, float], None]

NEW_TOKENIZERS = ("TokenizersBackend",)
"""What transformers 5 writes where 4 wrote ``PreTrainedTokenizerFast``, and 4 does not know."""


@dataclass(frozen=True)
class Loaded:
    """A model ready to compute, and its tokenizer."""

    model: Any
    tokenizer: Any
    placement: Placement


def load(settings: Settings, progress: Progress) -> Loaded:
    """Load the folder ``settings.model``; nothing is fetched from anywhere.

    Raises:
        DamagedFile: a small file of the model; found before anything is imported.
        OSError, ValueError, ImportError, RuntimeError …: as transformers and its friends do.
    """
    check_generation_config(read_json(settings.model, "generation_config.json"))
    check_templates(read_json(settings.model, "tokenizer_config.json"))
    progress("importing torch", 0.0)
    import torch

    progress("importing transformers", 0.0)
    import transformers  # noqa: F401 - here, so that this stage has a name

    from .placement import place

    if settings.n_threads:
        torch.set_num_threads(settings.n_threads)
    config = read_json(settings.model, "config.json")
    placement = place(
        settings,
        "float16" if needs_float16(config) else checkpoint_dtype(config),
        is_packed=bool(find_packed(settings.model, config)),
    )
    progress("tokenizer", 0.0)
    tokenizer = load_tokenizer(settings)
    progress(describe_method(config), 0.0)
    model, why_not = _load_int4(settings, config, placement, progress)
    if model is None:
        model = _load_by_transformers(settings, config, placement, progress, why_not)
    return Loaded(model.eval(), tokenizer, placement)


def load_tokenizer(settings: Settings) -> Any:
    """Load the tokenizer, with the template that the settings give it."""
    import transformers

    kind: Any = transformers.AutoTokenizer
    config = read_json(settings.model, "tokenizer_config.json")
    translated = {}
    if config.get("tokenizer_class") in NEW_TOKENIZERS and _is_version_4(transformers.__version__):
        kind, translated = transformers.PreTrainedTokenizerFast, _special_tokens(config)
    tokenizer = kind.from_pretrained(
        settings.model,
        trust_remote_code=settings.trust_remote_code,
        local_files_only=True,
        **translated,
    )
    if settings.chat_template is not None:
        tokenizer.chat_template = settings.chat_template
    elif not getattr(tokenizer, "chat_template", None):
        # A file of its own, which transformers reads from 4.50 on.
        tokenizer.chat_template = _read_text(settings.model, "chat_template.jinja")
    return tokenizer


def read_json(folder: str, name: str) -> dict[str, Any]:
    """Return a JSON object in the model's folder, empty if there is none."""
    text = _read_text(folder, name)
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {}


def checkpoint_dtype(config: Mapping[str, Any]) -> str | None:
    """Return the float type of the weights, ``bfloat16`` for example."""
    name = config.get("dtype") or config.get("torch_dtype")
    return str(name).rpartition(".")[2] if name else None


def older_names(config: Mapping[str, Any], version: str) -> dict[str, Any]:
    """Return what transformers 4 has to be told of a configuration that 5 wrote.

    5 writes ``rope_parameters``; 4 looks for ``rope_theta`` and ``rope_scaling``, and without
    them computes with 10000 and no scaling: fluent nonsense, and no warning.
    """
    rope = config.get("rope_parameters")
    if not _is_version_4(version) or not isinstance(rope, dict) or "rope_theta" not in rope:
        return {}
    scaling = {name: value for name, value in rope.items() if name != "rope_theta"}
    is_scaled = scaling.get("rope_type", "default") != "default"
    names = {"rope_theta": rope["rope_theta"], "rope_scaling": scaling if is_scaled else None}
    return {name: value for name, value in names.items() if name not in config}


def _load_int4(
    settings: Settings, config: Mapping[str, Any], placement: Placement, progress: Progress
) -> tuple[Any | None, str]:
    """Load GPTQ and AWQ on a processor, where no package does it better than torch alone.

    Return the model, or none and the reason, which is empty for every other kind of model.
    """
    quantization = find_packed(settings.model, config)
    if not quantization or not placement.is_cpu or not settings.prefer_int4:
        return None, ""
    import transformers

    from .int4_loader import NotCovered, load_int4

    names = older_names(config, transformers.__version__)
    stage = describe_method(config)

    def make(attention: str) -> Any:
        building = (settings, quantization, placement.dtype, attention, names)
        return load_int4(*building, lambda fraction: progress(stage, fraction))

    try:
        return _try_attentions(placement.attentions, make), ""
    except NotCovered as exc:
        return None, str(exc)


def _load_by_transformers(
    settings: Settings,
    config: Mapping[str, Any],
    placement: Placement,
    progress: Progress,
    why_not_int4: str,
) -> Any:
    import transformers

    try:
        packed = quantization_arguments(settings, config, placement)
    except MissingPackage as exc:
        reason = f"; torch alone does not do: {why_not_int4}" if why_not_int4 else ""
        raise MissingPackage(f"{exc}{reason}") from exc
    _tell_progress(progress)
    arguments = {
        "trust_remote_code": settings.trust_remote_code,
        "use_safetensors": None if settings.allow_pickle else True,
        "local_files_only": True,
        _dtype_name(transformers.__version__): placement.dtype,
        **_device_arguments(placement),
        **packed,
        **older_names(config, transformers.__version__),
    }

    def make(attention: str) -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(
            settings.model, attn_implementation=attention, **arguments
        )

    model = _try_attentions(placement.attentions, make)
    if not placement.is_cpu and not arguments.get("device_map"):
        model = model.to(placement.device)
    return model


def _try_attentions(attentions: Sequence[str], make: Callable[[str], Any]) -> Any:
    """Try one attention after the other, for not every model has every one."""
    attention, *others = attentions
    try:
        return make(attention)
    except (ValueError, ImportError) as exc:
        if not others or not re.search("attention|flash|sdpa", str(exc), re.IGNORECASE):
            raise
    return _try_attentions(others, make)


def _device_arguments(placement: Placement) -> dict[str, Any]:
    if find_spec("accelerate") is None:
        return {}
    if placement.device == "cuda":
        return {"device_map": "auto"}
    return {"device_map": {"": placement.device}}


def _dtype_name(version: str) -> str:
    """transformers calls it ``dtype`` from 4.56 on."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return "dtype" if (major, minor) >= (4, 56) else "torch_dtype"


def _is_version_4(version: str) -> bool:
    return version.split(".")[0] == "4"


def _special_tokens(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what 5 writes as a list of ``extra_special_tokens``, by the name that 4 has for it."""
    extra = config.get("extra_special_tokens")
    if not isinstance(extra, list):
        return {}
    return {"extra_special_tokens": {}, "additional_special_tokens": extra}


def _tell_progress(progress: Progress) -> None:
    """Have transformers' own progress bar report to ``progress``: it reads ``tqdm.auto.tqdm``."""
    from tqdm import auto

    class Reporter(auto.tqdm):  # type: ignore[misc]
        def update(self, n: float | None = 1) -> bool | None:
            done: bool | None = super().update(n)
            if self.total:
                progress("weights", min(1.0, self.n / self.total))
            return done

        def __iter__(self) -> Any:
            for n_done, item in enumerate(super().__iter__(), 1):
                yield item
                if self.total:
                    progress("weights", min(1.0, n_done / self.total))

    auto.tqdm = Reporter


def _read_text(folder: str, name: str) -> str | None:
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as file:  # noqa: PTH118, PTH123
            return file.read()
    except FileNotFoundError:
        return None
