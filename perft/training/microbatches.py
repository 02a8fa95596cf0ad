"""Splits a step of a pack into micro-batches of whole trials.

A CPU is fastest when a micro-batch's activations fit its caches, an accelerator when a micro-batch
is large. A trial is never split: its load-balancing loss is over its whole batch.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import torch

from perft.errors import ConfigError

TOKENS_ON_CPU = 4096
NUMBERS_IN_CACHES = 1 << 20
"""Elements of one layer's hidden states over a micro-batch that fit into a core's caches."""
TOKENS_ON_ACCELERATOR = 16_384
"""Keeps a large GPU busy. More would take more memory, and more time for filler rows when trials
have ended (`perft.training.shapes`)."""

Shape = tuple[int, int]
"""Rows of a trial's batch, and tokens of the longest."""


def max_tokens_per_microbatch(device: str, hidden_size: int, ranks: int) -> int:
    """Padded tokens that one forward pass should take on each rank.

    Args:
        device: its type.
        hidden_size: the base's.
        ranks: processes that share the base; gathering it for a micro-batch takes longer than small
            micro-batches save.
    """
    if device != "cpu":
        return TOKENS_ON_ACCELERATOR
    if ranks > 1:
        return TOKENS_ON_CPU
    return min(TOKENS_ON_CPU, max(1, NUMBERS_IN_CACHES // hidden_size))


def microbatches(
    shapes: Mapping[str, Shape], tokens: int, depths: Mapping[str, int] = MappingProxyType({})
) -> list[list[str]]:
    """Which trials share a micro-batch, longest rows first; each trial is in one.

    Trials of similar length share a micro-batch, so padding is small.

    Args:
        shapes: shape of each trial's batch.
        tokens: largest number of padded tokens in a micro-batch; a larger trial goes alone.
        depths: number of layers that each trial's gradient passes. In a shared micro-batch all rows
            would go as deep as the deepest, so only trials of the same depth share.
    """
    found: list[list[str]] = []
    for name in sorted(shapes, key=lambda name: (depths.get(name, 0), -shapes[name][1])):
        fits = found and padded_tokens([*found[-1], name], shapes) <= tokens
        if fits and depths.get(found[-1][0], 0) == depths.get(name, 0):
            found[-1].append(name)
        else:
            found.append([name])
    return found


def padded_tokens(names: Sequence[str], shapes: Mapping[str, Shape]) -> int:
    """Tokens of one micro-batch of these trials, padding included."""
    return sum(shapes[name][0] for name in names) * max(shapes[name][1] for name in names)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a device, or the host, had no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def fewer_tokens(shapes: Mapping[str, Shape], together: Iterable[Sequence[str]]) -> int:
    """Half the tokens of the largest micro-batch that can be split, after it ran out of memory.

    Args:
        shapes: shape of each trial's batch.
        together: the trials of each micro-batch.

    Raises:
        ConfigError: if every trial has a micro-batch of its own already.
    """
    shared = [names for names in together if len(names) > 1]
    if not shared:
        rows, length = max(shapes.values(), key=lambda shape: shape[0] * shape[1])
        raise ConfigError(
            f"one trial's batch of {rows} rows of {length} tokens does not fit the device's "
            "memory; lower batch_size or max_length, add --checkpointing, or share the base among "
            "more workers with --workers-per-group"
        )
    return max(padded_tokens(names, shapes) for names in shared) // 2
