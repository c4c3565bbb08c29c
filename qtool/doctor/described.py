"""A model that a snapshot only describes, as the rest of qtool knows models."""

from pathlib import Path

from qtool.doctor.finding import Goal
from qtool.doctor.snapshot import UNKNOWN, SnapshotModel
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo, Quantization

MAX_LAYERS = 10_000

_GOALS: dict[ModelFormat, Goal] = {
    ModelFormat.GPTQ: Goal.GPTQ,
    ModelFormat.AWQ: Goal.AWQ,
    ModelFormat.GGUF: Goal.GGUF,
    ModelFormat.BITSANDBYTES: Goal.BNB,
    ModelFormat.PLAIN: Goal.PLAIN,
}


def goal_of(model: ModelInfo) -> Goal | None:
    """Return what someone who has this model wants; ``None`` for formats without a goal."""
    return _GOALS.get(model.format)


def format_of(goal: Goal | None) -> ModelFormat | None:
    """Return the format that a goal is about; ``None`` where it is about none."""
    return next((form for form, its_goal in _GOALS.items() if its_goal is goal), None)


def describe(model: SnapshotModel, goal: Goal | None) -> ModelInfo | None:
    """Return the model with its weights' size estimated from parameters and bits.

    ``None`` when the number of parameters is unknown. A group of g weights shares an fp16 scale
    and a zero point: 4 bits at g = 128 are 4.156 bits a weight.
    """
    if model.n_parameters is UNKNOWN:
        return None
    form = _format(model, goal)
    bits = float(model.bits or 16)
    group_size = model.group_size or 0
    per_weight = bits + ((16 + bits) / group_size if group_size and bits < 16 else 0)
    return ModelInfo(
        path=Path(model.name),
        format=form,
        quantization=Quantization(
            method=form.value, source="snapshot", bits=bits, group_size=group_size or None
        ),
        n_params=model.n_parameters,
        weights_bytes=int(model.n_parameters * per_weight / 8),
        context_length_tokens=model.n_ctx_tokens or None,
        attention=_attention(model),
    )


def _format(model: SnapshotModel, goal: Goal | None) -> ModelFormat:
    text = f"{model.format or ''} {model.name}".lower()
    for form in (ModelFormat.GPTQ, ModelFormat.AWQ, ModelFormat.GGUF):
        if form.value in text:
            return form
    return format_of(goal) or ModelFormat.PLAIN


def _attention(model: SnapshotModel) -> AttentionShape | None:
    if not (model.n_layers and model.n_kv_heads and model.head_dim):
        return None
    if model.n_layers > MAX_LAYERS:
        return None  # no model; memory is estimated layer by layer
    return AttentionShape(model.n_layers, model.n_kv_heads, model.head_dim)
