"""From a checkpoint to a file that gguf reads: what is in it, and what is refused."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from qtool.engines.repack.plan import RepackPlan, plan_repack
from qtool.engines.repack.refusal import NotRepackable
from qtool.engines.repack.write import write_gguf
from qtool.errors import IntegrityError, QtoolError
from qtool.models.formats import inspect_model
from qtool.models.gguf import read_gguf_header
from qtool.models.repackable import Layout
from tests.unit.engines.repack.checkpoints import TEMPLATE, Change, Model

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def planned(folder: Path, **options: bool) -> RepackPlan:
    return plan_repack(inspect_model(folder), **options)


def written(folder: Path, **options: bool) -> gguf.GGUFReader:
    target = folder.parent / "out.gguf"
    write_gguf(planned(folder, **options), target)
    read_gguf_header(target)
    return gguf.GGUFReader(target)


def values_of(reader: gguf.GGUFReader, name: str) -> np.ndarray:
    tensor = next(one for one in reader.tensors if one.name == name)
    shape = [int(size) for size in tensor.shape][::-1]
    return gguf.dequantize(tensor.data, tensor.tensor_type).reshape(shape)


def rotated(rows: np.ndarray) -> np.ndarray:
    """Interleave the halves of each head: rows 0, 16, 1, 17, … of 32."""
    heads = [rows[start : start + 32] for start in range(0, len(rows), 32)]
    return np.concatenate([head[[i // 2 + 16 * (i % 2) for i in range(32)]] for head in heads])


@pytest.mark.parametrize("n_shards", [1, 3])
@pytest.mark.parametrize("group", [32, -1])
@pytest.mark.parametrize(
    ("layout", "bits", "is_symmetric"),
    [
        (Layout.GPTQ, 4, True),
        (Layout.GPTQ_V2, 4, True),
        (Layout.GPTQ, 4, False),
        (Layout.GPTQ_V2, 4, False),
        (Layout.AWQ_GEMM, 4, False),
        (Layout.AWQ_GEMV, 4, False),
        (Layout.AWQ_GEMV_FAST, 4, False),
        (Layout.GPTQ, 8, True),
    ],
)
def test_every_matrix_keeps_its_values(
    tmp_path: Path, layout: Layout, bits: int, is_symmetric: bool, group: int, n_shards: int
) -> None:
    model = Model(layout, group, is_symmetric, bits)
    reader = written(model.write(tmp_path / "m", n_shards=n_shards))
    for module, matrix in model.matrices.items():
        layer, kind = module.removeprefix("model.layers.").split(".", 1)
        expected = matrix.values(np.float32).T
        if kind in ("self_attn.q_proj", "self_attn.k_proj"):
            expected = rotated(expected)
        found = values_of(reader, f"blk.{layer}.{NAMES[kind]}.weight")
        if is_symmetric:
            assert np.array_equal(found, expected), module
        else:
            largest = float((matrix.zeros * matrix.scales.astype(float)).max())
            assert np.abs(found - expected).max() <= largest * 2**-11, module


def test_floats_are_exact_and_vectors_are_f32(tmp_path: Path) -> None:
    model = Model()
    reader = written(model.write(tmp_path / "m"))
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["token_embd.weight"] == types["output.weight"] == "F16"
    assert types["output_norm.weight"] == types["blk.1.ffn_norm.weight"] == "F32"
    embedding = model.tensors["model.embed_tokens.weight"].astype(np.float32)
    assert np.array_equal(values_of(reader, "token_embd.weight"), embedding)
    norm = model.tensors["model.layers.1.post_attention_layernorm.weight"]
    assert np.array_equal(values_of(reader, "blk.1.ffn_norm.weight"), norm.astype(np.float32))


def test_a_tied_head_is_not_written(tmp_path: Path) -> None:
    model = Model()
    model.config["tie_word_embeddings"] = True
    plan = planned(model.write(tmp_path / "m"))
    assert "output.weight" not in {tensor.name for tensor in plan.tensors}


def test_floats_that_float16_does_not_hold_keep_their_type(tmp_path: Path) -> None:
    model = Model()
    exact = model.tensors["lm_head.weight"]
    model.tensors["model.embed_tokens.weight"] = exact.astype(np.float32) * np.float32(1.1)
    model.tensors["lm_head.weight"] = exact.astype(np.float32)
    types = {
        tensor.name: tensor.type.name for tensor in planned(model.write(tmp_path / "m")).tensors
    }
    assert (types["token_embd.weight"], types["output.weight"]) == ("F32", "F16")


def test_embedding_and_head_are_rounded_when_asked(tmp_path: Path) -> None:
    model = Model()
    reader = written(model.write(tmp_path / "m"), is_embedding_q8=True)
    types = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert types["token_embd.weight"] == types["output.weight"] == "Q8_0"
    exact = model.tensors["lm_head.weight"].astype(np.float32)
    error = np.abs(values_of(reader, "output.weight") - exact).max()
    assert 0 < error <= np.abs(exact).max() / 127


def test_a_module_left_unquantised_is_permuted_too(tmp_path: Path) -> None:
    model = Model()
    module = "model.layers.0.self_attn.q_proj"
    for part in ("qweight", "qzeros", "scales", "g_idx"):
        del model.tensors[f"{module}.{part}"]
    plain = np.arange(64 * 64, dtype=np.float16).reshape(64, 64)
    model.tensors[f"{module}.weight"] = plain
    reader = written(model.write(tmp_path / "m"))
    assert np.array_equal(values_of(reader, "blk.0.attn_q.weight"), rotated(plain))


def test_biases_are_kept_and_permuted(tmp_path: Path) -> None:
    model = Model()
    bias = np.arange(32, dtype=np.float16)
    for layer in range(2):
        model.tensors[f"model.layers.{layer}.self_attn.k_proj.bias"] = bias
    reader = written(model.write(tmp_path / "m"))
    assert np.array_equal(values_of(reader, "blk.1.attn_k.bias"), rotated(bias))


def test_keys_describe_the_model(tmp_path: Path) -> None:
    keys = planned(Model().write(tmp_path / "tiny")).metadata
    expected = {
        "general.name": "tiny",
        "general.file_type": 2,
        "llama.block_count": 2,
        "llama.context_length": 128,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 1,
        "llama.rope.dimension_count": 32,
        "llama.vocab_size": 264,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.merges": ["h e"],
        "tokenizer.ggml.bos_token_id": 0,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }
    assert {key: keys.get(key) for key in expected} == expected
    tokens, types = keys["tokenizer.ggml.tokens"], keys["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list)
    assert isinstance(types, list)
    assert (tokens[0], types[0]) == ("<|im_start|>", 3)
    assert (tokens[258], types[258]) == ("he", 1)
    assert (tokens[263], types[263]) == ("[PAD263]", 5)


def reverse_order(model: Model) -> None:
    name = "model.layers.1.mlp.down_proj.g_idx"
    model.tensors[name] = np.ascontiguousarray(model.tensors[name][::-1])


def spoil_scale(value: float) -> Change:
    def apply(model: Model) -> None:
        model.tensors["model.layers.1.mlp.up_proj.scales"][1, 5] = value

    return apply


def drop(name: str) -> Change:
    return lambda model: model.tensors.pop(name)


def cut(name: str) -> Change:
    def apply(model: Model) -> None:
        model.tensors[name] = np.ascontiguousarray(model.tensors[name][:, 1:])

    return apply


def configure(**values: object) -> Change:
    return lambda model: model.config.update(values)


def quantization(**values: object) -> Change:
    return lambda model: model.config["quantization_config"].update(values)


def add_bias(model: Model) -> None:
    model.config["architectures"] = ["Qwen2ForCausalLM"]
    model.tensors["model.layers.0.mlp.up_proj.bias"] = np.ones(128, np.float16)


DOWN = "model.layers.0.mlp.down_proj"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (reverse_order, NotRepackable, "down_proj: its inputs are permuted"),
        (spoil_scale(float("nan")), NotRepackable, "up_proj: some scales are not finite"),
        (drop(f"{DOWN}.scales"), IntegrityError, "no tensor model.layers.0.mlp.down_proj.scales"),
        (drop(f"{DOWN}.qweight"), IntegrityError, "lacks 1 tensors"),
        (drop("model.norm.weight"), IntegrityError, "output_norm"),
        (drop("lm_head.weight"), IntegrityError, "output.weight"),
        (cut(f"{DOWN}.qzeros"), IntegrityError, "qzeros has the shape"),
        (cut(f"{DOWN}.scales"), IntegrityError, "but model.layers.0.mlp.down_proj has 63 rows"),
        (configure(architectures=["MambaForCausalLM"]), NotRepackable, "MambaForCausalLM"),
        (configure(hidden_act="relu"), NotRepackable, "activation is relu"),
        (configure(rope_scaling={"type": "dynamic"}), NotRepackable, "'dynamic'"),
        (
            configure(num_attention_heads=4, head_dim=32),
            IntegrityError,
            "num_attention_heads x head_dim is 128",
        ),
        (quantization(checkpoint_format="marlin"), NotRepackable, "'marlin'"),
        (quantization(quant_method="bitsandbytes"), NotRepackable, "bitsandbytes"),
        (add_bias, NotRepackable, "llama.cpp reads no model.layers.0.mlp.up_proj.bias"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_repacked_is_refused_before_anything_is_written(
    tmp_path: Path, change: Change, error: type[QtoolError], message: str
) -> None:
    model = Model()
    change(model)
    folder = model.write(tmp_path / "m")
    with pytest.raises(error) as caught:
        planned(folder)
    assert message in caught.value.message


@pytest.mark.parametrize("layout", [Layout.AWQ_GEMV, Layout.AWQ_GEMV_FAST])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda model: None, None, ""),
        (cut(f"{DOWN}.qzeros"), IntegrityError, "do not fit"),
        (cut(f"{DOWN}.scales"), IntegrityError, "do not fit"),
        (cut(f"{DOWN}.qweight"), IntegrityError, "down_proj"),
        (drop(f"{DOWN}.scales"), IntegrityError, "no tensor"),
        (quantization(group_size=4), NotRepackable, "group size of 4"),
        (quantization(group_size=24), IntegrityError, "do not fit"),
        (quantization(group_size=None), NotRepackable, "group size is not stated"),
        (quantization(bits=8), NotRepackable, "AWQ with 8 bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_awq_for_single_rows_is_refused_like_any_other(
    tmp_path: Path, layout: Layout, change: Change, error: type[QtoolError] | None, message: str
) -> None:
    model = Model(layout=layout, is_symmetric=False)
    change(model)
    folder = model.write(tmp_path / "m")
    if error is None:
        assert planned(folder).tensors
        return
    with pytest.raises(error) as caught:
        planned(folder)
    assert message in caught.value.message


def test_group_sizes_that_cut_blocks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotRepackable, match="group size of 16"):
        planned(Model(group=16).write(tmp_path / "m"))


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    folder = Model().write(tmp_path / "m", n_shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(IntegrityError, match="truncated: 7"):
        planned(folder)


def test_a_missing_shard_is_refused(tmp_path: Path) -> None:
    folder = Model().write(tmp_path / "m", n_shards=3)
    (folder / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(IntegrityError, match="incomplete"):
        planned(folder)


@pytest.mark.parametrize("stated", [None, True, False])
def test_bos_is_added_as_the_tokenizer_does(tmp_path: Path, stated: bool | None) -> None:
    model = Model()
    frame = [{"SpecialToken": {"id": "<|im_start|>"}}, {"Sequence": {"id": "A"}}]
    model.tokenizer["post_processor"] = {"type": "TemplateProcessing", "single": frame}
    folder = model.write(tmp_path / "m")
    if stated is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": stated}))
    keys = planned(folder).metadata
    assert keys["tokenizer.ggml.add_bos_token"] is (stated is not False)
    assert keys["tokenizer.ggml.add_eos_token"] is False


def test_further_ends_of_generation_become_eot(tmp_path: Path) -> None:
    folder = Model().write(tmp_path / "m")
    (folder / "generation_config.json").write_text('{"eos_token_id": [1, 7]}')
    keys = planned(folder).metadata
    assert keys["tokenizer.ggml.eos_token_id"] == 1
    assert keys["tokenizer.ggml.eot_token_id"] == 7
