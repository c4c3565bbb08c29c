"""The tensor types of ggml and the file types of llama.cpp, as numbered in GGUF files.

Source: ``ggml_type`` in ggml/include/ggml.h, the block structs of ggml/src/ggml-common.h and
``llama_ftype`` in include/llama.h, https://github.com/ggml-org/llama.cpp (as of July 2026).
"""

from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple


class GgmlType(IntEnum):
    """How the elements of a tensor are stored. The gaps are types withdrawn from the format."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q4_1 = 3
    Q5_0 = 6
    Q5_1 = 7
    Q8_0 = 8
    Q8_1 = 9
    Q2_K = 10
    Q3_K = 11
    Q4_K = 12
    Q5_K = 13
    Q6_K = 14
    Q8_K = 15
    IQ2_XXS = 16
    IQ2_XS = 17
    IQ3_XXS = 18
    IQ1_S = 19
    IQ4_NL = 20
    IQ3_S = 21
    IQ2_S = 22
    IQ4_XS = 23
    I8 = 24
    I16 = 25
    I32 = 26
    I64 = 27
    F64 = 28
    IQ1_M = 29
    BF16 = 30
    TQ1_0 = 34
    TQ2_0 = 35
    MXFP4 = 39
    NVFP4 = 40
    Q1_0 = 41
    Q2_0 = 42


class BlockLayout(NamedTuple):
    """A tensor is stored row by row in blocks of ``n_elements`` that take ``n_bytes`` each."""

    n_elements: int
    n_bytes: int


BLOCK_LAYOUTS = MappingProxyType(
    {
        GgmlType.F32: BlockLayout(1, 4),
        GgmlType.F16: BlockLayout(1, 2),
        GgmlType.BF16: BlockLayout(1, 2),
        GgmlType.F64: BlockLayout(1, 8),
        GgmlType.I8: BlockLayout(1, 1),
        GgmlType.I16: BlockLayout(1, 2),
        GgmlType.I32: BlockLayout(1, 4),
        GgmlType.I64: BlockLayout(1, 8),
        GgmlType.Q4_0: BlockLayout(32, 18),
        GgmlType.Q4_1: BlockLayout(32, 20),
        GgmlType.Q5_0: BlockLayout(32, 22),
        GgmlType.Q5_1: BlockLayout(32, 24),
        GgmlType.Q8_0: BlockLayout(32, 34),
        GgmlType.Q8_1: BlockLayout(32, 40),
        GgmlType.Q2_K: BlockLayout(256, 84),
        GgmlType.Q3_K: BlockLayout(256, 110),
        GgmlType.Q4_K: BlockLayout(256, 144),
        GgmlType.Q5_K: BlockLayout(256, 176),
        GgmlType.Q6_K: BlockLayout(256, 210),
        GgmlType.Q8_K: BlockLayout(256, 292),
        GgmlType.IQ1_S: BlockLayout(256, 50),
        GgmlType.IQ1_M: BlockLayout(256, 56),
        GgmlType.IQ2_XXS: BlockLayout(256, 66),
        GgmlType.IQ2_XS: BlockLayout(256, 74),
        GgmlType.IQ2_S: BlockLayout(256, 82),
        GgmlType.IQ3_XXS: BlockLayout(256, 98),
        GgmlType.IQ3_S: BlockLayout(256, 110),
        GgmlType.IQ4_NL: BlockLayout(32, 18),
        GgmlType.IQ4_XS: BlockLayout(256, 136),
        GgmlType.TQ1_0: BlockLayout(256, 54),
        GgmlType.TQ2_0: BlockLayout(256, 66),
        GgmlType.MXFP4: BlockLayout(32, 17),
        GgmlType.NVFP4: BlockLayout(64, 36),
        GgmlType.Q1_0: BlockLayout(128, 18),
        GgmlType.Q2_0: BlockLayout(64, 18),
    }
)

# general.file_type: what the quantizer was asked for, by the names llama.cpp prints.
FILE_TYPE_LABELS = MappingProxyType(
    {
        0: "F32",
        1: "F16",
        2: "Q4_0",
        3: "Q4_1",
        7: "Q8_0",
        8: "Q5_0",
        9: "Q5_1",
        10: "Q2_K",
        11: "Q3_K_S",
        12: "Q3_K_M",
        13: "Q3_K_L",
        14: "Q4_K_S",
        15: "Q4_K_M",
        16: "Q5_K_S",
        17: "Q5_K_M",
        18: "Q6_K",
        19: "IQ2_XXS",
        20: "IQ2_XS",
        21: "Q2_K_S",
        22: "IQ3_XS",
        23: "IQ3_XXS",
        24: "IQ1_S",
        25: "IQ4_NL",
        26: "IQ3_S",
        27: "IQ3_M",
        28: "IQ2_S",
        29: "IQ2_M",
        30: "IQ4_XS",
        31: "IQ1_M",
        32: "BF16",
        33: "Q4_0_4_4",
        34: "Q4_0_4_8",
        35: "Q4_0_8_8",
        36: "TQ1_0",
        37: "TQ2_0",
        38: "MXFP4_MOE",
        39: "NVFP4",
        40: "Q1_0",
        41: "Q2_0",
    }
)
