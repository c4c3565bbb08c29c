"""GPTQ and AWQ on a processor with torch alone: codes, products, and models in a bare environment.

Matrices are packed here as one long number a row, which knows nothing of the code that unpacks.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from qtool.engines.interpreters import EnginePython
from qtool.engines.transformers import PROGRAM
from tests.conftest import Run
from tests.engines.conftest import run_beside
from tests.engines.test_legacy import OLDEST, environment
from tests.engines.test_repack_models import NAMES, models

__all__ = ["models"]  # a fixture

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.timeout(900)]

AWQ_PLACES = [0, 2, 4, 6, 1, 3, 5, 7]
N_ROWS = 300
MAX_ERROR = 0.01
"""Of the products' root mean square; rounding inputs and scales to bfloat16 makes 0.003."""


@dataclass(frozen=True)
class Case:
    """A matrix: ``group`` inputs share a scale; ``is_int4`` says whether the kernel takes it."""

    layout: str
    bits: int = 4
    group: int = 64
    n_inputs: int = 256
    n_outputs: int = 320
    is_permuted: bool = False
    is_int4: bool = True


CASES = {
    "gptq-32": Case("gptq", group=32),
    "gptq-64-v2": Case("gptq_v2"),
    "gptq-128-act-order": Case("gptq", group=128, is_permuted=True),
    "gptq-whole": Case("gptq", group=512, n_inputs=512),
    "gptq-96": Case("gptq", group=96, n_inputs=288),
    "gptq-2-bits": Case("gptq", bits=2),
    "gptq-3-bits-act-order": Case("gptq", bits=3, is_permuted=True),
    "gptq-part-of-a-tile": Case("gptq", n_outputs=336),
    "awq-64": Case("gemm"),
    "awq-128": Case("gemm", group=128),
    "gptq-16": Case("gptq", group=16, is_int4=False),
    "gptq-16-act-order": Case("gptq", group=16, is_permuted=True, is_int4=False),
    "gptq-8-bits": Case("gptq", bits=8, is_int4=False),
    "gptq-odd-outputs": Case("gptq", n_outputs=328, is_int4=False),
}


def words_of(codes: np.ndarray, bits: int) -> np.ndarray:
    """Pack each row of codes into 32-bit words, the first code into the lowest bits."""
    packed = []
    for row in codes.tolist():
        number = sum(code << (bits * place) for place, code in enumerate(row))
        packed.append(np.frombuffer(number.to_bytes(len(row) * bits // 8, "little"), "<i4"))
    return np.stack(packed)


def make_case(name: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the parts of a matrix, and the values (inputs, outputs) that it stands for."""
    case = CASES[name]
    rng = np.random.default_rng(len(name))
    n_groups = case.n_inputs // case.group
    shape = (n_groups, case.n_outputs)
    order = np.arange(case.n_inputs)
    if case.is_permuted:
        rng.shuffle(order)
    g_idx = (order // case.group).astype(np.int32)
    codes = rng.integers(0, 2**case.bits, (case.n_inputs, case.n_outputs))
    zeros = rng.integers(0, 2**case.bits, shape)
    scales = (rng.random(shape) / 50 + 0.01).astype(np.float16)
    parts = {"scales": scales, "packing": np.array([case.layout, str(case.bits)])}
    if case.layout == "gemm":
        in_place = np.arange(case.n_outputs).reshape(-1, 8)[:, AWQ_PLACES].ravel()
        parts |= {
            "qweight": words_of(codes[:, in_place], 4),
            "qzeros": words_of(zeros[:, in_place], 4),
        }
    else:
        stored = (zeros - 1) % 2**case.bits if case.layout == "gptq" else zeros
        qweight = np.ascontiguousarray(words_of(codes.T, case.bits).T)
        parts |= {"qweight": qweight, "qzeros": words_of(stored, case.bits), "g_idx": g_idx}
    parts["x"] = rng.standard_normal((N_ROWS, case.n_inputs)).astype(np.float32)
    return parts, scales.astype(np.float32)[g_idx] * (codes - zeros[g_idx]).astype(np.float32)


PROCESSORS = (
    *("best", "avx2"),
    pytest.param("default", marks=pytest.mark.environments, id="no-vectors"),  # slow
)


@pytest.fixture(scope="module", params=PROCESSORS)
def computed(
    request: pytest.FixtureRequest,
    engine_python: EnginePython,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, np.ndarray]:
    """Return what the server's modules make of all cases, on several kinds of processor."""
    folder = tmp_path_factory.mktemp("int4")
    given = {f"{name}.{key}": array for name in CASES for key, array in make_case(name)[0].items()}
    np.savez(folder / "cases.npz", **given)
    files = [str(folder / name) for name in ("cases.npz", "out.npz")]
    environ = {} if request.param == "best" else {"ATEN_CPU_CAPABILITY": str(request.param)}
    run_beside(engine_python, "check_int4.py", str(PROGRAM), *files, **environ)
    with np.load(folder / "out.npz") as found:
        return dict(found)


@pytest.mark.parametrize("name", CASES)
def test_codes_are_read_bit_for_bit(computed: dict[str, np.ndarray], name: str) -> None:
    assert np.array_equal(computed[f"{name}.values"], make_case(name)[1].T)


@pytest.mark.parametrize("name", CASES)
def test_products_are_those_of_the_values(computed: dict[str, np.ndarray], name: str) -> None:
    products = {key: array for key, array in computed.items() if key.startswith(f"{name}.")}
    del products[f"{name}.values"]
    assert bool(products) is CASES[name].is_int4
    parts, values = make_case(name)
    expected = parts["x"].astype(np.float64) @ values
    for key, product in products.items():
        error = product - expected[: len(product)]
        assert np.sqrt((error**2).mean() / (expected**2).mean()) < MAX_ERROR, key


DOWN = "model.layers.1.mlp.down_proj"
NORM = "model.layers.0.input_layernorm.weight"
Tensors = dict[str, np.ndarray]


def without(name: str) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.pop(name)


def with_(name: str, *shape: int) -> Callable[[Tensors], object]:
    return lambda tensors: tensors.update({name: np.ones(shape, np.float16)})


def with_groups_of_different_sizes(tensors: Tensors) -> None:
    tensors[f"{DOWN}.g_idx"][:3] = 1


REFUSALS: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "whole": (lambda tensors: None, ""),
    "buffers": (with_("model.layers.0.self_attn.rotary_emb.inv_freq", 16), ""),
    "scales": (without(f"{DOWN}.scales"), "no zero points or no scales of model.layers.1"),
    "norm": (without(NORM), f"the checkpoint has no {NORM}"),
    "matrix": (without(f"{DOWN}.qweight"), f"the model has no {DOWN}."),
    "unknown": (with_("model.layers.0.mlp.act.scales", 256), "the model has no model.layers.0.mlp"),
    "layer": (with_("model.layers.9.mlp.bias", 256), "the model has no model.layers.9"),
    "shape": (with_(NORM, 64), f"{NORM} has the shape (64,)"),
    "groups": (with_groups_of_different_sizes, "groups of different sizes"),
}


def test_what_the_loader_does_not_cover_is_left_to_others(
    engine_python: EnginePython, tiny_models: Path, tmp_path: Path
) -> None:
    source = tiny_models / "gptq-sym-64"
    for name, (change, _) in REFUSALS.items():
        tensors = load_file(source / "model.safetensors")
        change(tensors)
        (tmp_path / name).mkdir()
        shutil.copy(source / "config.json", tmp_path / name)
        save_file(tensors, tmp_path / name / "model.safetensors")
    folders = [str(tmp_path / name) for name in REFUSALS]
    reasons = run_beside(engine_python, "refuse_int4.py", str(PROGRAM), *folders).split("\n")
    for name, reason in zip(REFUSALS, reasons, strict=False):
        expected = REFUSALS[name][1]
        assert expected in reason, name
        assert bool(expected) is bool(reason), name


@pytest.mark.environments
def test_every_architecture_comes_as_near_as_in_bfloat16(
    engine_python: EnginePython, models: Path
) -> None:
    reports = run_beside(engine_python, "measure_int4.py", str(PROGRAM), str(models), *NAMES)
    bfloat16 = json.loads((models / "bfloat16.json").read_text())
    for name, line in zip(NAMES, reports.splitlines(), strict=True):
        found = json.loads(line)
        assert found["layers"] >= 8, name
        assert found["divergence"] < 1.5 * bfloat16[name]["divergence"], name
        assert found["top"] > bfloat16[name]["top"] - 0.03, name


@pytest.mark.environments
@pytest.mark.parametrize("name", ["gptq-act-order-64", "gptq-sym-128", "awq-64"])
def test_models_run_where_there_is_nothing_but_torch_and_transformers(
    run_qtool: Run, tiny_models: Path, name: str
) -> None:
    python = environment("transformers-4.36", OLDEST)
    done = run_qtool(
        *("chat", str(tiny_models / name), "--python", python.path, "--json"),
        *("-m", "6", "--temperature", "0"),
        input="one\ntwo\n",
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert second["usage"]["cached_tokens"] >= first["usage"]["prompt_tokens"]


@pytest.mark.environments
def test_what_torch_alone_cannot_do_is_said(
    run_qtool: Run, tiny_models: Path, tmp_path: Path
) -> None:
    python = environment("transformers-4.36", OLDEST)
    folder = tmp_path / "marlin"
    folder.mkdir()
    for path in (tiny_models / "gptq-sym-64").iterdir():
        (folder / path.name).symlink_to(path)
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["checkpoint_format"] = "marlin"
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    done = run_qtool("chat", str(folder), "--python", python.path, "-p", "one")
    assert done.returncode == 7
    assert "gptq needs one of the packages gptqmodel, auto_gptq" in done.stderr
    assert "torch alone does not do: gptq with 4 bits in the layout 'marlin'" in done.stderr
