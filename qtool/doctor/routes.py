"""How a format would run in an environment: engine, device, kernel. Memory comes later. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from qtool.doctor import facts
from qtool.doctor.case import Case
from qtool.doctor.fit import Device
from qtool.doctor.kernels import KernelState, awq_kernels, gptq_kernels
from qtool.doctor.llama_programs import llama_kind, program_words, uses_gpu
from qtool.doctor.repacked import runs_most_repacked, runs_repacked
from qtool.doctor.snapshot import UNKNOWN
from qtool.doctor.torch_device import lack_of_transformers, torch_device
from qtool.doctor.versions import is_within, parse_capability
from qtool.language.message import Message, say, together
from qtool.models.info import ModelFormat, ModelInfo
from qtool.models.loaders import INT4_TORCH, LOADERS
from qtool.models.repackable import find_layout

INT4PACK_GROUP_SIZES = (16, 32, 64, 128)
OWN_INT4_GROUP = 32
OWN_INT4_BITS = {ModelFormat.GPTQ: (2, 3, 4, 8), ModelFormat.AWQ: (4,)}
"""qtool's own server loads GPTQ and AWQ on a CPU with torch's 4-bit kernel, in groups
that are multiples of 32; see ``engines/transformers_server/int4_loader.py``."""
LIBRARIES = {
    ModelFormat.GPTQ: ("gptqmodel", "auto-gptq"),
    ModelFormat.AWQ: ("gptqmodel", "autoawq"),
}
WRITTEN_OUT = "half precision (written out)"
SLOW_ON_CPU = "torch (slow)"


@dataclass(frozen=True, slots=True)
class Route:
    """How a format would run. ``lacks_packages``: others, or another environment, would change it.

    ``wants_gpu_build``: it runs, but leaves a GPU idle that another build would use.
    """

    runs: bool
    why: str
    engine: str | None = None
    device: Device | None = None
    kernel: str | None = None
    lacks_packages: bool = False
    wants_gpu_build: bool = False


def find_route(case: Case, form: ModelFormat) -> Route:
    """Return how ``form`` would run in the environment of ``case``, or why it does not."""
    route = _ROUTES.get(form, _route_unknown)(case)
    if not route.runs and (repacked := _route_most_repacked(case, form, route)):
        return repacked
    is_stranded = not route.runs and route.lacks_packages and form is not ModelFormat.GGUF
    return (_route_vllm(case) if is_stranded else None) or route


def _refused(why: str) -> Route:
    return Route(False, why, lacks_packages=True)


def _route_gguf(case: Case) -> Route:
    kind = llama_kind(case)
    if kind is None:
        return _refused(say("there is no llama.cpp: neither xllamacpp nor llama-server"))
    how, is_for_gpu = program_words(case, kind), uses_gpu(case, kind)
    if case.gpus and is_for_gpu is not False:
        why = say("llama.cpp by {how}, built for the GPU", how=how)
        if is_for_gpu is UNKNOWN:
            why = say("llama.cpp by {how}, on the GPU if it was built for it", how=how)
        return Route(True, why, "llama.cpp", Device.CUDA)
    system = (case.snapshot.os.system, case.snapshot.os.arch)
    device = Device.METAL if system == ("Darwin", "arm64") else Device.CPU
    if not case.gpus:
        return Route(True, say("llama.cpp by {how}", how=how), "llama.cpp", device)
    why = say(
        "llama.cpp by {how}; the GPU is not used, for that takes a llama.cpp built with CUDA",
        how=how,
    )
    return Route(True, why, "llama.cpp", device, wants_gpu_build=True)


def _route_repacked(case: Case) -> Route | None:
    """On a CPU llama.cpp runs GPTQ and AWQ several times faster, after a repack without loss."""
    if not runs_repacked(case):
        return None
    why = say("llama.cpp on the CPU, after a repack without loss that qtool chat does by itself")
    return Route(True, why, "llama.cpp", Device.CPU)


def _route_most_repacked(case: Case, form: ModelFormat, refused: Route) -> Route | None:
    """Where no model is named and the environment runs none, llama.cpp still runs most of them.

    A library of the format that is installed stays what the verdict is about.
    """
    if form not in LIBRARIES or not runs_most_repacked(case):
        return None
    if any(case.has(name) for name in LIBRARIES[form]):
        why = say("{why}; but qtool chat runs most models by llama.cpp, repacked", why=refused.why)
        return replace(refused, why=why)
    why = say("llama.cpp on the CPU, after a repack without loss that qtool chat does by itself")
    why += say(
        " (most models; what cannot be repacked needs transformers: qtool env create transformers)"
    )
    return Route(True, why, "llama.cpp", Device.CPU)


def runs_int4(case: Case) -> bool:
    """Tell whether GPTQ and AWQ run on the CPU with torch and transformers alone."""
    if case.model is not None and not is_known_packing(case.model):
        return False
    has_torch = is_within(case.torch_version, f">={INT4_TORCH}") and not case.has_vendor_torch
    return case.has_no_gpu and has_torch and lack_of_transformers(case) is None


def is_known_packing(model: ModelInfo) -> bool:
    """Tell whether qtool's own loader reads how the codes of ``model`` are packed."""
    bits = model.quantization.bits if model.quantization else None
    return find_layout(model) is not None and bits in (None, *OWN_INT4_BITS[model.format])


def _route_int4(case: Case) -> Route | None:
    if not runs_int4(case):
        return None
    why = say("transformers, by qtool's own loader and torch's 4-bit kernel; on the CPU")
    return Route(True, why, "transformers", Device.CPU, _int4_kernel(case))


def _int4_kernel(case: Case) -> str | None:
    quantization = case.model.quantization if case.model else None
    if quantization is None:
        return None
    group = quantization.group_size or -1
    is_packed = (quantization.bits or 4) <= 4 and (group == -1 or group % OWN_INT4_GROUP == 0)
    return "int4pack" if is_packed else WRITTEN_OUT


def _route_gptq(case: Case) -> Route:
    if on_cpu := _route_repacked(case) or _route_int4(case):
        return on_cpu
    device, where = torch_device(case)
    if device is None:
        return _refused(where)
    if loads_gptq_by_gptqmodel(case):
        why = say("transformers with gptqmodel; {where}", where=where)
        return Route(True, why, "transformers", device, _gptqmodel_kernel(case, device))
    is_heard = case.has_within("transformers", "<5") or case.lacks("transformers")
    if case.has("auto-gptq") and is_heard:
        return _route_auto_gptq(case, device, where)
    return _refused(say("no gptqmodel for this transformers, and no auto-gptq it would use"))


def _route_auto_gptq(case: Case, device: Device, where: Message) -> Route:
    if lack := lack_of_transformers(case):
        return _refused(lack)
    if device is not Device.CUDA:
        return _refused(say("auto-gptq on a CPU crawls (0.1 to 0.5 tokens per second)"))
    match gptq_kernels(case).state:
        case KernelState.LOADS:
            why = say("auto-gptq, whose kernels load; {where}", where=where)
            return Route(True, why, "transformers", device, "exllamav2")
        case KernelState.UNKNOWN:
            return Route(False, say("auto-gptq is there, but whether its kernels load is unknown"))
        case _:
            return _refused(say("auto-gptq is there, but its CUDA kernels do not work"))


def loads_gptq_by_gptqmodel(case: Case) -> bool:
    """Tell whether transformers takes gptqmodel for GPTQ, also where auto-gptq is there as well."""
    if not case.has("optimum") and case.snapshot.dists is not UNKNOWN:
        return False
    if case.has_within("transformers", ">=5"):
        return case.has_within("gptqmodel", facts.fact("gptqmodel", "written_for_transformers_5"))
    first = facts.fact("gptqmodel", "known_to_transformers_from")
    return case.has_within("transformers", f">={first}") and case.has_within("gptqmodel", ">=1.4.3")


def _gptqmodel_kernel(case: Case, device: Device) -> str | None:
    quantization = case.model.quantization if case.model else None
    if quantization is None:
        return None
    if device is Device.CPU:
        is_fast = quantization.bits == 4 and quantization.group_size in INT4PACK_GROUP_SIZES
        return "int4pack" if is_fast else SLOW_ON_CPU
    lowest = (7, 5) if case.has_within("gptqmodel", ">=6.1") else (8, 0)
    has_marlin = all(one >= lowest for one in case.capabilities)
    return "marlin" if has_marlin and quantization.bits in (4, 8) else "exllamav2"


def _route_awq(case: Case) -> Route:
    if on_cpu := _route_repacked(case) or _route_int4(case):
        return on_cpu
    device, where = torch_device(case)
    if device is None:
        return _refused(where)
    if case.has_within("transformers", ">=5"):
        needed = facts.fact("gptqmodel", "written_for_transformers_5")
        if case.has_within("gptqmodel", needed):
            why = say("transformers 5 with gptqmodel; {where}", where=where)
            return Route(True, why, "transformers", device)
        return _refused(
            say("transformers 5 loads AWQ through gptqmodel{needed} only", needed=needed)
        )
    if not case.has("autoawq"):
        return _refused(say("no autoawq, and no transformers 5 with gptqmodel"))
    if case.has_within("transformers", ">=4.57"):
        return _refused(say("autoawq cannot be imported with this transformers"))
    if device is not Device.CUDA:
        return _refused(say("autoawq needs a GPU (on a CPU it asks for IPEX, which is retired)"))
    return _route_autoawq(case, device, where)


def _route_autoawq(case: Case, device: Device, where: Message) -> Route:
    if lack := lack_of_transformers(case):
        return _refused(lack)
    if case.has("autoawq-kernels") and not _has_awq_code(case):
        return _refused(say("autoawq-kernels have no code for the {gpu}", gpu=case.gpus[0].name))
    if case.has("autoawq-kernels") and awq_kernels(case).state is KernelState.LOADS:
        why = say("autoawq with its kernels; {where}", where=where)
        return Route(True, why, "transformers", device, "awq_ext")
    lowest = facts.capability("features", "lowest_triton")
    if all(one >= lowest for one in case.capabilities):
        why = say("autoawq through Triton; {where}", where=where)
        return Route(True, why, "transformers", device, "triton")
    return _refused(say("autoawq has no kernel for this GPU, and neither has Triton"))


def _has_awq_code(case: Case) -> bool:
    """Tell whether autoawq-kernels hold code for one of the GPUs, or no capability is known."""
    limits = facts.fact("autoawq", "kernel_capabilities")
    lowest, highest = (parse_capability(limits[key]) or (0, 0) for key in ("lowest", "highest"))
    known = case.capabilities
    return not known or any(lowest <= one <= highest for one in known)


def _route_plain(case: Case) -> Route:
    device, where = torch_device(case)
    if device is None:
        return _refused(where)
    if lack := lack_of_transformers(case):
        return _refused(lack)
    return Route(True, say("transformers; {where}", where=where), "transformers", device)


def _route_with_loaders(form: ModelFormat, case: Case) -> Route:
    """By transformers and the packages that it needs for a format."""
    plain = _route_plain(case)
    absent = [names for names in LOADERS[form] if not any(map(case.has, names))]
    if plain.runs and absent:
        return _refused(
            say("{name} is not installed", name=together(sorted(absent[0]), say(" or ")))
        )
    return plain


def _route_fp8(case: Case) -> Route:
    """By transformers, which writes the weights out where nothing multiplies by them."""
    plain = _route_plain(case)
    lowest = facts.capability("features", "lowest_fp8")
    has_units = plain.device is Device.CUDA and all(one >= lowest for one in case.capabilities)
    return plain if has_units or not plain.runs else replace(plain, kernel=WRITTEN_OUT)


def _route_vllm(case: Case) -> Route | None:
    """vLLM, where it is installed, runs on a GPU what transformers lacks packages for."""
    if not case.has("vllm") or not case.gpus or torch_device(case)[0] is not Device.CUDA:
        return None
    return Route(True, say("vLLM is installed and reads most formats"), "vllm", Device.CUDA)


def _route_unknown(case: Case) -> Route:
    none = Route(False, say("none of qtool's engines but vLLM reads this format"))
    return _route_vllm(case) or none


_ROUTES: dict[ModelFormat, Callable[[Case], Route]] = {
    ModelFormat.GGUF: _route_gguf,
    ModelFormat.GPTQ: _route_gptq,
    ModelFormat.AWQ: _route_awq,
    ModelFormat.PLAIN: _route_plain,
    ModelFormat.BITSANDBYTES: partial(_route_with_loaders, ModelFormat.BITSANDBYTES),
    ModelFormat.COMPRESSED_TENSORS: partial(_route_with_loaders, ModelFormat.COMPRESSED_TENSORS),
    ModelFormat.FP8: _route_fp8,
}
