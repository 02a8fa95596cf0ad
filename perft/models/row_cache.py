"""Puts rows into a running cache, which not every family's cache allows.

Shapes: B rows, H heads, L columns (a row's tokens, padded on the left), K the width of a head.
"""

import torch
from torch.nn import functional as F

from perft.compat.transformers import Cache, DynamicLayer


def takes_rows(cache: Cache) -> bool:
    """Whether `add_rows` and `cut_columns` know all that a cache holds.

    Every layer must keep the keys and values of all tokens, and nothing else: no window, no state
    of linear attention, no index.
    """
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def columns(cache: Cache) -> int:
    """L of a cache that `takes_rows`."""
    return int(cache.layers[0].get_seq_length())


def add_rows(cache: Cache, other: Cache) -> None:
    """Appends the rows of `other`; the shorter of both is padded on the left.

    Keys hold their positions already, and what reads the cache masks the padding.
    """
    length = max(columns(cache), columns(other))
    for layer, added in zip(cache.layers, other.layers, strict=True):
        for name in ("keys", "values"):
            both = [
                F.pad(tensor, (0, 0, length - tensor.shape[2], 0))
                for tensor in (getattr(layer, name), getattr(added, name))
            ]
            setattr(layer, name, torch.cat(both))


def cut_columns(cache: Cache, count: int) -> None:
    """Drops the first columns, in which every row has padding alone."""
    for layer in cache.layers:
        layer.keys, layer.values = layer.keys[:, :, count:], layer.values[:, :, count:]
