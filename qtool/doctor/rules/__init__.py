"""Rules: pure functions from a case to findings, one file a family, in a plain tuple."""

from collections.abc import Callable, Iterator

from qtool.doctor.case import Case
from qtool.doctor.finding import Finding
from qtool.doctor.rules import (
    awq,
    awq_flash_attn,
    bitsandbytes,
    build,
    driver,
    environment,
    fit,
    flash_attn,
    gptq,
    gptq_build,
    gptqmodel,
    gpu,
    imports,
    llama_cpp,
    machines,
    model_files,
    runs,
    surroundings,
    torch,
)

Rule = Callable[[Case], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    *driver.RULES,
    *torch.RULES,
    *gpu.RULES,
    *gptq.RULES,
    *gptq_build.RULES,
    *gptqmodel.RULES,
    *awq.RULES,
    *awq_flash_attn.RULES,
    *flash_attn.RULES,
    *bitsandbytes.RULES,
    *llama_cpp.RULES,
    *build.RULES,
    *imports.RULES,
    *runs.RULES,
    *environment.RULES,
    *surroundings.RULES,
    *machines.RULES,
    *model_files.RULES,
    *fit.RULES,
)
