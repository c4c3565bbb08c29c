"""qtool: from a repository name to a conversation with a quantized LLM on your own machine."""

__version__ = "0.1.0"
