"""No adapter waits for the device: a pass with any of them can be captured as a CUDA graph.

What makes the host wait is an operation whose result, or whose result's shape, depends on the
values of tensors.
"""

import dataclasses
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from contracts.adapters import EVERY, add_random, next_token_loss, take_gradients, token_ids
from contracts.bases import tiny_base
from perft.adapters.dropout import DropKey
from perft.adapters.routing import load_balancing_loss
from perft.config import AdapterConfig, LoraWeightConfig, RoutedConfig
from perft.injection import AdapterHost, rows_of

ROWS = 2
CONFIGS = {
    **EVERY,
    "perft-r-grouped": RoutedConfig(rank=4, num_experts=512, top_k=1),
    "perft-r-grouped-parallel": RoutedConfig(rank=4, num_experts=512, top_k=1, form="parallel"),
}


class NoWait(TorchDispatchMode):
    """Refuses operations that make the host wait for the device."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        waits = not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.isdisjoint(
            func.tags
        )
        if func is torch.ops.aten.index.Tensor:  # by numbers it has a known shape, by a mask not
            waits = any(index is not None and index.dtype == torch.bool for index in args[1])
        assert not waits, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


def test_an_operation_that_waits_is_refused():
    tensor = torch.ones(3)
    for waiting in (tensor.sum().item, tensor.nonzero, lambda: bool(tensor[0])):
        with NoWait(), pytest.raises(AssertionError, match="waits for the device"):
            waiting()
    with NoWait(), pytest.raises(AssertionError, match="waits for the device"):
        tensor[tensor > 0]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_no_variant_waits_forward_or_backward(config: AdapterConfig):
    model = tiny_base("olmoe", torch.float32)
    model.set_experts_implementation("grouped_mm")
    host, ids, drops = AdapterHost(model), token_ids(3 * ROWS), {}
    for seed, name in enumerate(("one", "two")):
        drop = 0.0 if isinstance(config, LoraWeightConfig) else 0.3
        add_random(host, name, dataclasses.replace(config, dropout=drop, base_balance=0.1), seed)
        drops[name] = DropKey.of(seed, 1, slice(0, ROWS))
    layout = rows_of(
        {"one": ROWS, None: ROWS, "two": ROWS}, torch.ones_like(ids, dtype=torch.bool), drops
    )
    # transformers looks at the values of positions when it makes a mask of its own.
    causal = torch.ones(len(ids), 1, ids.shape[1], ids.shape[1], dtype=torch.bool).tril()
    with host.using(layout), NoWait():
        loss = next_token_loss(model(ids, attention_mask=causal, use_cache=False).logits, ids)
        for sums in (*layout.sums.values(), *layout.base_sums.values()):
            loss = loss + load_balancing_loss(sums, sums.load_M, sums.tokens)
        loss.backward()
    for name in ("one", "two"):
        assert all(gradient.any() for gradient in take_gradients(host, name).values())
