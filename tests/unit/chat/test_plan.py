import json
import sys
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFWriter
from safetensors.numpy import save_file

from qtool.chat.plan import EngineWish, plan_engine
from qtool.engines.base import EngineKind
from qtool.errors import EnvironmentFault
from qtool.models.local import LocalModel


@pytest.mark.parametrize(("env", "words"), [("mine", "--env mine: "), (None, "--python: ")])
def test_python_that_lacks_packages_is_called_what_the_user_called_it(
    tmp_path: Path, env: str | None, words: str
):
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer.json").write_text("{}")
    save_file({"weight": np.zeros((2, 2), np.float32)}, tmp_path / "model.safetensors")
    wish = EngineWish(kind=EngineKind.TRANSFORMERS, python=sys.executable, env=env)
    with pytest.raises(EnvironmentFault) as caught:
        plan_engine(LocalModel(tmp_path), wish)
    assert words in caught.value.message


def test_file_taken_out_of_an_unknown_folder_is_named(tmp_path: Path):
    writer = GGUFWriter(tmp_path / "t.gguf", "llama")
    writer.add_block_count(1)
    writer.add_tensor("token_embd.weight", np.zeros((32, 32), np.float32))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    told = plan_engine(LocalModel(tmp_path), EngineWish(is_raw=True)).note
    assert told == f"using t.gguf of the folder {tmp_path}"
    named = LocalModel(tmp_path / "t.gguf")
    assert plan_engine(named, EngineWish(is_raw=True)).note is None, "it was named"
