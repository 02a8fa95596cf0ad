"""One step of a pack against a plain one: each trial's own mean loss, balance term and gradient."""

import pytest
import torch
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from contracts.adapters import add_random
from contracts.packs import loaded_base, tiny_pack, trial
from perft.adapters.dropout import DropKey
from perft.config import AdapterConfig, LoraQVConfig, RoutedConfig, SingleConfig
from perft.injection import AdapterHost
from perft.ranks import Ranks
from perft.training.optimizer import AdapterOptimizer
from perft.training.step import MicroBatch, TrialBatch, gradients_of

CONFIGS: dict[str, AdapterConfig] = {
    "r": RoutedConfig(rank=2, num_experts=3, top_k=2, balance=0.5),
    "s": SingleConfig(rank=3),
    "lora-qv": LoraQVConfig(rank=2),
}


def batches(host: AdapterHost) -> dict[str, TrialBatch]:
    rows = tiny_pack().rows.train(16, "answer")
    found = {}
    for at, name in enumerate(CONFIGS):
        training = trial(CONFIGS[name], batch_size=3).training
        optimizer = AdapterOptimizer(host.tensors(name), training)
        found[name] = TrialBatch(training, 0, [rows.row(3 * at + i) for i in range(3)], optimizer)
    return found


def plain_loss(host: AdapterHost, name: str, batch: TrialBatch) -> torch.Tensor:
    """Row after row through transformers' logits: the mean over all predicted tokens."""
    host.activate(name)
    total, targets = torch.zeros((), dtype=torch.float64), 0
    for ids, free in batch.rows:
        ids_S = torch.from_numpy(ids.astype("int64"))
        logits_SV = host.model(ids_S.unsqueeze(0)).logits[0]
        first = max(1, free)
        log_SV = logits_SV.log_softmax(-1)
        total = total - sum(log_SV[t - 1, ids_S[t]] for t in range(first, len(ids)))
        targets += len(ids) - first
    host.activate(None)
    return total / targets


def plain_balance(host: AdapterHost, name: str, batch: TrialBatch) -> torch.Tensor:
    """Transformers' own load-balancing loss over the logits of the PEFT router, no padding."""
    inputs: list[list[torch.Tensor]] = [[] for _ in host.blocks]
    handles = [
        block.module.register_forward_pre_hook(lambda _m, args, i=i: inputs[i].append(args[0][0]))
        for i, block in enumerate(host.blocks)
    ]
    host.activate(name)
    for ids, _ in batch.rows:
        host.model(torch.from_numpy(ids.astype("int64")).unsqueeze(0))
    host.activate(None)
    for handle in handles:
        handle.remove()
    logits = tuple(
        torch.cat(inputs[i]) @ host.tensors(name)[f"{block.name}.adapters.perft_router"].T
        for i, block in enumerate(host.blocks)
    )
    return load_balancing_loss_func(logits, num_experts=3, top_k=2)


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
def test_gradients_are_those_of_each_trial_on_its_own(family: str) -> None:
    host = AdapterHost(loaded_base(family).model)
    for seed, (name, config) in enumerate(CONFIGS.items()):
        add_random(host, name, config, seed)
    mine = batches(host)
    losses, sums = gradients_of(host, 0, Ranks(), mine, [MicroBatch(list(mine))])
    assert set(sums) == {"r"}
    for name, batch in mine.items():
        found = {k: t.grad.clone() for k, t in host.tensors(name).items() if t.grad is not None}
        batch.optimizer.skip()
        loss = plain_loss(host, name, batch)
        assert float(losses[name]) == pytest.approx(loss.item(), abs=1e-12)
        balance = 0.5 * plain_balance(host, name, batch) if name == "r" else 0.0
        (loss + balance).backward()
        for key, tensor in host.tensors(name).items():
            assert tensor.grad is not None
            # Transformers counts its load in float32.
            tolerance = 1e-6 if name == "r" else 1e-12
            torch.testing.assert_close(found[key], tensor.grad, rtol=0, atol=tolerance)
        batch.optimizer.skip()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_checkpointed_layers_run_once_more_in_the_backward_pass(checkpointing: bool) -> None:
    host = AdapterHost(loaded_base().model)
    for name, config in CONFIGS.items():
        host.add(name, config)
    calls: list[int] = []
    for block in host.blocks:
        block.module.register_forward_pre_hook(lambda *_: calls.append(1))
    mine = batches(host)
    gradients_of(host, 0, Ranks(), mine, [MicroBatch(list(mine))], checkpointing=checkpointing)
    # One more is the token that tells whether the head is a plain one.
    assert len(calls) == len(host.blocks) * (2 + checkpointing)


def test_the_balance_term_is_no_part_of_the_reported_loss() -> None:
    host = AdapterHost(loaded_base().model)
    config = RoutedConfig(rank=2, num_experts=3, top_k=2, balance=0.0)
    add_random(host, "r", config)
    host.load("balanced", CONFIGS["r"], host.tensors("r"))
    rows = [tiny_pack().rows.train(16, "all").row(i) for i in range(4)]
    training = trial(config).training
    losses = gradients_of(
        host,
        0,
        Ranks(),
        {
            name: TrialBatch(training, 0, rows, AdapterOptimizer(host.tensors(name), training))
            for name in ("r", "balanced")
        },
        [MicroBatch(["r", "balanced"])],
    )[0]
    assert float(losses["r"]) == pytest.approx(float(losses["balanced"]), abs=1e-12)
    key = f"{host.blocks[0].name}.adapters.perft_router"
    assert not torch.allclose(host.tensors("r")[key].grad, host.tensors("balanced")[key].grad)


def test_a_rank_has_its_rows_and_the_key_of_its_dropout() -> None:
    host = AdapterHost(loaded_base().model)
    host.add("s", CONFIGS["s"])
    training = trial(CONFIGS["s"], batch_size=5, seed=9, max_length=12).training
    rows = [tiny_pack().rows.train(12, "all").row(i) for i in range(5)]
    batch = TrialBatch(training, 7, rows, AdapterOptimizer(host.tensors("s"), training))
    parts = [batch.on(Ranks(rank, 2)) for rank in range(2)]
    assert [len(part.rows) for part in parts] == [2, 3]
    assert [id(row) for part in parts for row in part.rows] == [id(row) for row in rows]
    for part, mine in zip(parts, (slice(0, 2), slice(2, 5)), strict=True):
        assert part.drop is not None
        assert torch.equal(part.drop.seed_b, DropKey.of(9, 7, mine).seed_b)
    assert batch.units == sum(len(ids) - 1 for ids, _ in rows)
