"""The answer to a goal in one line: does it run here, on what, and if not, why. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from qtool.doctor import facts
from qtool.doctor.answers import awq_answers, flash_attn_answer
from qtool.doctor.case import Case
from qtool.doctor.finding import Finding, Goal, Severity
from qtool.doctor.kernels import KernelState, flash_attn_kernels, gptq_kernels
from qtool.doctor.repacked import runs_most_repacked
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.toolkits import install_compiler
from qtool.doctor.torch_sources import torch_commands
from qtool.doctor.verdict import judge_format
from qtool.language.message import Message, say, together
from qtool.models.info import ModelFormat

_FORMATS: dict[Goal, ModelFormat] = {
    Goal.GPTQ: ModelFormat.GPTQ,
    Goal.AWQ: ModelFormat.AWQ,
    Goal.GGUF: ModelFormat.GGUF,
    Goal.BNB: ModelFormat.BITSANDBYTES,
    Goal.PLAIN: ModelFormat.PLAIN,
}
_NAMES: dict[Goal, str] = {
    Goal.GPTQ: "GPTQ",
    Goal.AWQ: "AWQ",
    Goal.GGUF: "GGUF",
    Goal.BNB: "bitsandbytes",
    Goal.PLAIN: say("an unquantized model"),
    Goal.FLASH_ATTN: "flash-attn",
}


@dataclass(frozen=True, slots=True)
class GoalAnswer:
    """Whether a goal can be had on the machine; ``runs`` is ``None`` where nobody can tell."""

    goal: Goal
    runs: bool | None
    why: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @property
    def sentence(self) -> Message:
        """The answer in one line."""
        name = _NAMES.get(self.goal)
        if name is not None:
            match self.runs:
                case True:
                    return say("{name} runs here: {why}", name=name, why=self.why)
                case False:
                    return say("{name} does not run here: {why}", name=name, why=self.why)
                case None:
                    return say("{name} may run here: {why}", name=name, why=self.why)
        match self.runs:
            case True:
                return say("nothing stands in the way of building: {why}", why=self.why)
            case False:
                return say("this stands in the way of building: {why}", why=self.why)
            case None:
                return say("nothing known stands in the way of building: {why}", why=self.why)


def answer_goal(case: Case, findings: Sequence[Finding]) -> GoalAnswer | None:
    """Answer the goal of ``case``; ``None`` where there is none.

    An error among ``findings`` outweighs an engine that would run.
    """
    errors = [finding.title for finding in findings if finding.severity is Severity.ERROR]
    match case.goal:
        case None:
            return None
        case Goal.BUILD:
            return _answer_building(case, errors)
        case Goal.FLASH_ATTN:
            return _answer_flash_attn(case, errors)
        case goal:
            return _answer_format(case, goal, errors)


def _answer_format(case: Case, goal: Goal, errors: Sequence[str]) -> GoalAnswer:
    form = _FORMATS[goal]
    is_models = case.model is not None and case.model.format is form
    verdict = judge_format(case if is_models else replace(case, model=None), form)
    is_repacked = runs_most_repacked(case)
    if goal is Goal.AWQ and case.has_no_gpu and not verdict.runs and not is_repacked:
        (why,) = awq_answers(case)
        return GoalAnswer(goal, False, why)
    if errors and verdict.environment is None:
        return GoalAnswer(goal, False, errors[0], verdict.notes)
    if not verdict.runs and _is_unknown(case, goal):
        return GoalAnswer(goal, None, verdict.why, verdict.notes)
    return GoalAnswer(goal, verdict.runs, verdict.why, verdict.notes)


def _is_unknown(case: Case, goal: Goal) -> bool:
    """Tell whether nobody could look at what decides."""
    if case.snapshot.dists is UNKNOWN:
        return True
    if goal is Goal.GGUF:
        return case.snapshot.llama_cpp is UNKNOWN and not case.has("llama-cpp-python")
    if case.snapshot.torch is UNKNOWN and case.has("torch"):
        return True
    is_open = goal is Goal.GPTQ and case.has("auto-gptq")
    return is_open and gptq_kernels(case).state is KernelState.UNKNOWN


def _answer_flash_attn(case: Case, errors: Sequence[str]) -> GoalAnswer:
    goal = Goal.FLASH_ATTN
    lowest = facts.capability("flash_attn", "lowest_capability")
    gpu = flash_attn_answer(case)
    if case.has_no_gpu or (case.capabilities and max(case.capabilities) < lowest):
        return GoalAnswer(goal, False, gpu)
    if errors:
        return GoalAnswer(goal, False, errors[0], (gpu,))
    for name in ("torch", "flash-attn"):
        if case.lacks(name):
            return GoalAnswer(goal, False, say("{name} is not installed", name=name), (gpu,))
    if not case.capabilities or flash_attn_kernels(case).state is not KernelState.LOADS:
        why = say("not everything that decides it could be looked at")
        return GoalAnswer(goal, None, why, (gpu,))
    versions = say("flash-attn {version} loads on torch {torch}",
                   version=case.version("flash-attn"), torch=case.torch_version)  # fmt: skip
    return GoalAnswer(goal, True, versions, (gpu,))


def _answer_building(case: Case, errors: Sequence[str]) -> GoalAnswer:
    obstacles = list(dict.fromkeys([*errors, *_obstacles(case, has_errors=bool(errors))]))
    if obstacles:
        notes = (_tools(case), *_cures_for_building(case))
        return GoalAnswer(Goal.BUILD, False, together(obstacles, "; "), notes)
    if case.torch is None:
        return GoalAnswer(Goal.BUILD, None, say("nothing is known of torch"))
    nvcc = f"nvcc {case.snapshot.nvcc}" if case.snapshot.nvcc else say("nvcc unknown")
    return GoalAnswer(Goal.BUILD, True, together((f"torch {case.torch_version}", nvcc), ", "))


def _tools(case: Case) -> Message:
    """Return what there is to build with."""
    snapshot = case.snapshot
    found = (("nvcc", snapshot.nvcc), (say("C++ compiler"), snapshot.compiler),
             ("ninja", snapshot.ninja))  # fmt: skip
    words = (
        together((name, " ", say("unknown") if it is UNKNOWN else it or say("none")))
        for name, it in found
    )
    return together(words, ", ")


def _cures_for_building(case: Case) -> Iterator[Message]:
    """Yield what brings the tools that no finding speaks of."""
    if case.has_no_gpu:
        yield say("CUDA extensions are of no use here: there is no NVIDIA GPU to run them")
        return
    commands: list[str] = []
    if case.lacks("torch"):
        commands += torch_commands(case, ">=2.0")
    if case.snapshot.compiler is None and not case.is_windows:
        commands.append(install_compiler(case))
    yield from (say("cure: {command}", command=one) for one in commands)


def _obstacles(case: Case, *, has_errors: bool) -> Iterator[str]:
    """Yield what CUDA extensions need and is known to be absent."""
    if case.snapshot.torch is None or case.lacks("torch"):
        yield say("there is no torch to build against")
    elif case.has_cpu_torch and not has_errors:
        yield say("torch {torch} is a CPU build, CUDA extensions need one with CUDA",
                  torch=case.torch_version)  # fmt: skip
    if case.snapshot.nvcc is None and not has_errors:
        yield say("there is no nvcc")
    if case.snapshot.compiler is None:
        yield say("there is no C++ compiler")
