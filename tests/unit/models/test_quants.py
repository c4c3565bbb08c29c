"""Quantizations by file name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qtool.errors import NotFoundError, UsageError
from qtool.models.ggml_types import FILE_TYPE_LABELS
from qtool.models.quants import GgufRole, group_gguf, quant_of, select_quant, split_of


@pytest.mark.parametrize(
    ("path", "quant"),
    [
        ("Mistral-7B-Instruct-v0.3-Q4_K_M.gguf", "Q4_K_M"),
        ("Mistral-7B-Instruct-v0.3.Q4_K_M.gguf", "Q4_K_M"),
        ("mistral-7b.q4_0.gguf", "Q4_0"),
        ("ggml-model-q5_k_s.gguf", "Q5_K_S"),
        ("q8_0.gguf", "Q8_0"),
        ("Llama-3.2-1B-Instruct-f16.gguf", "F16"),
        ("model-fp16.gguf", "F16"),
        ("model.FP32.gguf", "F32"),
        ("model-BF16.gguf", "BF16"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gpt-oss-20b-MXFP4_MOE.gguf", "MXFP4_MOE"),
        ("x-TQ1_0.gguf", "TQ1_0"),
        ("Qwen3-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("DeepSeek-R1-UD-IQ1_S.gguf", "UD-IQ1_S"),
        ("x-IQ2_XXS.gguf", "IQ2_XXS"),
        ("x.i1-IQ3_XS.gguf", "IQ3_XS"),
        ("x-IQ4_NL.gguf", "IQ4_NL"),
        ("x-Q6_K_L.gguf", "Q6_K_L"),
        ("x-Q6_K.gguf", "Q6_K"),
        ("x-Q4_0_4_4.gguf", "Q4_0_4_4"),
        ("Name-F16-Q4_K_M.gguf", "Q4_K_M"),
        ("x-Q4_K_M-imat.gguf", "Q4_K_M"),
        ("x-Q4_K_M-00001-of-00003.gguf", "Q4_K_M"),
        ("Q4_K_M/x-00001-of-00003.gguf", "Q4_K_M"),
        ("UD-Q4_K_XL\\x.gguf", "UD-Q4_K_XL"),
        ("BF16/Name-BF16-00001-of-00002.gguf", "BF16"),
        ("Q8_0/sub/x.gguf", "Q8_0"),
        ("Q8_0/x-Q4_0.gguf", "Q4_0"),
        ("x-Q4_K_M_v2.gguf", "Q4_K_M"),
        ("x-Q4_K_FOO.gguf", None),
        ("Qwen2.5-7B.gguf", None),
        ("IQ-model.gguf", None),
        ("xQ4_0y.gguf", None),
        ("SQ4_0.gguf", None),
        ("f161.gguf", None),
        ("", None),
    ],
)
def test_label_is_read_from_the_name(path: str, quant: str | None) -> None:
    assert quant_of(path) == quant


@pytest.mark.parametrize("label", sorted(FILE_TYPE_LABELS.values()))
def test_every_label_of_llama_cpp_is_known(label: str) -> None:
    assert quant_of(f"Model-7B-{label}.gguf") == label
    assert quant_of(f"model.{label.lower()}.gguf") == label


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("a/x-00002-of-00003.gguf", ("a/x", 2, 3)),
        ("x-00001-of-00001.GGUF", ("x", 1, 1)),
        ("x-00000-of-00003.gguf", None),
        ("x-00004-of-00003.gguf", None),
        ("x-1-of-3.gguf", None),
        ("x-00001-of-00003.safetensors", None),
        ("x.gguf", None),
    ],
)
def test_split_is_read_from_the_name(path: str, split: tuple[str, int, int] | None) -> None:
    assert split_of(path) == split


def test_parts_are_grouped_in_order_with_missing_ones_named() -> None:
    names = ["m-Q8_0-00003-of-00004.gguf", "m-Q8_0-00001-of-00004.gguf", "README.md", "m-Q4_0.gguf"]
    small, big = group_gguf(names)
    assert (small.quant, small.files, small.is_complete) == ("Q4_0", ("m-Q4_0.gguf",), True)
    assert big.files == ("m-Q8_0-00001-of-00004.gguf", "m-Q8_0-00003-of-00004.gguf")
    assert big.missing == ("m-Q8_0-00002-of-00004.gguf", "m-Q8_0-00004-of-00004.gguf")
    assert not big.is_complete


def test_splits_of_different_counts_are_not_mixed() -> None:
    variants = group_gguf(["m-00001-of-00002.gguf", "m-00002-of-00003.gguf"])
    assert [variant.missing for variant in variants] == [
        ("m-00002-of-00002.gguf",),
        ("m-00001-of-00003.gguf", "m-00003-of-00003.gguf"),
    ]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("mmproj-F16.gguf", GgufRole.MMPROJ),
        ("gemma-3-4b-mmproj-Q8_0.gguf", GgufRole.MMPROJ),
        ("imatrix.gguf", GgufRole.IMATRIX),
        ("Name.imatrix.gguf", GgufRole.IMATRIX),
        ("imatrix_unsloth.gguf", GgufRole.IMATRIX),
        ("Name-imatrix-Q4_K_M.gguf", GgufRole.MODEL),
        ("Name-Q4_K_M.gguf", GgufRole.MODEL),
    ],
)
def test_companions_are_told_apart(name: str, role: GgufRole) -> None:
    assert group_gguf([name])[0].role is role


REPOSITORY = group_gguf(
    (
        "x-Q4_K_M.gguf",
        "x-Q8_0-00001-of-00002.gguf",
        "x-Q8_0-00002-of-00002.gguf",
        "x-F16.gguf",
        "UD-Q2_K_XL/x-UD-Q2_K_XL.gguf",
        "mmproj-BF16.gguf",
        "imatrix.gguf",
    )
)


@pytest.mark.parametrize(
    ("wanted", "quant"),
    [
        ("Q4_K_M", "Q4_K_M"),
        ("q4_k_m", "Q4_K_M"),
        ("q8_0", "Q8_0"),
        ("FP16", "F16"),
        ("UD-Q2_K_XL", "UD-Q2_K_XL"),
        ("q2_k_xl", "UD-Q2_K_XL"),
        ("X-Q4_K_M.gguf", "Q4_K_M"),
        ("x-UD-Q2_K_XL.gguf", "UD-Q2_K_XL"),
    ],
)
def test_quantisation_is_found_in_any_case(wanted: str, quant: str) -> None:
    assert select_quant(REPOSITORY, wanted).quant == quant


@pytest.mark.parametrize("wanted", ["Q5_K_M", "BF16", "nonsense"])
def test_absent_quantisation_lists_what_there_is(wanted: str) -> None:
    with pytest.raises(NotFoundError, match="UD-Q2_K_XL, F16, Q4_K_M, Q8_0"):
        select_quant(REPOSITORY, wanted)


def test_choice_is_asked_for_when_there_are_several() -> None:
    with pytest.raises(UsageError, match="UD-Q2_K_XL, F16, Q4_K_M, Q8_0"):
        select_quant(REPOSITORY, None)


def test_only_model_is_chosen_beside_its_companions() -> None:
    assert select_quant(group_gguf(["x.gguf", "mmproj-F16.gguf"]), None).files == ("x.gguf",)


def test_companions_alone_are_no_model() -> None:
    with pytest.raises(NotFoundError):
        select_quant(group_gguf(["mmproj-F16.gguf"]), None)


def test_two_models_of_one_quantisation_are_listed_by_file() -> None:
    variants = group_gguf(["a-Q4_0.gguf", "b-Q4_0.gguf"])
    with pytest.raises(UsageError, match=r"a-Q4_0\.gguf, b-Q4_0\.gguf"):
        select_quant(variants, "Q4_0")
    assert select_quant(variants, "b-Q4_0.gguf").files == ("b-Q4_0.gguf",)


@given(st.lists(st.text(alphabet="aQ4_0KM-/.", max_size=12).map(lambda name: f"{name}.gguf")))
def test_every_file_is_in_exactly_one_variant(names: list[str]) -> None:
    grouped = [name for variant in group_gguf(names) for name in variant.files]
    assert sorted(grouped) == sorted(set(names))


@pytest.mark.parametrize(
    ("wanted", "suggested"),
    [("Q9_Z", "Q4_K_M"), ("q5_km", "Q5_K_M"), ("Q8", "Q4_K_M"), ("IQ4XS", "IQ4_XS")],
)
def test_unknown_quant_is_answered_with_what_was_meant_or_the_favourite(
    wanted: str, suggested: str
):
    labels = ("IQ4_XS", "Q2_K", "Q4_K_M", "Q5_K_M", "Q8_0")
    with pytest.raises(NotFoundError) as caught:
        select_quant(group_gguf(f"m-{label}.gguf" for label in labels), wanted)
    assert (caught.value.hint or "").endswith(f"such as :{suggested}")
