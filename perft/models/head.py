"""Logits only where they are wanted: the base's head sees the chosen positions alone.

A hook on the head, not a call around it: the model is still called as a whole, which FSDP needs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel


@contextmanager
def head_at(model: PreTrainedModel, position_N: Tensor) -> Iterator[None]:
    """Inside, the model's logits are (N, vocabulary), one row for each flat position.

    Args:
        model: a causal language model.
        position_N: positions in the flattened batch, `row * padded_length + token`.
    """

    def choose(_head: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0].flatten(0, 1).index_select(0, position_N), *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(choose)
    try:
        yield
    finally:
        handle.remove()
