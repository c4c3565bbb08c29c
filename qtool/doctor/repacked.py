"""Whether llama.cpp runs a GPTQ or AWQ model on this machine after a repack. Pure."""

from qtool.doctor.case import Case
from qtool.models.repackable import find_obstacle


def runs_repacked(case: Case) -> bool:
    """Tell whether ``qtool chat`` repacks the model of ``case``: no GPU, a llama.cpp, no obstacle.

    On a GPU the kernels of transformers are made for these formats.
    """
    if case.gpus or not case.snapshot.llama_cpp or case.model is None:
        return False
    return find_obstacle(case.model) is None
