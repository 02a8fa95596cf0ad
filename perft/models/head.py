"""The base's loss at chosen positions, without keeping its logits.

Training needs only each token's cross-entropy and its gradient to the hidden states. So a plain
head makes the logits of a few positions at a time and keeps none; since it is frozen, the gradient
is ready when the forward pass ends. Hooks on the head do this: FSDP needs the model to be called as
a whole.

Shapes: B rows, S padded length, N chosen positions, D hidden size, V vocabulary.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from perft.models.compiling import uncompiled

LOGITS_AT_ONCE = 1 << 24
"""Most logits at a time, 64 MiB in fp32: large enough for every device's matrix products."""

_AtHead = Callable[[Tensor, Tensor], Tensor]

_plain: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def token_losses(
    model: PreTrainedModel, ids_BS: Tensor, position_N: Tensor, label_N: Tensor, *, plain: bool
) -> Tensor:
    """Runs the base once over a batch and takes the cross-entropy at the chosen positions.

    Args:
        model: a causal language model.
        ids_BS: token ids, padded on the right.
        position_N: positions in the flattened batch, `row * S + token`.
        label_N: the token that is wanted at each.
        plain: `has_plain_head` of the model.

    Returns:
        Nats, shape (N,), fp32 or wider.
    """
    # Causal attention never looks at the padding on the right, so no mask is passed.
    if plain:
        return _in_place_of_logits(
            model, ids_BS, position_N, lambda x_ND, weight: cross_entropy(x_ND, weight, label_N)
        )
    logits_NV = _logits_at(model, ids_BS, position_N)
    return F.cross_entropy(logits_NV, label_N, reduction="none")


@torch.no_grad()
def token_choices(
    model: PreTrainedModel, ids_BS: Tensor, position_N: Tensor, label_N: Tensor, *, plain: bool
) -> tuple[Tensor, Tensor]:
    """Like `token_losses`, and also the token that the model predicts at each position.

    Returns:
        Nats, and the most likely tokens, both of shape (N,); no gradient.
    """
    chosen: list[Tensor] = []

    def choose(x_ND: Tensor, weight_VD: Tensor) -> Tensor:
        losses = []
        for logits_nV, norm_n1, label_n1 in _parts(x_ND, weight_VD, label_N, LOGITS_AT_ONCE):
            chosen.append(logits_nV.argmax(-1))
            losses.append((norm_n1 - logits_nV.gather(1, label_n1)).squeeze(1))
        return torch.cat(losses)

    if plain:
        return _in_place_of_logits(model, ids_BS, position_N, choose), torch.cat(chosen)
    logits_NV = _logits_at(model, ids_BS, position_N)
    return F.cross_entropy(logits_NV, label_N, reduction="none"), logits_NV.argmax(-1)


def _logits_at(model: PreTrainedModel, ids_BS: Tensor, position_N: Tensor) -> Tensor:
    with head_at(model, position_N):
        logits_NV: Tensor = model(input_ids=ids_BS, use_cache=False).logits
    return logits_NV.to(_wide(logits_NV))


def has_plain_head(model: PreTrainedModel) -> bool:
    """Whether the logits are a frozen matrix times the hidden states, and nothing else.

    Some families add a bias, others scale or cap what their head returns. The first call for a
    model runs one token through it, to see whether it returns its head's own tensor; so call it
    outside of any layout, and on all ranks together.
    """
    if model not in _plain:
        _plain[model] = _returns_its_heads_logits(model)
    return _plain[model]


@torch.no_grad()
def _returns_its_heads_logits(model: PreTrainedModel) -> bool:
    head = model.get_output_embeddings()
    # Not by its type: FSDP changes the class of a module that it shards.
    if not isinstance(head, nn.Linear) or type(head).forward is not nn.Linear.forward:
        return False
    if head.bias is not None or head.weight.requires_grad:
        return False
    returned: list[Tensor] = []
    handle = head.register_forward_hook(lambda _head, _args, logits: returned.append(logits))
    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    try:
        with uncompiled(model):
            logits = model(input_ids=token, use_cache=False).logits
    finally:
        handle.remove()
    return len(returned) == 1 and logits is returned[0]


@contextmanager
def head_at(model: PreTrainedModel, position_N: Tensor) -> Iterator[None]:
    """Makes the model's logits inside (N, V), one row for each flat position."""
    handle = _choose(model.get_output_embeddings(), position_N)
    try:
        yield
    finally:
        handle.remove()


def _in_place_of_logits(
    model: PreTrainedModel, ids_BS: Tensor, position_N: Tensor, of: _AtHead
) -> Tensor:
    """Runs the model with `of(x_ND, weight_VD)`, shape (N,), where its head makes logits."""
    head = model.get_output_embeddings()
    states: list[Tensor] = []

    def take(_head: Any, args: tuple[Tensor]) -> tuple[Tensor]:
        states.append(args[0])
        return (args[0][:0],)

    def give(head: nn.Linear, _args: Any, _logits: Tensor) -> Tensor:
        # Inside the head's own call and before its other hooks, so that FSDP has all of its weight.
        # Not (N,): some families slice the last dimension to their vocabulary.
        return of(states.pop(), head.weight).unsqueeze(1)

    handles = [
        _choose(head, position_N),
        head.register_forward_pre_hook(take),
        head.register_forward_hook(give, prepend=True),
    ]
    try:
        out_N1: Tensor = model(input_ids=ids_BS, use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    assert out_N1.shape == (len(position_N), 1), "the model changed what its head returned"
    return out_N1.squeeze(1)


def _choose(head: nn.Module, position_N: Tensor) -> RemovableHandle:
    def choose(_head: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0].flatten(0, 1).index_select(0, position_N), *args[1:])

    return head.register_forward_pre_hook(choose)


def cross_entropy(
    x_ND: Tensor, weight_VD: Tensor, label_N: Tensor, at_once: int = LOGITS_AT_ONCE
) -> Tensor:
    """Cross-entropy of each row of `x_ND @ weight_VD.T`, with gradient to `x_ND` alone.

    Args:
        x_ND: hidden states.
        weight_VD: the head's weight, frozen.
        label_N: the token that is wanted in each row.
        at_once: logits that may exist at a time.

    Returns:
        Nats, shape (N,), fp32 or wider whatever the dtype of the products.
    """
    loss_N: Tensor = _CrossEntropy.apply(x_ND, weight_VD, label_N, at_once)  # type: ignore[no-untyped-call]
    return loss_N


def _parts(
    x_ND: Tensor, weight_VD: Tensor, label_N: Tensor, at_once: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """A few rows at a time: logits (fp32 or wider), their log-sum-exp, and labels."""
    rows = predictions_at_once(len(weight_VD), at_once)
    for x_nD, label_n in zip(torch.split(x_ND, rows), torch.split(label_N, rows), strict=True):
        logits_nV = F.linear(x_nD, weight_VD)
        logits_nV = logits_nV.to(_wide(logits_nV))
        yield logits_nV, logits_nV.logsumexp(-1, keepdim=True), label_n.unsqueeze(1)


class _CrossEntropy(torch.autograd.Function):
    """The forward pass makes each row's gradient, which the backward pass only scales.

    torch's `linear_cross_entropy` runs the head once more in the backward pass, for the gradient of
    the weight that a frozen base does not have, and returns bf16 losses of bf16 hidden states.
    """

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_VD: Tensor, label_N: Tensor, at_once: int) -> Tensor:
        losses, gradients = [], []
        for logits_nV, norm_n1, label_n1 in _parts(x_ND, weight_VD, label_N, at_once):
            losses.append((norm_n1 - logits_nV.gather(1, label_n1)).squeeze(1))
            if ctx.needs_input_grad[0]:
                slope_nV = logits_nV.sub_(norm_n1).exp_()
                slope_nV.scatter_add_(1, label_n1, -torch.ones_like(norm_n1))
                gradients.append(slope_nV.to(weight_VD.dtype) @ weight_VD)
        if gradients:
            ctx.save_for_backward(torch.cat(gradients))
        return torch.cat(losses)

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient_ND,) = ctx.saved_tensors
        return gradient_ND * grad_N.to(gradient_ND.dtype).unsqueeze(1), None, None, None


def predictions_at_once(vocabulary: int, at_once: int = LOGITS_AT_ONCE) -> int:
    """Rows of logits to make at a time, of at most `at_once` logits."""
    return max(1, at_once // vocabulary)


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
