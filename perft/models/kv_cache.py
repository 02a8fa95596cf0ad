"""The interface to transformers' caches: their size, and a cache at fixed addresses.

Shapes: B rows, H heads, L columns (a row's tokens, from its first), S tokens of one forward
pass, K the width of a head.
"""

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel, StaticCache

from perft.compat.transformers import (
    Cache,
    CacheLayerMixin,
    StaticLayer,
    cached_tensors,
    compiles_whole,
    uses_sdpa,
)


def allows_fixed_cache(model: PreTrainedModel) -> bool:
    """Whether a base can decode with a `FixedCache`.

    Every layer must keep the keys and values of all tokens and nothing else (no window, no state),
    its attention must take a boolean mask, and transformers must be able to compile its code as a
    whole, which means that it does not wait for the device.
    """
    config = model.config.get_text_config(decoder=True)
    try:
        layers = StaticCache(config=config, max_cache_len=1).layers
    except KeyError:  # a layer whose cache only grows
        return False
    return (
        all(type(layer) is StaticLayer for layer in layers)
        and uses_sdpa(config)
        and compiles_whole(model)
    )


@dataclass(frozen=True)
class CacheSize:
    """Size of a base's cache.

    Attributes:
        per_row: bytes of a row, whatever its length.
        per_token: bytes of each of its tokens.
    """

    per_row: int
    per_token: int

    def of_row(self, tokens: int) -> int:
        """Bytes of a row of so many tokens."""
        return self.per_row + tokens * self.per_token


_sizes: WeakKeyDictionary[PreTrainedModel, CacheSize] = WeakKeyDictionary()


def cache_size(model: PreTrainedModel) -> CacheSize:
    """How large a base's cache is.

    The first call for a base runs one and two tokens through it: outside of any layout, and on all
    ranks together.
    """
    if model not in _sizes:
        one, two = (_bytes_of(_cache_of(model, tokens)) for tokens in (1, 2))
        _sizes[model] = CacheSize(max(0, 2 * one - two), two - one)
    return _sizes[model]


@torch.no_grad()
def _cache_of(model: PreTrainedModel, tokens: int) -> Cache:
    ids_1S = torch.zeros(1, tokens, dtype=torch.long, device=model.device)
    return model(input_ids=ids_1S, use_cache=True, logits_to_keep=1).past_key_values


def _bytes_of(cache: object) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in cached_tensors(cache))


class FixedCache:
    """Keys and values of many rows at fixed addresses.

    Args:
        model: one that `allows_fixed_cache`; outside of any layout.
        rows: B.
        columns: L.
    """

    def __init__(self, model: PreTrainedModel, rows: int, columns: int) -> None:
        self._layers = [
            tuple(
                each.new_zeros(rows, each.shape[1], columns, each.shape[3])
                for each in (layer.keys, layer.values)
            )
            for layer in _cache_of(model, 1).layers
        ]

    def filled(self, rows: slice, columns: int) -> Cache:
        """For a causal forward pass that writes the first columns of some rows; needs no mask."""
        return Cache(
            layers=[_Filled(k[rows, :, :columns], v[rows, :, :columns]) for k, v in self._layers]
        )

    def continued(self, rows: int, columns: int, column_B: Tensor) -> Cache:
        """For passes that write one token of each of the first rows; needs positions and masks.

        Args:
            rows: B, of the first rows.
            columns: L, of the columns that are attended to.
            column_B: the column that each row writes, read by every pass.
        """
        return Cache(
            layers=[
                _Continued(k[:rows, :, :columns], v[:rows, :, :columns], column_B)
                for k, v in self._layers
            ]
        )

    def clear(self) -> None:
        """Zeroes everything: masked values are multiplied by zero, so they must be finite."""
        for tensors in self._layers:
            for tensor in tensors:
                tensor.zero_()

    def move(self, from_B: Tensor) -> None:
        """Makes the rows `from_B` the first ones, in this order."""
        for tensors in self._layers:
            for tensor in tensors:
                tensor[: len(from_B)] = tensor.index_select(0, from_B)


class _FixedLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's part, as attention uses it; only the caller knows the rows' lengths."""

    def __init__(self, keys_BHLK: Tensor, values_BHLK: Tensor) -> None:
        super().__init__()
        self.keys, self.values = keys_BHLK, values_BHLK
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        raise NotImplementedError

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        raise NotImplementedError

    def get_seq_length(self) -> int:
        raise NotImplementedError

    def get_max_length(self) -> int:
        return int(self.keys.shape[2])


class _Filled(_FixedLayer):
    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return query_length, 0

    def get_seq_length(self) -> int:
        return 0

    def update(self, keys_BHSK: Tensor, values_BHSK: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        self.keys.copy_(keys_BHSK)
        self.values.copy_(values_BHSK)
        return keys_BHSK, values_BHSK


class _Continued(_FixedLayer):
    def __init__(self, keys_BHLK: Tensor, values_BHLK: Tensor, column_B: Tensor) -> None:
        super().__init__(keys_BHLK, values_BHLK)
        self._column_B111 = column_B[:, None, None, None]

    def update(self, keys_BH1K: Tensor, values_BH1K: Tensor, *_: object) -> tuple[Tensor, Tensor]:
        for whole, new in ((self.keys, keys_BH1K), (self.values, values_BH1K)):
            whole.scatter_(2, self._column_B111.expand_as(new), new)
        return self.keys, self.values
