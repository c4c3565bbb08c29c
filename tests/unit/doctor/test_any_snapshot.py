"""Real machines with anything in any place: a diagnosis, in both languages, and never a traceback.

Whole snapshots of nonsense are in ``test_snapshot``; here one is right but for a few places, so
that what is wrong gets far.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtool.doctor.case import make_case
from qtool.doctor.cures import plan_cures
from qtool.doctor.diagnosis import diagnose
from qtool.doctor.finding import Finding, Goal
from qtool.doctor.goals import answer_goal
from qtool.doctor.lines import translated
from qtool.doctor.markdown import markdown_lines
from qtool.doctor.prescription import prescribe
from qtool.doctor.report import report_lines
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.snapshot_reader import from_mapping
from qtool.doctor.verdict import judge
from qtool.language.translation import Language
from qtool.models.info import AttentionShape, ModelFormat, ModelInfo, Quantization
from tests.unit.doctor.test_public_cases import ALL_CASES

MACHINES = [case["env"] for case in ALL_CASES]
MORE_FIELDS: dict[str, Any] = {
    "interpreter": {"path": "/e/bin/python", "installer": "uv", "externally_managed": True},
    "conda": {"pytorch": "2.3.1"},
    "compiler": None,
    "ninja": None,
    "llama_cpp": "xllamacpp",
    "ram_bytes": 2**34,
    "ram_available_bytes": 2**33,
    "cpu": {"n_cores": 8, "flags": ["avx512_bf16"]},
    "memory_bandwidth_bytes_per_s": 5e10,
    "missing_symbols": {"awq_ext": ["_ZN3c104cuda9SetDeviceEi"]},
    "requires": {"transformers": ["numpy<2", "torch>=2.0; extra == 'x'", ""]},
    "imports": {"torch": {"ending": "crashed", "detail": "SIGSEGV"}},
    "kernel_runs": [{"kind": "gptq", "ending": "measured", "relative_error": 0.5}],
    "env_vars": {"CUDA_VISIBLE_DEVICES": "1", "LD_LIBRARY_PATH": "/usr/local/cuda-11.8/lib64"},
    "other_interpreters": [{"path": "/x", "dists": {"autoawq": "0.2.9"}}],
}
VERSIONS = st.sampled_from(
    ["2", "2.6.0.dev1+cu999", "v1", "1!2.0", "0.2.7.post2", "99999999999999999999", "", " ", "²",
     "2.2.2+", "==2.0", "{0}", "{torch}", "%s", "a" * 5000]
)  # fmt: skip
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70) | st.just(10**400),
    st.floats(),
    VERSIONS,
    st.text(max_size=8),
    st.lists(VERSIONS | st.none() | st.integers(), max_size=3),
    st.dictionaries(VERSIONS, VERSIONS | st.none(), max_size=3),
)
MODELS = st.none() | st.builds(
    ModelInfo,
    path=st.sampled_from([Path("/m/x"), Path("/m/a b's {c}-GPTQ"), Path()]),
    format=st.sampled_from(list(ModelFormat)),
    quantization=st.none()
    | st.builds(
        Quantization,
        method=st.just("gptq"),
        source=st.just(""),
        bits=st.sampled_from([None, 2, 3, 4, 8, 4.5]),
        group_size=st.sampled_from([None, -1, 0, 7, 32, 128, 10**6]),
        is_symmetric=st.sampled_from([None, True, False]),
    ),
    architecture=st.sampled_from([None, "LlamaForCausalLM", "MixtralMoe"]),
    n_params=st.sampled_from([None, 0, 1, 7 * 10**9]),
    weights_bytes=st.sampled_from([0, 1, 4 * 10**9, 10**14]),
    context_length_tokens=st.sampled_from([None, 1, 4096, 10**7]),
    attention=st.sampled_from([None, AttentionShape(32, 8, 128), AttentionShape(1, 1, 1, 64, 1)]),
    tokenizer_class=st.sampled_from([None, "TokenizersBackend", ""]),
    files=st.sampled_from([(), (Path("/m/x/model.safetensors"),)]),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON value, as keys and indexes from its root."""
    found = [path] if path else []
    if isinstance(value, dict):
        items: Any = value.items()
    else:
        items = enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    """A machine of a case, with more known of it, wrong in up to four places."""
    machine: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(MACHINES)))
    for name in draw(st.lists(st.sampled_from(sorted(MORE_FIELDS)), unique=True)):
        machine[name] = copy.deepcopy(MORE_FIELDS[name])
    for _ in range(draw(st.integers(0, 4))):
        *path, last = draw(st.sampled_from(places(machine)))
        target: Any = machine
        for key in path:
            target = target[key]
        if isinstance(target, dict) and draw(st.booleans()):
            del target[last]
        else:
            target[last] = draw(JUNK)
        if not machine:
            break
    return machine


@settings(max_examples=200)
@given(
    env=machines(),
    goal=st.none() | st.sampled_from(list(Goal)),
    model=MODELS,
    n_ctx_tokens=st.sampled_from([None, 1, 4096, 10**9]),
)
def test_whatever_is_wrong_there_is_a_diagnosis(
    env: dict[str, Any], goal: Goal | None, model: ModelInfo | None, n_ctx_tokens: int | None
) -> None:
    case = make_case(from_mapping(env), goal, model, n_ctx_tokens)

    findings, verdict = diagnose(case), judge(case)
    answer = answer_goal(case, findings)

    assert all(isinstance(one, Finding) and one.evidence and one.title for one in findings)
    assert not [one for one in findings if "Unknown." in json.dumps(one.to_json())]
    assert all(command for one in findings for fix in one.fixes for command in fix.commands)
    lines = list(report_lines(case, findings, verdict, answer))
    assert not [line for line in lines if "Unknown." in line.text]
    for language in Language:
        assert all(line.text is not None for line in translated(lines, language))
        assert list(markdown_lines(case, findings, verdict, language))
    json.dumps([one.to_json() for one in verdict.values()], allow_nan=False)
    json.dumps([one.to_json() for one in findings], allow_nan=False)
    plan_cures(case, findings)
    prescribe(case, findings)


@settings(max_examples=100)
@given(env=machines())
def test_what_is_not_known_accuses_nobody(env: dict[str, Any]) -> None:
    """Taking away what is known of distributions leaves no finding about one."""
    env = {**env, "dists": None, "torch": 7, "ext_files": {}, "import_results": 1, "imports": 1,
           "missing_symbols": {}, "missing_libraries": {}, "other_interpreters": [], "requires": {},
           "conda": 7, "kernel_runs": 7}  # fmt: skip
    case = make_case(from_mapping(env))

    about_packages = ("GPTQ", "AWQ", "FA-", "BNB", "LCPP", "TORCH", "NUMPY", "PIP", "IMPORT",
                      "ENGINE", "CONDA", "CUDA-RUNTIMES")  # fmt: skip
    found = [one.code for one in diagnose(replace(case, goal=None))]

    assert [code for code in found if code.startswith(about_packages)] == []


@pytest.mark.parametrize("goal", [Goal.BUILD, Goal.GPTQ])
def test_no_finding_says_what_programs_call_the_unknown(goal: Goal) -> None:
    for machine in MACHINES:
        env = {name: value for name, value in machine.items() if name != "python"}
        found = diagnose(make_case(from_mapping(env), goal))
        assert "Unknown." not in json.dumps([one.to_json() for one in found])


def test_a_number_of_any_length_is_unknown() -> None:
    number = 10**400
    env = {"ram_bytes": number, "gpus": [{"name": "x", "vram": number, "vram_bytes": number}]}
    snapshot = from_mapping(env)
    assert snapshot.ram_bytes is UNKNOWN
    assert diagnose(make_case(snapshot)) is not None
