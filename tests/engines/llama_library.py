"""llama.cpp itself, through the C functions that the xllamacpp wheel exports: logits and token ids.

Its parameters are passed by value and grow with every version; here they are blobs larger than
any of them, filled in by the library's own defaults, of which only the first numbers are changed
(``llama_context_params`` of include/llama.h begins with n_ctx, n_batch, n_ubatch).
"""

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import xllamacpp


class Blob(ctypes.Structure):
    """A structure that is not looked into."""

    _fields_ = [("words", ctypes.c_uint32 * 128)]


class Batch(ctypes.Structure):
    """``llama_batch``."""

    _fields_ = [
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.c_void_p),
        ("embd", ctypes.c_void_p),
        ("pos", ctypes.c_void_p),
        ("n_seq_id", ctypes.c_void_p),
        ("seq_id", ctypes.c_void_p),
        ("logits", ctypes.c_void_p),
    ]


def _library() -> ctypes.CDLL:
    path = next(Path(xllamacpp.__file__).parent.glob("xllamacpp*.so"))
    library = ctypes.CDLL(str(path))
    pointer, integer, text = ctypes.c_void_p, ctypes.c_int32, ctypes.c_char_p
    for name, result, arguments in (
        ("llama_model_default_params", Blob, []),
        ("llama_context_default_params", Blob, []),
        ("llama_model_load_from_file", pointer, [text, Blob]),
        ("llama_init_from_model", pointer, [pointer, Blob]),
        ("llama_model_get_vocab", pointer, [pointer]),
        ("llama_vocab_n_tokens", integer, [pointer]),
        ("llama_set_n_threads", None, [pointer, integer, integer]),
        ("llama_decode", integer, [pointer, Batch]),
        ("llama_get_logits", ctypes.POINTER(ctypes.c_float), [pointer]),
        ("llama_free", None, [pointer]),
        ("llama_model_free", None, [pointer]),
        ("llama_log_set", None, [pointer, pointer]),
        (
            "llama_tokenize",
            integer,
            [pointer, text, integer, pointer, integer, ctypes.c_bool, ctypes.c_bool],
        ),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_QUIET = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda *_: None)


class LlamaModel:
    """A GGUF that llama.cpp has loaded."""

    def __init__(self, path: Path) -> None:
        self._library = _library()
        self._library.llama_log_set(ctypes.cast(_QUIET, ctypes.c_void_p), None)
        parameters = self._library.llama_model_default_params()
        self._model = self._library.llama_model_load_from_file(str(path).encode(), parameters)
        assert self._model, f"llama.cpp does not load {path}"
        self._vocab = self._library.llama_model_get_vocab(self._model)
        self.n_vocab = self._library.llama_vocab_n_tokens(self._vocab)

    def close(self) -> None:
        """Free the model."""
        self._library.llama_model_free(self._model)

    def tokenize(self, text: str, *, add_special: bool = False) -> list[int]:
        """Return the ids of ``text``, special tokens in it recognised."""
        data = text.encode()
        ids = (ctypes.c_int32 * (len(data) + 8))()
        count = self._library.llama_tokenize(
            self._vocab, data, len(data), ids, len(ids), add_special, True
        )
        assert count >= 0
        return list(ids[:count])

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Return the logits after each of ``ids`` (n, vocabulary)."""
        parameters = self._library.llama_context_default_params()
        parameters.words[0:3] = [len(ids), len(ids), len(ids)]
        context = self._library.llama_init_from_model(self._model, parameters)
        assert context
        n_threads = len(os.sched_getaffinity(0))
        self._library.llama_set_n_threads(context, n_threads, n_threads)
        tokens = np.array(ids, np.int32)
        wanted = np.ones(len(ids), np.int8)
        batch = Batch(len(ids), tokens.ctypes.data, None, None, None, None, wanted.ctypes.data)
        assert self._library.llama_decode(context, batch) == 0
        flat = np.ctypeslib.as_array(
            self._library.llama_get_logits(context), shape=(len(ids) * self.n_vocab,)
        )
        logits = flat.reshape(len(ids), self.n_vocab).copy()
        self._library.llama_free(context)
        return logits
