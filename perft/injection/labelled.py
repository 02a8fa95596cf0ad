"""Forward passes that ask for a loss: the active adapter's router loss joins the base's own.

A pack's training loop adds up its losses itself. Whoever trains one active adapter by a plain loop
or by `transformers.Trainer` reads `output.loss`; in training mode, and only there, it holds the
load-balancing losses of its configuration too, as transformers adds that of a base router.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from perft.adapters.routing import RouterSums, load_balancing_loss
from perft.adapters.table import router_balance
from perft.config import AdapterConfig
from perft.injection.rows import BatchLayout, rows_of


def labelled_layout(
    model: PreTrainedModel, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> BatchLayout | None:
    """All rows of a forward pass for the adapter `name`; None when the pass has no labels.

    Args:
        model: the base.
        name: the active adapter.
        args: what `model.forward` is called with by position.
        kwargs: what it is called with by keyword.
    """
    given = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    labels_BS, mask_BS = given.get("labels"), given.get("attention_mask")
    if labels_BS is None:
        return None
    # An encoder's mask says nothing about the decoder's tokens, nor a mask of another rank.
    if model.config.is_encoder_decoder or mask_BS is None or mask_BS.shape != labels_BS.shape:
        mask_BS = None
    return rows_of(
        {name: len(labels_BS)}, None if mask_BS is None else mask_BS.bool(), {name: "torch"}
    )


def add_router_loss(config: AdapterConfig, layout: BatchLayout, output: Any) -> Any:
    """Adds the load-balancing losses that `config` asks for to the loss in `output`.

    Args:
        config: the active adapter.
        layout: of the pass, with its routing sums.
        output: what the base returned, a `ModelOutput` with a loss or a tuple that begins with it.
    """
    extra = _router_loss(config, layout)
    if extra is None:
        return output
    if isinstance(output, tuple):
        return (output[0] + extra, *output[1:])
    output.loss = output.loss + extra
    return output


def _router_loss(config: AdapterConfig, layout: BatchLayout) -> Tensor | None:
    terms = [config.base_balance * _loss(sums) for sums in layout.base_sums.values()]
    if balance := router_balance(config):
        terms += [balance * _loss(sums) for sums in layout.sums.values()]
    return torch.stack(terms).sum() if terms else None


def _loss(sums: RouterSums) -> Tensor:
    return load_balancing_loss(sums, sums.load_M, sums.tokens)
