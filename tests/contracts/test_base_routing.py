"""The base router's load-balancing loss is summed over each adapter's own rows, on every family."""

import pytest
import torch
from torch import Tensor

from contracts.adapters import add_random, token_ids
from contracts.bases import answer, every_family, tiny_base
from perft.adapters.routing import RouterSums, load_balancing_loss
from perft.config import LoraAttentionConfig
from perft.injection import AdapterHost, rows_of

ROWS, LENGTH = 2, 7


def three_adapters(family: str) -> AdapterHost:
    """Of which two ask for the loss."""
    host = AdapterHost(tiny_base(family))
    for seed, (name, balance) in enumerate((("one", 0.5), ("none", 0.0), ("two", 0.1))):
        add_random(host, name, LoraAttentionConfig(rank=2, base_balance=balance), seed)
    return host


def gradients(host: AdapterHost, name: str, sums: RouterSums) -> list[Tensor]:
    """Of the loss; what only follows the last router has none."""
    tensors = [*host.tensors(name).values()]
    loss = load_balancing_loss(sums, sums.load_M, sums.tokens)
    return torch.autograd.grad(loss, tensors, retain_graph=True, materialize_grads=True)


@every_family
def test_packed_sums_and_gradients_are_those_of_each_adapter_alone(family: str):
    host = three_adapters(family)
    ids = {name: token_ids(ROWS, LENGTH, seed=i) for i, name in enumerate(host.configs)}
    packed = rows_of(dict.fromkeys(ids, ROWS))
    with host.using(packed):
        answer(host.model, torch.cat([*ids.values()]))
    assert set(packed.base_sums) == {"one", "two"}
    for name, found in packed.base_sums.items():
        alone = rows_of({name: ROWS})
        with host.using(alone):
            answer(host.model, ids[name])
        wanted = alone.base_sums[name]
        for field in ("load_M", "prob_M", "entropy", "tokens"):
            torch.testing.assert_close(getattr(found, field), getattr(wanted, field))
        pairs = zip(gradients(host, name, found), gradients(host, name, wanted), strict=True)
        for mine, own in pairs:
            torch.testing.assert_close(mine, own, rtol=0, atol=1e-6)
        assert not found.prob_M.equal(packed.base_sums["one" if name == "two" else "two"].prob_M)


@every_family
def test_every_token_is_counted_once_per_block_with_all_its_choices(family: str):
    host, layout = three_adapters(family), rows_of({"one": ROWS})
    with host.using(layout):
        answer(host.model, token_ids(ROWS, LENGTH))
    sums = layout.base_sums["one"]
    assert float(sums.tokens) == ROWS * LENGTH * len(host.blocks)
    assert float(sums.load_M.sum()) == float(sums.tokens) * host.blocks[0].top_k
    assert float(sums.prob_M.detach().sum()) == pytest.approx(float(sums.tokens), rel=1e-5)
