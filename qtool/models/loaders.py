"""What transformers needs to load a model of each format.

Two ask: ``qtool chat``, which starts it, and ``qtool doctor``, which foretells it.
"""

from collections.abc import Mapping

from qtool.models.info import ModelFormat

MINIMUM_TRANSFORMERS = "4.36"
"""From here on qtool's server runs with it."""

LOADERS: Mapping[ModelFormat, tuple[frozenset[str], ...]] = {
    ModelFormat.PLAIN: (),
    ModelFormat.FP8: (),
    ModelFormat.GPTQ: (frozenset({"gptqmodel", "auto-gptq"}), frozenset({"optimum"})),
    ModelFormat.AWQ: (frozenset({"gptqmodel", "autoawq"}),),
    ModelFormat.BITSANDBYTES: (frozenset({"bitsandbytes"}), frozenset({"accelerate"})),
    ModelFormat.COMPRESSED_TENSORS: (frozenset({"compressed-tensors"}),),
}
"""Packages beside it: one of each set."""

INT4_FORMATS = frozenset({ModelFormat.GPTQ, ModelFormat.AWQ})
INT4_TORCH = "2.6"
"""From here on torch has a kernel for 4-bit codes on a processor, and our server the loader: see
``engines/transformers_server/int4_loader.py``. There they need no package of their own."""
