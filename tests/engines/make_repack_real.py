"""Packs the real starter model as GPTQ and AWQ, and computes what transformers makes of it.

``python make_repack_real.py FOLDER SOURCE`` makes of the plain model in SOURCE, for each of
``KINDS``, ``FOLDER/<kind>`` and ``FOLDER/<kind>.npy``: transformers' logits (n, vocabulary) for the
first of the texts in ``FOLDER/ids.json``, in float32 with the weights that the codes stand for.
``FOLDER/report.json`` has its perplexity over all of them, and how near it comes to itself in
bfloat16. Runs in an environment with torch and transformers.
"""

import json
import shutil
import sys
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import torch
from make_models import describe
from make_repack_models import N_IDS, nearness, pack
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

KINDS = {"gptq-32": ("gptq", 32), "gptq-64": ("gptq", 64), "awq-64": ("awq", 64)}
TEXT = topics["types"]
"""The Python reference on its hierarchy of types: prose that no tokenizer finds strange."""
N_TEXTS = 3


def make_packed(
    base: Path, source: Path, kind: str, texts: "list[list[int]]"
) -> "dict[str, float]":
    """Write one packed model, and what transformers computes with it; return the report."""
    method, group = KINDS[kind]
    folder = base / kind
    folder.mkdir()
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    packed = {}
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            if key.endswith("proj.weight"):
                stem = key.removesuffix("weight")
                packed |= {f"{stem}{part}": t for part, t in pack(tensor, method, group).items()}
                continue
            tensor.copy_(tensor.half().float())
            packed[key] = tensor.half()
        logits = [model(torch.tensor([ids])).logits[0] for ids in texts]
    np.save(base / f"{kind}.npy", logits[0].numpy())
    save_file(packed, folder / "model.safetensors", metadata={"format": "pt"})
    for path in source.iterdir():
        if path.suffix in (".json", ".jinja") and "index" not in path.name:
            shutil.copy(path, folder)
    quantization = describe(method, group, is_symmetric=method == "gptq")
    config = json.loads((source / "config.json").read_text())
    own = {"dtype": "float16", "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config | own))
    losses = [
        torch.nn.functional.cross_entropy(scores[:-1], torch.tensor(ids[1:]))
        for scores, ids in zip(logits, texts, strict=True)
    ]
    near = nearness(model, texts[0], logits[0])
    return {"perplexity": torch.stack(losses).mean().exp().item(), **near}


def main() -> None:
    base, source = Path(sys.argv[1]), Path(sys.argv[2])
    ids = AutoTokenizer.from_pretrained(source)(TEXT)["input_ids"]
    texts = [ids[start * N_IDS : (start + 1) * N_IDS] for start in range(N_TEXTS)]
    (base / "ids.json").write_text(json.dumps(texts))
    report = {kind: make_packed(base, source, kind, texts) for kind in KINDS}
    (base / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
