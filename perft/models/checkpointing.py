"""Activation checkpointing of transformers: where the layers' recomputed forward passes run."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

Contexts = Callable[[], tuple[AbstractContextManager[Any], AbstractContextManager[Any]]]


def recompute_in(model: PreTrainedModel, contexts: Contexts) -> None:
    """Gives checkpointed layers a `context_fn`, where whoever switched it on gave none.

    Args:
        model: the base; without activation checkpointing nothing changes.
        contexts: called in each forward pass of a layer, makes the contexts of that pass and of
            its recomputation in the backward pass. torch takes it for the non-reentrant kind, and
            refuses the reentrant one.
    """
    for module in model.modules():
        function = getattr(module, "_gradient_checkpointing_func", None)
        if isinstance(function, functools.partial) and function.func is checkpoint:
            settings = {"context_fn": contexts, **function.keywords}
            module._gradient_checkpointing_func = functools.partial(checkpoint, **settings)
