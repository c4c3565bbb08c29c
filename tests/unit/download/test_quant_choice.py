"""When to ask for a quantization, and what Enter takes."""

import pytest

from qtool.download.plan import Selection, plan
from qtool.download.quant_choice import (
    QuantOption,
    QuantQuestion,
    default_option,
    quant_question,
    settle_quant,
)
from qtool.hub.repo import Listing, RemoteFile, RepoRef


def listing(*paths):
    files = tuple(RemoteFile(path, 10 * len(path)) for path in paths)
    return Listing(RepoRef("org/name"), "c" * 40, files)


QUANTS = listing("m-Q2_K.gguf", "m-Q4_K_M.gguf", "README.md", "mmproj-F16.gguf")


@pytest.mark.parametrize(
    ("files", "selection"),
    [
        (QUANTS, Selection(quant="q4_k_m")),
        (QUANTS, Selection(files=("m-Q2_K.gguf",))),
        (QUANTS, Selection(include=("*.gguf",))),
        (listing("m-Q2_K.gguf"), Selection()),
        (listing("a.txt"), Selection()),
        (listing("m.safetensors", "m-Q2_K.gguf", "m-Q8_0.gguf"), Selection()),
    ],
)
def test_clear_choice_is_not_asked_about(files, selection):
    assert quant_question(files, selection) is None


def test_models_of_one_quantization_are_told_apart_by_file():
    question = quant_question(listing("a-Q8_0.gguf", "bb-Q8_0.gguf"), Selection())
    assert [option.name for option in question.options] == ["a-Q8_0.gguf", "bb-Q8_0.gguf"]


def test_parts_count_as_one_and_incomplete_models_are_not_offered():
    parts = [f"m-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2)]
    files = listing(*parts, "m-Q4_0.gguf", "m-Q6_K-00001-of-00002.gguf")
    question = quant_question(files, Selection())
    assert question.options == (QuantOption("Q4_0", 110), QuantOption("Q8_0", 520))


def test_answer_brings_what_the_usual_choice_would_bring_with_it():
    selection = settle_quant(QUANTS, Selection(), lambda question: "Q2_K")
    paths = [file.path for file in plan(QUANTS, selection).files]
    assert paths == ["m-Q2_K.gguf", "README.md", "mmproj-F16.gguf"]


def test_answer_replaces_a_name_that_means_nothing():
    selection = settle_quant(QUANTS, Selection(quant="Q9"), lambda question: "Q2_K")
    assert [file.path for file in plan(QUANTS, selection).files] == ["m-Q2_K.gguf"]


OPTIONS = (("Q2_K", 2), ("Q4_K_M", 4), ("Q8_0", 8), ("F16", 16))


@pytest.mark.parametrize(
    ("names", "room", "expected"),
    [
        (("Q2_K", "Q4_K_M", "Q8_0"), 100, "Q4_K_M"),
        (("Q2_K", "Q4_K_M", "Q8_0"), 3, "Q2_K"),
        (("Q2_K", "Q4_K_M"), 1, "Q2_K"),
        (("Q2_K", "Q8_0", "F16"), 100, "Q8_0"),
        (("F16",), 100, "F16"),
    ],
)
def test_default_is_usual_or_the_largest_that_fits(names, room, expected):
    options = tuple(QuantOption(name, size) for name, size in OPTIONS if name in names)
    question = QuantQuestion("org/name", options)
    assert default_option(question, lambda size: size <= room).name == expected
    assert default_option(question, lambda size: None).name in names
