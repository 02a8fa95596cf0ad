"""Activation checkpointing, of perft's training and of transformers.

A recomputed forward pass uses the batch layout of the pass that it repeats.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from perft.compat.transformers import add_checkpoint_contexts

Contexts = Callable[[], tuple[AbstractContextManager[object], AbstractContextManager[object]]]


def recompute_in(model: PreTrainedModel, contexts: Contexts) -> None:
    """Gives checkpointed layers a `context_fn` where they have none.

    Args:
        model: the base; without activation checkpointing nothing changes.
        contexts: called in each forward pass of a layer; makes the contexts of that pass and of
            its recomputation in the backward pass. Only torch's non-reentrant kind takes it.
    """
    for module in model.modules():
        add_checkpoint_contexts(module, contexts)


@contextmanager
def recomputed(layers: Iterable[nn.Module], contexts: Contexts) -> Iterator[None]:
    """Forward passes inside keep only the inputs of each layer; the backward pass runs it again.

    The base stays in evaluation mode, where transformers' own checkpointing does nothing. FSDP's
    hooks are around the layer's `forward`, so a recomputed layer has its weights.

    Args:
        layers: of the base.
        contexts: as in `recompute_in`.
    """
    changed = {layer: vars(layer).get("forward") for layer in layers}
    for layer in changed:
        layer.forward = functools.partial(
            checkpoint,
            layer.forward,
            use_reentrant=False,
            preserve_rng_state=False,
            context_fn=contexts,
        )
    try:
        yield
    finally:
        for layer, before in changed.items():
            del layer.forward
            if before is not None:  # a compiled region
                layer.forward = before
