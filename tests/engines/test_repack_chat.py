"""`qtool chat FOLDER` and `qtool repack`, as programs, on a tiny quantised model."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from qtool.nvidia import has_nvidia_gpu
from tests.conftest import Run
from tests.unit.engines.repack.checkpoints import Model

PROMPT = ("-p", "hello", "--temperature", "0", "-m", "4")
without_gpu = pytest.mark.skipif(
    has_nvidia_gpu(os.environ), reason="on a GPU transformers is chosen"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Model().write(tmp_path / "tiny-gptq")


def act_ordered(tmp_path: Path) -> Path:
    model = Model()
    name = "model.layers.1.mlp.down_proj.g_idx"
    model.tensors[name] = np.ascontiguousarray(model.tensors[name][::-1])
    return model.write(tmp_path / "tiny-act-order")


@without_gpu
def test_chat_repacks_a_folder_once_and_says_so(folder: Path, run_qtool: Run) -> None:
    first = run_qtool("chat", str(folder), *PROMPT)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("repacking tiny-gptq for llama.cpp") == 1
    made = [line for line in first.stderr.splitlines() if line.startswith("done in")]
    assert made[0].endswith("tiny-gptq.gguf")
    second = run_qtool("chat", str(folder), *PROMPT)
    assert second.returncode == 0
    assert "repacking" not in second.stderr
    assert second.stdout == first.stdout


@without_gpu
def test_chat_says_which_engine_runs_it(folder: Path, run_qtool: Run) -> None:
    done = run_qtool("chat", str(folder), *PROMPT, "-v")
    assert "tiny-gptq runs on llama.cpp: repacked without loss" in done.stderr


@pytest.mark.parametrize("way", [("--engine", "transformers"), ("--python", "/usr")])
def test_transformers_and_an_environment_are_ways_around_it(
    folder: Path, run_qtool: Run, way: tuple[str, str]
) -> None:
    done = run_qtool("chat", str(folder), *PROMPT, *way)
    assert "repacking" not in done.stderr


@without_gpu
def test_what_cannot_be_repacked_is_left_to_transformers(tmp_path: Path, run_qtool: Run) -> None:
    done = run_qtool("chat", str(act_ordered(tmp_path)), *PROMPT)
    assert "its inputs are permuted (act-order, desc_act)" in done.stderr
    if done.returncode:
        assert "nothing runs it" in done.stderr
    else:
        assert "transformers runs it, more slowly" in done.stderr


def test_llama_cpp_by_name_says_why_it_cannot(tmp_path: Path, run_qtool: Run) -> None:
    done = run_qtool("chat", str(act_ordered(tmp_path)), *PROMPT, "--engine", "llama.cpp")
    assert done.returncode == 7
    assert "cannot hold this model without loss" in done.stderr


def test_repack_writes_where_it_is_told(folder: Path, tmp_path: Path, run_qtool: Run) -> None:
    target = tmp_path / "here.gguf"
    done = run_qtool("repack", str(folder), "-o", str(target), "--json")
    document = json.loads(done.stdout)
    assert (document["path"], document["is_new"]) == (str(target), True)
    assert document["output_bytes"] == target.stat().st_size
    assert json.loads(run_qtool("repack", "--list", "--json").stdout)["repacked"] == []


def test_repack_finds_a_repository_in_the_hugging_face_cache(
    tmp_path: Path, run_qtool: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, commit = tmp_path / "hub" / "models--org--tiny", "c" * 40
    snapshot = Model().write(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    made = run_qtool("repack", "org/tiny", "--quiet")
    assert made.returncode == 0, made.stderr
    assert Path(made.stdout.strip()).name == "tiny.gguf"
    (listed,) = json.loads(run_qtool("repack", "--list", "--json").stdout)["repacked"]
    assert listed["source"] == str(snapshot)
    assert run_qtool("repack", "org/other").returncode == 3


def test_repacked_models_are_listed_and_removed(folder: Path, run_qtool: Run) -> None:
    made = run_qtool("repack", str(folder), "--quiet").stdout.strip()
    listed = json.loads(run_qtool("repack", "--list", "--json").stdout)["repacked"]
    assert [(one["path"], one["source"]) for one in listed] == [(made, str(folder))]
    assert "nothing to remove" in run_qtool("repack", "--prune").stdout
    assert Path(made).exists()
    folder.rename(folder.with_name("gone"))
    assert f"removed {made}" in run_qtool("repack", "--prune").stdout
    assert not Path(made).exists()


def test_the_list_is_a_table_of_names_and_quiet_of_paths(folder: Path, run_qtool: Run) -> None:
    other = Model(seed=1).write(folder.with_name("another-one"))
    made = [run_qtool("repack", str(one), "--quiet").stdout.strip() for one in (folder, other)]
    *rows, kept_in = run_qtool("repack", "--list").stdout.splitlines()
    words = [row.split() for row in rows]
    assert [(row[2], row[5]) for row in words] == [
        ("another-one", str(other)),
        ("tiny-gptq", str(folder)),
    ]
    assert len({row.index("made of") for row in rows}) == 1
    assert kept_in.startswith("kept in ")
    assert sorted(run_qtool("repack", "--list", "--quiet").stdout.split()) == sorted(made)


def test_a_gguf_is_nothing_to_repack(folder: Path, run_qtool: Run) -> None:
    made = run_qtool("repack", str(folder), "--quiet").stdout.strip()
    done = run_qtool("repack", made)
    assert done.returncode == 7
    assert "tiny-gptq.gguf is a GGUF already" in done.stderr
    assert f"hint: qtool chat {made}" in done.stderr


def test_a_refusal_says_how_the_model_runs(tmp_path: Path, run_qtool: Run) -> None:
    model = act_ordered(tmp_path)
    done = run_qtool("repack", str(model))
    assert done.returncode == 7
    assert "its inputs are permuted" in done.stderr
    _, _, hint = done.stderr.partition("hint: ")
    assert f"qtool chat {model} --e" in hint  # --engine transformers where that is, or --env


def test_no_folder_is_made_for_an_output(folder: Path, tmp_path: Path, run_qtool: Run) -> None:
    nowhere = tmp_path / "nowhere"
    done = run_qtool("repack", str(folder), "-o", str(nowhere / "m.gguf"))
    assert done.returncode == 2
    assert f"there is no folder {nowhere} for m.gguf" in done.stderr
    assert not nowhere.exists()


def test_an_output_of_another_ending_is_warned_of(folder: Path, run_qtool: Run) -> None:
    done = run_qtool("repack", str(folder), "-o", str(folder.with_suffix(".bin")))
    assert done.returncode == 0
    assert "does not end in .gguf" in done.stderr


def test_an_empty_list_is_said_in_words(run_qtool: Run, own_settings: Path) -> None:
    done = run_qtool("repack", "--list")
    kept_in = own_settings / "cache" / "repacked"
    assert done.stdout == f"nothing has been repacked yet; it would be kept in {kept_in}\n"
    assert run_qtool("repack", "--list", "--quiet").stdout == ""


def test_prune_of_one_model_leaves_the_others(folder: Path, tmp_path: Path, run_qtool: Run) -> None:
    other = Model(seed=1).write(tmp_path / "other")
    made = [run_qtool("repack", str(one), "--quiet").stdout.strip() for one in (folder, other)]
    run_qtool("repack", str(folder), "--prune")
    assert [Path(path).exists() for path in made] == [False, True]


def test_repack_without_a_model_is_a_usage_error(run_qtool: Run) -> None:
    assert run_qtool("repack").returncode == 2


def test_file_that_is_there_is_replaced_by_force_alone(run_qtool: Run, tmp_path: Path) -> None:
    there = tmp_path / "model.gguf"
    there.write_bytes(b"GGUF of somebody's")
    done = run_qtool("repack", str(tmp_path), "-o", str(there))
    assert done.returncode == 2
    assert "--force" in done.stderr
    assert there.read_bytes() == b"GGUF of somebody's"


def test_options_that_exclude_one_another_are_refused(run_qtool: Run) -> None:
    assert run_qtool("repack", "--list", "--prune").returncode == 2
