"""A KV cache that grows in place and can be cut, in whatever transformers the environment has.

transformers' own makes a new tensor of all keys, and one of all values, for every layer and every
token: at 4,000 tokens that is a third of the memory traffic of decoding with a small model.
"""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache

PLAIN_LAYERS = ("DynamicLayer",)

SPARE_SHARE = 0.25
MIN_SPARE_TOKENS = 256
"""A tensor that is too small is replaced by one with that much room to grow."""


class GrowingCache(DynamicCache):  # type: ignore[misc]
    """Keeps all tokens of every layer, in tensors with room behind them.

    What a layer shows as its keys or values, of shape (batch, heads, tokens, dimension), is the
    beginning of such a tensor. A cut makes that beginning shorter, and what comes next is written
    over what was cut off; so nobody else may hold a longer view of it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rooms: dict[tuple[int, str], Any] = {}

    def update(
        self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Any, Any]:
        """Append to a layer; return all keys and values that it holds now."""
        known = self._known(layer_idx)
        if known is None:
            first: tuple[Any, Any] = super().update(
                key_states, value_states, layer_idx, *args, **kwargs
            )
            return first
        keys = self._append((layer_idx, "keys"), known[0], key_states)
        values = self._append((layer_idx, "values"), known[1], value_states)
        self._show(layer_idx, keys, values)
        return keys, values

    def _known(self, layer_idx: int) -> tuple[Any, Any] | None:
        """Return what a layer holds; ``None`` before its first tokens, or if it is not plain."""
        if hasattr(self, "layers"):
            layer: Any = self.layers[layer_idx] if layer_idx < len(self.layers) else None
            found = (layer.keys, layer.values) if is_plain_layer(layer) else (None, None)
        elif layer_idx < len(self.key_cache):
            found = (self.key_cache[layer_idx], self.value_cache[layer_idx])
        else:
            return None
        is_filled = all(tensor is not None and tensor.dim() == 4 for tensor in found)
        return found if is_filled else None

    def _append(self, place: tuple[int, str], kept: Any, new: Any) -> Any:
        n_kept, n_tokens = kept.shape[-2], kept.shape[-2] + new.shape[-2]
        room = self._rooms.get(place)
        if room is None or room.data_ptr() != kept.data_ptr() or room.shape[-2] < n_tokens:
            spare = max(MIN_SPARE_TOKENS, int(n_tokens * SPARE_SHARE))
            room = kept.new_empty((*kept.shape[:-2], n_tokens + spare, kept.shape[-1]))
            room[..., :n_kept, :] = kept
            self._rooms[place] = room
        room[..., n_kept:n_tokens, :] = new
        return room[..., :n_tokens, :]

    def _show(self, layer_idx: int, keys: Any, values: Any) -> None:
        """Let the layer hold ``keys`` and ``values``; before 4.54 the layers are two lists."""
        if hasattr(self, "layers"):
            layer = self.layers[layer_idx]
            layer.keys, layer.values = keys, values
            return
        self.key_cache[layer_idx], self.value_cache[layer_idx] = keys, values
        if layer_idx == 0:
            _set_length(self, keys.shape[-2])


def is_plain(cache: Any) -> bool:
    """Tell whether every layer of a cache is an ordinary list of keys and values."""
    layers = getattr(cache, "layers", None)
    if layers is not None:
        return all(is_plain_layer(layer) for layer in layers)
    return type(cache).__name__ in ("DynamicCache", "GrowingCache")


def is_plain_layer(layer: Any) -> bool:
    """Tell whether a layer is an ordinary list of keys and values."""
    return type(layer).__name__ in PLAIN_LAYERS


def crop_cache(cache: Any, n_kept: int) -> None:
    """Cut a cache to its first ``n_kept`` tokens.

    ``crop`` takes a length to keep up to transformers 5.22 and a number to remove after that;
    a negative number has always meant the latter. Before 4.42 there is no ``crop``.
    """
    n_removed = int(cache.get_seq_length()) - n_kept
    if n_removed <= 0:
        return
    if hasattr(cache, "crop"):
        cache.crop(-n_removed)
    else:
        cache.key_cache = [keys[..., :n_kept, :] for keys in cache.key_cache]
        cache.value_cache = [values[..., :n_kept, :] for values in cache.value_cache]
        _set_length(cache, n_kept)


def copy_cache(cache: Any, n_kept: int) -> Any:
    """Return a new cache with the first ``n_kept`` tokens of ``cache``, sharing no memory."""
    copy = GrowingCache()
    for index, (keys, values) in enumerate(layers_of(cache)):
        copy.update(keys[..., :n_kept, :].clone(), values[..., :n_kept, :].clone(), index)
    return copy


def layers_of(cache: Any) -> list[tuple[Any, Any]]:
    """Return the keys and values of each layer, of shape (batch, heads, tokens, dimension)."""
    if hasattr(cache, "layers"):
        return [(layer.keys, layer.values) for layer in cache.layers]
    return list(zip(cache.key_cache, cache.value_cache))


def cache_bytes(cache: Any) -> int:
    """Return the size of what a cache keeps, without the room behind it."""
    tensors = [tensor for layer in layers_of(cache) for tensor in layer if tensor is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _set_length(cache: Any, n_tokens: int) -> None:
    for name in ("seen_tokens", "_seen_tokens"):
        if name in vars(cache):
            setattr(cache, name, n_tokens)
