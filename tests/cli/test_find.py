"""``qtool find`` as a process, against the loopback hub."""

import json

import pytest

from qtool.cli.find_view import next_reference
from qtool.cli.machine_memory import MachineMemory
from qtool.hub.find import Found
from qtool.hub.variants import FoundBy, Quant, Variant, VariantFormat
from tests.hub import Generated, Repo

BASE = "org/Model-7B"
TAG = f"base_model:quantized:{BASE}"
LONG = "an-owner-with-a-name/Model-7B-Instruct-v0.2-that-goes-on-and-on-AWQ"


@pytest.fixture
def repos():
    return [
        Repo(BASE, {"model.safetensors": Generated(9000)}),
        Repo("a/Model-7B-GPTQ", {"m.safetensors": Generated(5000)}, downloads=123456),
        Repo(LONG, {"m.safetensors": Generated(4000)}, tags=[TAG, "4-bit"], downloads=99),
        Repo(
            "b/Model-7B-GGUF",
            {"m-Q4_K_M.gguf": Generated(4200), "m-Q8_0.gguf": Generated(8000)},
            tags=["gguf", TAG],
            downloads=5_200_000,
        ),
    ]


@pytest.fixture
def find(run_qtool, hub_factory, repos, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", hub_factory(repos).url)
    return lambda *arguments, **options: run_qtool("find", *arguments, **options)


def test_table_fits_80_columns_and_ends_with_the_command_to_run(find):
    done = find(BASE)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.endswith("  b/Model-7B-GGUF") and " 5.2M " in line for line in lines)
    assert any(line.strip() == LONG for line in lines)
    assert lines[-1] == "next: qtool download b/Model-7B-GGUF:Q4_K_M"


def test_name_alone_as_the_reason_is_marked(find):
    done = find(BASE)
    assert "a/Model-7B-GPTQ*" in done.stdout
    assert "b/Model-7B-GGUF*" not in done.stdout
    assert "* by its name" in done.stdout


def test_quants_are_listed_for_gguf(find):
    for arguments in ([BASE, "--format", "gguf"], ["b/Model-7B-GGUF"]):
        lines = find(*arguments).stdout.splitlines()
        assert "b/Model-7B-GGUF holds:" in lines
        assert any(line.split()[:3] == ["Q8_0", "8", "kB"] and "fits" in line for line in lines)
    assert "holds:" not in find(BASE).stdout


def test_result_as_json(find):
    done = find(BASE, "--json")
    result = json.loads(done.stdout)
    assert done.stderr == ""
    assert (result["schema_version"], result["model"]) == (1, BASE)
    by_repo = {variant["repo"]: variant for variant in result["variants"]}
    assert by_repo[LONG] == {
        "repo": LONG,
        "format": "awq",
        "bits": 4,
        "size_bytes": 4000,
        "downloads": 99,
        "last_modified": "2026-01-02T03:04:05.000Z",
        "fits": True,
        "found_by": "base_model",
        "is_gated": False,
    }
    assert [quant["quant"] for quant in by_repo["b/Model-7B-GGUF"]["quants"]] == ["Q4_K_M", "Q8_0"]


def test_limit_and_format(find):
    result = json.loads(find(BASE, "--json", "--limit", "1").stdout)
    assert [variant["repo"] for variant in result["variants"]] == ["b/Model-7B-GGUF"]
    assert result["n_found"] == 3
    result = json.loads(find(BASE, "--json", "--format", "gptq").stdout)
    assert [variant["repo"] for variant in result["variants"]] == ["a/Model-7B-GPTQ"]


GIB = 1 << 30


@pytest.mark.parametrize(
    ("ram_bytes", "vram_bytes", "fits"),
    [
        (8 * GIB, None, True),
        (4 * GIB, None, False),  # buffers need some too
        (2 * GIB, 8 * GIB, True),
        (2 * GIB, None, False),
        (None, None, None),
    ],
)
def test_weights_fit_ram_or_gpu_with_room_for_buffers(ram_bytes, vram_bytes, fits):
    memory = MachineMemory(ram_bytes, vram_bytes)
    assert memory.fits(4 * GIB) is fits
    assert memory.fits(None) is None


def quants(*sizes: int) -> tuple[Quant, ...]:
    return tuple(Quant(f"Q{n + 2}_K", ("x",), size, n + 2) for n, size in enumerate(sizes))


def variant(repo_id: str, size_bytes: int, **options: object) -> Variant:
    return Variant(repo_id, VariantFormat.GGUF, FoundBy.NAME, size_bytes=size_bytes, **options)


def test_command_to_run_takes_what_fits():
    memory = MachineMemory(4 * GIB, None)
    large, small = variant("a/large", 9 * GIB), variant("a/small", 2 * GIB, quant="Q4_K_M")
    found = Found("m", "m", "http://hub", (large, small), 2)
    assert next_reference(found, memory, None) == "a/small:Q4_K_M"


def test_command_to_run_takes_the_largest_quant_that_fits_when_the_usual_does_not():
    sizes = quants(2 * GIB, 3 * GIB, 9 * GIB)
    only = variant("a/large", 9 * GIB, quant="Q4_K", quants=sizes)
    found = Found("m", "m", "http://hub", (only,), 1)
    assert next_reference(found, MachineMemory(4 * GIB, None), None) == "a/large:Q3_K"


def test_model_that_does_not_exist_ends_with_3(find):
    done = find("org/nothing", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "not_found"


@pytest.mark.parametrize("arguments", [["./model.gguf"], ["a/b/c"], [BASE, "--format", "exl2"]])
def test_wrong_usage_ends_with_2(find, arguments):
    done = find(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_hub_that_is_down_ends_with_5(run_qtool):
    done = run_qtool("find", BASE, "--endpoint", "http://127.0.0.1:9")
    assert done.returncode == 5
    assert "hint:" in done.stderr


def test_mirrors_are_asked_one_after_another_when_nobody_names_an_endpoint(
    run_qtool, hub_factory, repos, monkeypatch
):
    mirrors = f"http://127.0.0.1:9,https://modelscope.cn,{hub_factory(repos).url}"
    monkeypatch.setenv("QTOOL_MIRRORS", mirrors)
    assert run_qtool("find", BASE).returncode == 0


def test_hub_without_this_question_is_a_usage_error(run_qtool):
    done = run_qtool("find", BASE, "--endpoint", "https://modelscope.cn")
    assert done.returncode == 2
    assert "hf-mirror.com" in done.stderr
