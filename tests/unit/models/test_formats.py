"""Inspecting files and folders."""

import json
import os
from pathlib import Path

import pytest

from qtool.errors import IntegrityError, NotFoundError, QtoolError, UsageError
from qtool.models.formats import inspect_model, require_complete
from qtool.models.info import AttentionShape, ModelFormat, Quantization
from tests.unit.models import mistral
from tests.unit.models.build import gguf, llama_gguf, safetensors_of, tensor, write_checkpoint

PACKED = {
    "q.qweight": ("I32", [32, 64]),
    "q.qzeros": ("I32", [2, 8]),
    "q.scales": ("F16", [2, 64]),
    "q.g_idx": ("I32", [256]),
}


def test_mistral_in_gptq_is_described_by_figures_computed_by_hand(tmp_path: Path) -> None:
    info = inspect_model(mistral.write_mistral(tmp_path / "m", is_gptq=True))
    assert info.format is ModelFormat.GPTQ
    assert info.quantization == Quantization(
        "gptq",
        f"{tmp_path}/m/config.json: quantization_config",
        bits=4,
        group_size=128,
        is_symmetric=True,
        is_act_order=False,
    )
    assert info.n_params == mistral.N_PARAMS
    linear = 218_103_808 * 32  # weights in quantized matrices
    floats = 2 * 32768 * 4096 + 65 * 4096
    g_idx = 4 * 32 * (6 * 4096 + 14336)
    assert info.weights_bytes == linear // 2 + linear // 128 * 5 // 2 + g_idx + 2 * floats
    assert info.weights_bytes == 4_168_359_936
    assert info.attention == AttentionShape(n_layers=32, n_kv_heads=8, head_dim=128)
    assert (info.architecture, info.context_length_tokens) == ("MistralForCausalLM", 32768)
    assert info.dtype == "float16"


def test_mistral_in_fp16_has_the_same_number_of_weights(tmp_path: Path) -> None:
    info = inspect_model(mistral.write_mistral(tmp_path / "m", is_gptq=False))
    assert (info.format, info.quantization) == (ModelFormat.PLAIN, None)
    assert (info.n_params, info.weights_bytes) == (mistral.N_PARAMS, 2 * mistral.N_PARAMS)


def test_gguf_file_is_described(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(llama_gguf(**{"tokenizer.chat_template": "{{ x }}"}))
    info = inspect_model(path)
    assert (info.format, info.architecture, info.n_params) == (ModelFormat.GGUF, "llama", 256)
    assert info.quantization == Quantization(
        "gguf", str(path), bits=round(8 * 364 / 256, 3), gguf_type="Q4_0"
    )
    assert info.attention == AttentionShape(n_layers=2, n_kv_heads=2, head_dim=16)
    assert (info.context_length_tokens, info.has_chat_template) == (4096, True)
    assert (info.weights_bytes, info.files, info.warnings) == (364, (path,), ())


def test_gguf_is_recognised_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "sha256-0123"
    path.write_bytes(llama_gguf())
    assert inspect_model(path).format is ModelFormat.GGUF


def test_type_of_most_bytes_stands_in_for_an_unknown_file_type(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(llama_gguf(**{"general.file_type": 9999}))
    quantization = inspect_model(path).quantization
    assert quantization is not None
    assert quantization.gguf_type == "F32"  # 256 bytes, against 108 in Q4_0


def write_split(folder: Path, numbers: tuple[int, ...], count: int = 3) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        keys = {"split.no": number, "split.count": count, "split.tensors.count": count}
        metadata = {"general.architecture": "llama", **keys} if number == 0 else keys
        data = gguf(metadata, [tensor(f"t{number}", [8])], n_data_bytes=32)
        (folder / f"m-Q8_0-{number + 1:05}-of-{count:05}.gguf").write_bytes(data)


@pytest.mark.parametrize("start", ["", "m-Q8_0-00001-of-00003.gguf", "m-Q8_0-00003-of-00003.gguf"])
def test_split_model_is_summed_over_its_parts(tmp_path: Path, start: str) -> None:
    write_split(tmp_path, (0, 1, 2))
    info = inspect_model(tmp_path / start)
    assert (info.n_params, info.weights_bytes, len(info.files)) == (24, 96, 3)
    assert info.files[0].name.startswith("m-Q8_0-00001")
    require_complete(info)


def test_missing_part_is_named(tmp_path: Path) -> None:
    write_split(tmp_path, (0, 2))
    info = inspect_model(tmp_path)
    assert info.missing_files == ("m-Q8_0-00002-of-00003.gguf",)
    assert (info.n_params, info.warnings) == (None, ("1 of 3 parts are missing",))
    with pytest.raises(IntegrityError, match=r"m-Q8_0-00002-of-00003\.gguf"):
        require_complete(info)


def test_model_without_its_first_part_is_refused(tmp_path: Path) -> None:
    write_split(tmp_path, (1, 2))
    with pytest.raises(IntegrityError, match=r"m-Q8_0-00001-of-00003\.gguf is missing"):
        inspect_model(tmp_path)


def test_parts_of_two_models_are_refused(tmp_path: Path) -> None:
    write_split(tmp_path, (0, 1, 2))
    (tmp_path / "m-Q8_0-00002-of-00003.gguf").write_bytes(llama_gguf())
    with pytest.raises(IntegrityError, match="should be part 2 of 3"):
        inspect_model(tmp_path)


def test_folder_with_several_gguf_models_asks_which(tmp_path: Path) -> None:
    (tmp_path / "x-Q4_0.gguf").write_bytes(llama_gguf())
    (tmp_path / "x-Q8_0.gguf").write_bytes(llama_gguf(**{"general.file_type": 7}))
    (tmp_path / "mmproj-F16.gguf").write_bytes(llama_gguf())
    with pytest.raises(UsageError, match="Q4_0, Q8_0"):
        inspect_model(tmp_path)
    found = inspect_model(tmp_path, quant="q8_0")
    assert found.files == (tmp_path / "x-Q8_0.gguf",)
    with pytest.raises(NotFoundError, match="'Q2_K'"):
        inspect_model(tmp_path, quant="Q2_K")


def test_gguf_in_a_folder_of_its_own_is_found(tmp_path: Path) -> None:
    (tmp_path / "Q4_0").mkdir()
    (tmp_path / "Q4_0" / "x.gguf").write_bytes(llama_gguf())
    assert inspect_model(tmp_path, quant="Q4_0").files == (tmp_path / "Q4_0" / "x.gguf",)


def test_vision_encoder_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "mmproj-F16.gguf"
    path.write_bytes(llama_gguf())
    assert "vision encoder" in inspect_model(path).warnings[0]


def test_importance_matrix_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "imatrix.gguf"
    path.write_bytes(llama_gguf())
    assert "importance matrix" in inspect_model(path).warnings[0]


def test_checkpoint_wins_over_gguf_files_beside_it(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / "x-Q4_0.gguf").write_bytes(llama_gguf())
    assert inspect_model(folder).format is ModelFormat.PLAIN
    assert inspect_model(folder, quant="Q4_0").format is ModelFormat.GGUF


def test_quantisation_is_found_in_the_older_files(tmp_path: Path) -> None:
    gptq = {"bits": 4, "group_size": 128, "desc_act": True, "sym": False}
    info = inspect_model(
        write_checkpoint(tmp_path / "g", tensors=PACKED, quantize_config__json=gptq)
    )
    assert info.format is ModelFormat.GPTQ
    assert info.quantization is not None
    assert (info.quantization.is_act_order, info.n_params) == (True, 256 * 64)
    awq = {"w_bit": 4, "q_group_size": 128, "zero_point": True, "version": "GEMM"}
    info = inspect_model(write_checkpoint(tmp_path / "a", tensors=PACKED, quant_config__json=awq))
    assert info.format is ModelFormat.AWQ
    assert info.quantization is not None
    assert (info.quantization.version, info.quantization.group_size) == ("gemm", 128)


def test_contradiction_between_files_is_a_warning_and_config_json_counts(tmp_path: Path) -> None:
    folder = write_checkpoint(
        tmp_path / "m",
        config={"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}},
        tensors=PACKED,
        quantize_config__json={"bits": 4, "group_size": 64},
    )
    info = inspect_model(folder)
    assert info.quantization is not None
    assert info.quantization.group_size == 128
    assert "group_size: 128 there, 64 here" in info.warnings[0]


def test_files_that_agree_are_no_warning(tmp_path: Path) -> None:
    folder = write_checkpoint(
        tmp_path / "m",
        config={"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}},
        tensors=PACKED,
        quantize_config__json={"bits": 4, "group_size": 128},
    )
    assert inspect_model(folder).warnings == ()


def test_packed_weights_without_a_word_about_them_are_guessed_with_a_warning(
    tmp_path: Path,
) -> None:
    info = inspect_model(write_checkpoint(tmp_path / "m", tensors=PACKED))
    assert info.format is ModelFormat.GPTQ
    assert info.n_params == 256 * 64
    assert "no file says how" in info.warnings[0]
    without_g_idx = {name: tensor for name, tensor in PACKED.items() if "g_idx" not in name}
    info = inspect_model(write_checkpoint(tmp_path / "a", tensors=without_g_idx))
    assert info.format is ModelFormat.AWQ


def write_shards(folder: Path, present: tuple[str, ...]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    shards = {"model-00001-of-00002.safetensors": "a", "model-00002-of-00002.safetensors": "b"}
    for shard, name in shards.items():
        if shard in present:
            (folder / shard).write_bytes(safetensors_of({name: ("F16", [4])}))
    index = {
        "metadata": {"total_size": 16},
        "weight_map": {name: shard for shard, name in shards.items()},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def test_sharded_checkpoint_is_summed(tmp_path: Path) -> None:
    info = inspect_model(write_shards(tmp_path / "m", SHARDS))
    assert (info.n_params, info.weights_bytes, info.missing_files) == (8, 16, ())
    assert info.files == tuple(tmp_path / "m" / shard for shard in SHARDS)


def test_missing_shard_is_reported_and_size_taken_from_the_index(tmp_path: Path) -> None:
    info = inspect_model(write_shards(tmp_path / "m", SHARDS[:1]))
    assert (info.n_params, info.weights_bytes) == (None, 16)
    assert info.missing_files == SHARDS[1:]
    assert "1 of 2 shards are missing: model-00002" in info.warnings[0]
    with pytest.raises(IntegrityError, match="model-00002-of-00002"):
        require_complete(info)


def test_truncated_shard_is_an_integrity_error(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "m", SHARDS)
    os.truncate(folder / SHARDS[1], (folder / SHARDS[1]).stat().st_size - 3)
    with pytest.raises(IntegrityError, match=r"3 of \d+ bytes are missing"):
        inspect_model(folder)


def test_tensor_that_the_index_promises_in_vain_is_a_warning(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "m", SHARDS)
    (folder / SHARDS[1]).write_bytes(safetensors_of({"c": ("F16", [4])}))
    assert "1 tensors of the index are in no shard, such as 'b'" in inspect_model(folder).warnings


def test_single_file_wins_over_a_stale_index(tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "m", ())
    (folder / "model.safetensors").write_bytes(safetensors_of({"a": ("F16", [2])}))
    info = inspect_model(folder)
    assert (info.n_params, info.missing_files) == (2, ())


def test_names_of_auto_gptq_are_found_and_second_copies_left_out(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "gptq_model-4bit-128g.safetensors")
    (folder / "consolidated.safetensors").write_bytes(b"a second copy")
    assert [file.name for file in inspect_model(folder).files] == [
        "gptq_model-4bit-128g.safetensors"
    ]


def test_pickled_weights_are_known_by_size_only(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(bytes(1000))
    info = inspect_model(folder)
    assert (info.n_params, info.weights_bytes) == (None, 1000)
    assert "run code" in info.warnings[0]


def test_adapter_is_called_one(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match="adapter") as caught:
        inspect_model(tmp_path)
    assert caught.value.hint == "qtool chat org/base"


def test_single_safetensors_file_is_described_with_the_config_beside_it(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", config=mistral.CONFIG)
    info = inspect_model(folder / "model.safetensors")
    assert (info.architecture, info.n_params) == ("MistralForCausalLM", 4)


def test_weights_without_config_are_described_with_a_warning(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors_of({"a": ("F16", [2])}))
    info = inspect_model(tmp_path)
    assert (info.architecture, info.n_params) == (None, 2)
    assert "no config.json" in info.warnings[0]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, False),
        ({"tokenizer_config__json": {"chat_template": "{{ x }}"}}, True),
        ({"tokenizer_config__json": {"chat_template": [{"name": "a", "template": "b"}]}}, True),
        ({"tokenizer_config__json": {"chat_template": ""}}, False),
        ({"tokenizer_config__json": {"chat_template": []}}, False),
        ({"tokenizer_config__json": {"chat_template": None}}, False),
        ({"chat_template__json": {"chat_template": "{{ x }}"}}, True),
        ({"chat_template__jinja": "{{ x }}"}, True),
    ],
)
def test_chat_template_is_found(tmp_path: Path, files: dict[str, object], expected: bool) -> None:
    info = inspect_model(write_checkpoint(tmp_path / "m", **files))
    assert info.has_chat_template is expected


def test_empty_chat_template_file_is_none(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / "chat_template.jinja").write_text(" \n")
    assert not inspect_model(folder).has_chat_template


def test_tokenizer_class_is_reported(tmp_path: Path) -> None:
    folder = write_checkpoint(
        tmp_path / "m", tokenizer_config__json={"tokenizer_class": "LlamaTokenizer"}
    )
    assert inspect_model(folder).tokenizer_class == "LlamaTokenizer"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"[" * 100_000),
        ("config.json", b'{"num_hidden_layers": "many"}'),
        ("tokenizer_config.json", b'{"chat_template": 7}'),
        ("tokenizer_config.json", b'{"tokenizer_class": 7}'),
        ("quantize_config.json", b'{"bits": "four"}'),
        ("quantize_config.json", b""),
        ("model.safetensors", b"\xff" * 100),
    ],
)
def test_damaged_file_of_a_folder_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / name).write_bytes(content)
    with pytest.raises(IntegrityError, match=name.replace(".", r"\.")):
        inspect_model(folder)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="not a model"):
        inspect_model(tmp_path / "notes.txt")
    with pytest.raises(NotFoundError, match="holds no model"):
        inspect_model(tmp_path)
    with pytest.raises(NotFoundError, match="no file or folder"):
        inspect_model(tmp_path / "absent")
    (tmp_path / "x.gguf").write_bytes(b"hello")
    with pytest.raises(IntegrityError, match="not a GGUF file"):
        inspect_model(tmp_path / "x.gguf")


def test_missing_file_of_a_repository_is_pointed_to_the_hub() -> None:
    with pytest.raises(NotFoundError) as caught:
        inspect_model(Path("org/name/x.gguf"))
    assert "hf://org/name/x.gguf" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "a\0b"])
def test_impossible_path_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(QtoolError):
        inspect_model(Path(name))


def test_links_are_followed_as_in_the_hugging_face_cache(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (tmp_path / "blobs").mkdir()
    (folder / "model.safetensors").rename(tmp_path / "blobs" / "0123")
    (folder / "model.safetensors").symlink_to("../blobs/0123")
    assert inspect_model(folder).n_params == 4


def test_broken_link_is_an_error_of_ours(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m")
    (folder / "tokenizer_config.json").symlink_to("absent")
    with pytest.raises(UsageError, match=r"tokenizer_config\.json"):
        inspect_model(folder)
