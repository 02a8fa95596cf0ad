"""The base router's load-balancing loss reaches each adapter by its own rows alone.

Transformers' own loss over the base's router logits, with the adapter on, is the reference.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from contracts.adapters import add_random, token_ids
from contracts.bases import FAMILIES
from contracts.packs import loaded_base, tiny_pack, trial
from perft.config import (
    AdapterConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.forward import AdapterBatch, TokenizedExample, pack_losses
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.training.optimizer import AdapterOptimizer
from perft.training.step import MicroBatch, TrialBatch, gradients_of

BALANCE = 0.7
CONFIGS: dict[str, AdapterConfig] = {
    "r": RoutedConfig(rank=2, num_experts=3, top_k=2, balance=0.0, base_balance=BALANCE),
    "s": SingleConfig(rank=3, base_balance=BALANCE),
    "plain": SingleConfig(rank=3),
    "lora-qv": LoraQVConfig(rank=2, base_balance=BALANCE),
    "lora-router": LoraRouterConfig(rank=2, base_balance=BALANCE),
    "lora-experts": LoraExpertsConfig(rank=2, base_balance=BALANCE),
}
BALANCED = [name for name in CONFIGS if name != "plain"]


def host_of(family: str, configs: Mapping[str, AdapterConfig] = CONFIGS) -> AdapterHost:
    host = AdapterHost(loaded_base(family).model)
    for seed, (name, config) in enumerate(configs.items()):
        add_random(host, name, config, seed)
    return host


def rows_of_each() -> dict[str, list[TokenizedExample]]:
    """Rows of unequal length, so that the batch is padded."""
    rng = np.random.default_rng(0)
    return {
        name: [(rng.integers(2, 50, length).astype(np.int32), 1) for length in (4, 9, 6)]
        for name in CONFIGS
    }


def batches(host: AdapterHost, rows: dict[str, list[TokenizedExample]]) -> dict[str, TrialBatch]:
    training = trial(CONFIGS["s"], batch_size=3).training
    return {
        name: TrialBatch(training, 0, rows[name], AdapterOptimizer(host.tensors(name), training))
        for name in CONFIGS
    }


def loss_of_transformers(host: AdapterHost, name: str, rows: list[TokenizedExample]) -> Tensor:
    """Mean cross-entropy plus the balance term, from transformers' logits, row after row."""
    logits: list[list[Tensor]] = [[] for _ in host.blocks]
    handles = [
        block.router.register_forward_hook(lambda _m, _a, out, i=i: logits[i].append(out[0]))
        for i, block in enumerate(host.blocks)
    ]
    host.activate(name)
    total, targets = torch.zeros((), dtype=torch.float64), 0
    for ids, _ in rows:
        ids_S = torch.from_numpy(ids.astype("int64"))
        log_SV = host.model(ids_S.unsqueeze(0)).logits[0].log_softmax(-1)
        total = total - log_SV[:-1].gather(1, ids_S[1:, None]).sum()
        targets += len(ids) - 1
    host.activate(None)
    for handle in handles:
        handle.remove()
    balance = load_balancing_loss_func(tuple(map(torch.cat, logits)), num_experts=4, top_k=2)
    coefficient = BALANCE if name in BALANCED else 0.0
    return total / targets + coefficient * balance


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_in_a_pack_are_those_of_transformers_loss_for_each_adapter(family: str) -> None:
    host, rows = host_of(family), rows_of_each()
    mine = batches(host, rows)
    gradients_of(host, 0, Ranks(), mine, [MicroBatch(list(mine))])
    for name, batch in mine.items():
        found = {key: t.grad.clone() for key, t in host.tensors(name).items()}
        batch.optimizer.skip()
        loss_of_transformers(host, name, rows[name]).backward()
        for key, tensor in host.tensors(name).items():
            wanted = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
            # Transformers counts its load in float32.
            torch.testing.assert_close(found[key], wanted, rtol=0, atol=1e-6)
        batch.optimizer.skip()


def test_the_term_changes_the_gradient_of_every_variant_that_asks_for_it() -> None:
    rows, gradients = rows_of_each(), []
    for configs in (
        CONFIGS,
        {n: dataclasses.replace(c, base_balance=0) for n, c in CONFIGS.items()},
    ):
        host = host_of("olmoe", configs)
        gradients_of(host, 0, Ranks(), batches(host, rows), [MicroBatch(list(CONFIGS))])
        gradients.append({name: [t.grad for t in host.tensors(name).values()] for name in CONFIGS})
    for name in CONFIGS:
        pairs = zip(gradients[0][name], gradients[1][name], strict=True)
        changed = any((one - other).abs().max() > 1e-5 for one, other in pairs)
        assert changed == (name in BALANCED), name


def test_sums_are_of_the_adapters_that_ask_and_leave_padding_out() -> None:
    host, rows = host_of("mixtral"), rows_of_each()
    packed = pack_losses(host, 0, {name: AdapterBatch(rows[name]) for name in CONFIGS})
    assert set(packed.base_sums) == set(BALANCED)
    assert set(packed.sums) == {"r"}
    for name in BALANCED:
        found = packed.base_sums[name]
        alone = [
            pack_losses(host, 0, {name: AdapterBatch([row])}).base_sums[name] for row in rows[name]
        ]
        wanted = alone[0] + alone[1] + alone[2]
        assert float(found.tokens) == len(host.blocks) * (4 + 9 + 6)
        assert float(found.load_M.sum()) == 2 * float(found.tokens)
        for field in ("load_M", "prob_M", "entropy", "tokens"):
            torch.testing.assert_close(getattr(found, field), getattr(wanted, field))


def test_loss_of_a_labelled_microbatch_in_training_mode_has_the_term() -> None:
    host, ids_BS = host_of("olmoe"), token_ids(2)
    host.activate("s")
    logits: list[Tensor] = []
    handles = [
        block.router.register_forward_hook(lambda _m, _a, out: logits.append(out[0]))
        for block in host.blocks
    ]
    plain = host.model(ids_BS, labels=ids_BS).loss
    term = BALANCE * load_balancing_loss_func(tuple(logits), num_experts=4, top_k=2)
    for handle in handles:
        handle.remove()
    host.model.train()
    whole = host.model(ids_BS, labels=ids_BS).loss
    assert whole.item() == pytest.approx((plain + term).item(), abs=1e-5)
    assert term.item() > 1.0


def test_a_pack_of_one_trains_as_in_a_pack() -> None:
    """Through the training loop: two trials that differ in the coefficient alone, and together."""
    configs = {
        name: trial(LoraQVConfig(rank=2, base_balance=value), seed=1)
        for name, value in (("off", 0.0), ("on", 5.0))
    }
    together, alone = tiny_pack(), {}
    for name, config in configs.items():
        together.admit(name, config)
    together.advance(dict.fromkeys(configs, 5))
    for name, config in configs.items():
        pack = tiny_pack()
        pack.admit(name, config)
        pack.advance({name: 5})
        alone[name] = pack.host.tensors(name)
        for key, tensor in alone[name].items():
            torch.testing.assert_close(together.host.tensors(name)[key], tensor, rtol=0, atol=1e-9)
    assert any(not torch.allclose(alone["on"][key], alone["off"][key]) for key in alone["on"])
