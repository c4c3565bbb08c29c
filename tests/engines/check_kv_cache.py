"""Walk a growing KV cache against plain concatenation; run by test_cache.py in an environment.

Prints one JSON object: whether each walk agreed, how often a tensor moved in memory, and whether
attention in groups says what attention over repeated keys does.
"""

import importlib
import json
import random
import sys
import types
from importlib.util import find_spec

import torch

N_LAYERS = 3


def load_server(folder: str) -> tuple[types.ModuleType, types.ModuleType]:
    """Import two of the server's modules from its folder, as ``__main__`` does."""
    package = types.ModuleType("server")
    package.__path__ = [folder]
    sys.modules["server"] = package
    names = ("server.kv_cache", "server.grouped_attention")
    return importlib.import_module(names[0]), importlib.import_module(names[1])


def walk(kv_cache: types.ModuleType, seed: int) -> tuple[bool, int, int]:
    """Append, cut and copy at random; return agreement, moves in memory and steps."""
    chance = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    cache, expected = kv_cache.GrowingCache(), [torch.zeros(1, 2, 0, 4)] * N_LAYERS
    n_moves, places = 0, [0] * N_LAYERS
    for _ in range(60):
        n_tokens = expected[0].shape[-2]
        action = chance.choice(["append", "append", "append", "cut", "copy"])
        if action == "append":
            n_new = chance.choice([1, 1, 1, 40])
            for layer in range(N_LAYERS):
                new = torch.rand(1, 2, n_new, 4, generator=generator)
                expected[layer] = torch.cat([expected[layer], new], -2)
                keys, values = cache.update(new, -new, layer)
                if not torch.equal(keys, expected[layer]) or not torch.equal(values, -keys):
                    return False, 0, 0
                n_moves += places[layer] not in (0, keys.data_ptr())
                places[layer] = keys.data_ptr()
        elif n_tokens:
            n_kept = chance.randrange(1, n_tokens + 1)
            expected = [one[..., :n_kept, :] for one in expected]
            if action == "cut":
                kv_cache.crop_cache(cache, n_kept)
            else:
                old, cache = cache, kv_cache.copy_cache(cache, n_kept)
                for keys, values in kv_cache.layers_of(old):
                    keys.zero_(), values.zero_()  # a copy must not notice
                places = [0] * N_LAYERS
        if expected[0].shape[-2] and int(cache.get_seq_length()) != expected[0].shape[-2]:
            return False, 0, 0
    return True, n_moves, 60 * N_LAYERS


def compare_attention(grouped: types.ModuleType) -> "float | None":
    """Return the largest difference that sharing keys makes; ``None`` where it cannot be had."""
    if find_spec("transformers.integrations.sdpa_attention") is None:
        return None  # before 4.48
    from transformers.integrations import sdpa_attention

    module = types.SimpleNamespace(num_key_value_groups=3, is_causal=True)
    query, key = torch.rand(1, 9, 5, 16), torch.rand(1, 3, 12, 16)
    mask = torch.ones(5, 12, dtype=torch.bool).tril(7)[None, None]
    arguments = (module, query, key, key * 2, mask)
    plain = sdpa_attention.sdpa_attention_forward(*arguments)[0]
    if not grouped.share_keys():
        return None
    return float((sdpa_attention.sdpa_attention_forward(*arguments)[0] - plain).abs().max())


def main() -> None:
    """Do both and print what came out."""
    kv_cache, grouped = load_server(sys.argv[1])
    walks = [walk(kv_cache, seed) for seed in range(30)]
    print(
        json.dumps(
            {
                "agrees": all(agrees for agrees, _, _ in walks),
                "moves": sum(n for _, n, _ in walks),
                "steps": sum(n for _, _, n in walks),
                "attention_error": compare_attention(grouped),
            }
        )
    )


if __name__ == "__main__":
    main()
