"""What a model is: references to it, its files, its format, its size in memory.

Nothing here imports torch, transformers or a third-party package, and nothing loads weights: the
headers of GGUF and safetensors files and the JSON files beside them say everything that is asked.
"""
