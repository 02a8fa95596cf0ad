"""Forward passes with labels: adds the active adapter's router loss to the base's loss.

A pack's training loop adds these losses itself. A plain loop or `transformers.Trainer` with one
active adapter reads `output.loss`; in training mode only, it includes the load-balancing losses of
the adapter's configuration, as transformers includes that of a base router.
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
    """A layout with all rows for the adapter `name`; None if the pass has no labels.

    Args:
        model: the base.
        name: the active adapter.
        args: positional arguments of `model.forward`.
        kwargs: its keyword arguments.
    """
    given = inspect.signature(model.forward).bind_partial(*args, **kwargs).arguments
    labels_BS, mask_BS = given.get("labels"), given.get("attention_mask")
    if labels_BS is None:
        return None
    # An encoder's mask, or one of another shape, does not fit the decoder's tokens.
    if model.config.is_encoder_decoder or mask_BS is None or mask_BS.shape != labels_BS.shape:
        mask_BS = None
    return rows_of(
        {name: len(labels_BS)}, None if mask_BS is None else mask_BS.bool(), {name: "torch"}
    )


def add_router_loss(config: AdapterConfig, layout: BatchLayout, output: Any) -> Any:
    """Adds the load-balancing losses of `config` to the loss in `output`.

    Args:
        config: the active adapter.
        layout: of the pass, with its routing sums.
        output: of the base, a `ModelOutput` with a loss or a tuple that starts with it.
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
