"""GPTQ and AWQ checkpoints as GGUF, without loss: the codes are moved, not made again.

``blocks`` moves the codes of one matrix, ``plan`` says what becomes of every tensor of a
checkpoint, ``write`` streams it into a file, ``store`` keeps that file in the cache. Everything
here that needs numpy or gguf is imported only when a checkpoint is being repacked.
"""
