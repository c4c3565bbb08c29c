"""The number types that llama.cpp can keep a KV cache in."""

from enum import StrEnum


class CacheType(StrEnum):
    """By the names of ``--cache-type``: those of llama.cpp's ``--cache-type-k``.

    Source: https://github.com/ggml-org/llama.cpp/blob/master/common/arg.cpp, ``kv_cache_types``.
    """

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q5_1 = "q5_1"
    Q5_0 = "q5_0"
    Q4_1 = "q4_1"
    Q4_0 = "q4_0"
    IQ4_NL = "iq4_nl"

    @property
    def ggml_number(self) -> int:
        """Its number in ``enum ggml_type`` (ggml/include/ggml.h)."""
        return _NUMBERS[self]

    @property
    def bytes_per_element(self) -> float:
        """The size of one number, its share of scales included: blocks are of 32."""
        return _BYTES[self]

    @property
    def is_quantized(self) -> bool:
        """Tell whether it needs flash attention for the values."""
        return self.bytes_per_element < 2


_NUMBERS = {
    CacheType.F32: 0,
    CacheType.F16: 1,
    CacheType.BF16: 30,
    CacheType.Q8_0: 8,
    CacheType.Q5_1: 7,
    CacheType.Q5_0: 6,
    CacheType.Q4_1: 3,
    CacheType.Q4_0: 2,
    CacheType.IQ4_NL: 20,
}
_BYTES = {
    CacheType.F32: 4,
    CacheType.F16: 2,
    CacheType.BF16: 2,
    CacheType.Q8_0: 34 / 32,
    CacheType.Q5_1: 24 / 32,
    CacheType.Q5_0: 22 / 32,
    CacheType.Q4_1: 20 / 32,
    CacheType.Q4_0: 18 / 32,
    CacheType.IQ4_NL: 18 / 32,
}


def bytes_per_element(name: str | None) -> float:
    """Return the size of one number of a KV cache of the type ``name``, f16 where none is named."""
    return CacheType(name or CacheType.F16).bytes_per_element
