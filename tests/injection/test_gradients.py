"""Training reaches the adapter and nothing else."""

import pytest
import torch
from torch import Tensor

from contracts.adapters import EVERY, add_random, next_token_loss, take_gradients, token_ids
from contracts.bases import FAMILIES, tiny_base
from perft.injection import AdapterHost, rows_of


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", EVERY)
def test_gradient_reaches_every_adapter_tensor_and_no_base_parameter(variant: str, family: str):
    model, ids = tiny_base(family), token_ids(3)
    base_parameters = list(model.parameters())
    host = AdapterHost(model)
    add_random(host, "a", EVERY[variant])
    host.activate("a")
    next_token_loss(model(ids).logits, ids).backward()
    for key, gradient in take_gradients(host, "a").items():
        assert gradient.isfinite().all(), key
        assert gradient.abs().max() > 1e-6, f"{key} gets no gradient from the task"
    assert [p for p in base_parameters if p.requires_grad or p.grad is not None] == []


# DoRA's gradient leaves out that of the norms on purpose (tests/adapters/test_dora.py).
@pytest.mark.parametrize("variant", [name for name in EVERY if not name.endswith("-dora")])
def test_gradient_is_the_slope_of_the_loss(variant: str):
    model, ids = tiny_base("mixtral"), token_ids(2)
    host = AdapterHost(model)
    add_random(host, "a", EVERY[variant])
    host.activate("a")
    next_token_loss(model(ids).logits, ids).backward()
    generator = torch.Generator().manual_seed(5)
    tensors, slope, norm = host.tensors("a"), 0.0, 0.0
    # Large against the fp32 rounding of the base router, small against a change of its choice.
    step = 1e-4
    directions: dict[str, Tensor] = {}
    for key, gradient in take_gradients(host, "a").items():
        directions[key] = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        slope += float((gradient * directions[key]).sum())
        norm += float(gradient.square().sum())
    losses: list[float] = []
    for sign in (1, -1):
        with torch.no_grad():
            for key, tensor in tensors.items():
                tensor += sign * step * directions[key]
            losses.append(float(next_token_loss(model(ids).logits, ids)))
            for key, tensor in tensors.items():
                tensor -= sign * step * directions[key]
    assert (losses[0] - losses[1]) / (2 * step) == pytest.approx(slope, abs=2e-3 * norm**0.5)


def test_rows_of_one_adapter_give_the_others_no_gradient():
    model, ids = tiny_base("olmoe"), token_ids(4)
    host = AdapterHost(model)
    add_random(host, "mine", EVERY["perft-r"], seed=1)
    add_random(host, "other", EVERY["perft-r"], seed=2)
    with host.using(rows_of({"mine": 2, "other": 2})):
        logits = model(ids).logits
    next_token_loss(logits[:2], ids[:2]).backward()
    take_gradients(host, "mine")
    for tensor in host.tensors("other").values():
        assert tensor.grad is None or not tensor.grad.any()


def test_base_stays_frozen_whatever_it_was_before():
    model = tiny_base("olmoe").requires_grad_(True)
    AdapterHost(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())
