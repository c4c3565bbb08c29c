import shlex

import pytest
from huggingface_hub.utils import filter_repo_objects
from hypothesis import given
from hypothesis import strategies as st

from qtool.download.plan import Selection, filter_by_globs, plan
from qtool.errors import IntegrityError, NotFoundError
from qtool.hub.repo import Listing, RemoteFile, RepoRef


def listing_of(*paths):
    return Listing(RepoRef("org/name"), "c0ffee", tuple(RemoteFile(path, 10) for path in paths))


def planned(paths, **selection):
    wanted = plan(listing_of(*paths), Selection(**selection))
    return [file.path for file in wanted.files], wanted


GLOBS = st.lists(st.text(alphabet="ab*?/.[]", min_size=1, max_size=5), max_size=3)


@given(st.lists(st.text(alphabet="ab/.", min_size=1, max_size=6), max_size=8), GLOBS, GLOBS)
def test_globs_mean_what_they_mean_to_huggingface_hub(paths, include, exclude):
    files = [RemoteFile(path, 1) for path in paths]
    expected = filter_repo_objects(
        paths, allow_patterns=include or None, ignore_patterns=exclude or None
    )
    assert [f.path for f in filter_by_globs(files, include, exclude)] == list(expected)


def test_everything_without_a_selection():
    assert planned(["a", "b/c"])[0] == ["a", "b/c"]


def test_named_files_only_once_each():
    assert planned(["a", "b", "c"], files=("c", "a", "c"))[0] == ["c", "a"]


def test_unknown_file_is_not_found_and_the_nearest_is_offered():
    with pytest.raises(NotFoundError) as caught:
        planned(["config.json"], files=("config.jsn",))
    assert "config.json" in (caught.value.hint or "")


@pytest.mark.parametrize("path", ["x';touch pwned;'.gguf", "$(id).gguf", "a b.gguf", "-x.gguf"])
def test_hint_with_a_name_of_the_hub_runs_nothing_else(path):
    with pytest.raises(NotFoundError) as caught:
        planned([path], files=(path + "f",))
    words = shlex.split(caught.value.hint)
    assert [word for word in words if word != "--"] == ["qtool", "download", "org/name", path]


def test_name_that_cannot_be_printed_is_not_offered():
    with pytest.raises(NotFoundError) as caught:
        planned(["a\x1b[31m.gguf"], files=("a[31m.gguf",))
    assert "\x1b" not in caught.value.message + caught.value.hint


def test_names_that_cannot_be_printed_are_in_no_note():
    wanted = planned(["m-Q4_K_M.gguf", "m-Q8_0.gguf", "\u202em-Q2_K.gguf"])[1]
    assert wanted.notes
    assert all(note.isprintable() for note in wanted.notes)


def test_nothing_that_matches_is_not_found():
    with pytest.raises(NotFoundError):
        planned(["a"], include=("*.gguf",))


def test_repository_without_files_is_no_failure():
    assert planned([])[0] == []


DIFFUSERS = [
    *("model.safetensors", "pytorch_model.bin", "tf_model.h5", "config.json", "training_args.bin"),
    *("onnx/model.onnx", "original/consolidated.00.pth", "original/params.json"),
    *("unet/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.safetensors"),
    *("vae/diffusion_pytorch_model.bin", "tokenizer/tokenizer.bin"),
]


def test_second_copies_of_weights_are_left_out_and_named():
    files, wanted = planned(DIFFUSERS)
    assert files == [
        *("model.safetensors", "config.json", "training_args.bin"),
        *("unet/diffusion_pytorch_model.bin", "vae/diffusion_pytorch_model.safetensors"),
        "tokenizer/tokenizer.bin",
    ]
    assert len(wanted.left_out) == 6 and wanted.notes


def test_include_means_what_it_says():
    assert planned(DIFFUSERS, include=("*",))[0] == DIFFUSERS


def test_exclude_does_not_ask_for_all_that_is_left():
    files, wanted = planned(DIFFUSERS, exclude=("README.md",))
    assert "pytorch_model.bin" not in files
    assert "pytorch_model.bin" in wanted.left_out
    gguf = ["n-Q2_K.gguf", "n-Q4_K_M.gguf", "n-Q8_0.gguf", "README.md"]
    assert planned(gguf, exclude=("README.md",))[0] == ["n-Q4_K_M.gguf"]
    assert planned(gguf, exclude=("*Q4_K_M*", "*.md"))[0] == ["n-Q8_0.gguf"]


def test_pickles_are_taken_where_there_is_nothing_else():
    files = ["pytorch_model.bin", "config.json"]
    assert planned(files)[0] == files


GGUF = ["n-Q2_K.gguf", "n-Q4_K_M-00001-of-00002.gguf", "n-Q4_K_M-00002-of-00002.gguf", "README.md"]


def test_quantization_takes_all_parts():
    assert planned(GGUF, quant="q4_k_m")[0] == GGUF[1:3]


def test_quantization_that_lacks_a_part_is_refused():
    with pytest.raises(NotFoundError, match="00002-of-00002"):
        planned([GGUF[0], GGUF[1]], quant="Q4_K_M")


def test_unknown_quantization_lists_the_known():
    with pytest.raises(NotFoundError, match="Q2_K"):
        planned(GGUF, quant="Q8_0")


def test_the_usual_quantization_is_taken_when_there_are_several():
    files, wanted = planned(GGUF)
    assert files == GGUF[1:]
    assert wanted.left_out == ("n-Q2_K.gguf",)
    assert "Q2_K" in wanted.notes[0]


def test_what_comes_next_is_taken_when_the_usual_is_not_among_them():
    files, wanted = planned(["n-Q2_K.gguf", "n-Q5_K_M.gguf", "n-Q8_0.gguf", "README.md"])
    assert files == ["n-Q5_K_M.gguf", "README.md"]
    assert wanted.notes[0].startswith("Q5_K_M taken out of")


@pytest.mark.parametrize(
    "files",
    [
        ["n-Q2_K.gguf", "n-IQ1_S.gguf"],
        ["a-Q8_0.gguf", "b-Q8_0.gguf"],
        ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"],
        ["a.gguf", "b-Q8_0.gguf"],
    ],
)
def test_all_are_taken_when_it_is_not_clear_which(files):
    assert planned(files)[0] == files


def test_unsafe_name_matters_only_when_wanted():
    with pytest.raises(IntegrityError):
        planned(["a", "../b"])
    assert planned(["a", "../b"], files=("a",))[0] == ["a"]


def test_file_that_is_also_a_folder_is_refused():
    with pytest.raises(IntegrityError, match="both"):
        planned(["a", "a/b"])


def test_state_folders_of_clients_are_left_out():
    assert planned(["a", ".cache/huggingface/x", ".cache/qtool/lock"])[0] == ["a"]


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (("config.json", "tokeniser.json"), "qtool download org/name config.json tokenizer.json"),
        (("config.json", "nothere.json"), "qtool download org/name --dry-run   # lists the files"),
        (("xa.json",), "qtool download -- org/name -xa.json"),
    ],
)
def test_hint_mends_the_slip_and_keeps_the_rest(names, hint):
    with pytest.raises(NotFoundError) as caught:
        planned(["config.json", "tokenizer.json", "-xa.json"], files=names)
    assert caught.value.hint == hint
