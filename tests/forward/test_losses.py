"""The losses of a pack equal transformers' own, example by example and adapter by adapter."""

import dataclasses

import numpy as np
import pytest
import torch

from contracts.adapters import SIX, add_random
from contracts.bases import FAMILIES, tiny_base
from perft.forward import AdapterBatch, TokenizedExample, pack_losses
from perft.injection import AdapterHost


def rows(count: int, seed: int) -> list[TokenizedExample]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        ids = rng.integers(2, 50, rng.integers(2, 12)).astype(np.int32)
        made.append((ids, int(rng.integers(0, len(ids)))))
    return made


def loss_of_transformers(host: AdapterHost, row: TokenizedExample) -> float:
    """Summed over the predicted tokens; prompt tokens are labelled -100."""
    ids, free = row
    ids_BS = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
    labels_BS = ids_BS.clone()
    labels_BS[:, :free] = -100
    mean = host.model(input_ids=ids_BS, labels=labels_BS, use_cache=False).loss
    return float(mean.detach()) * (labels_BS[:, 1:] != -100).sum().item()


@pytest.mark.parametrize("family", FAMILIES)
def test_pack_losses_equal_the_loss_of_transformers_for_each_example(family: str) -> None:
    host = AdapterHost(tiny_base(family))
    parts = {}
    for seed, (name, config) in enumerate(SIX.items()):
        add_random(host, name, config, seed)
        parts[name] = AdapterBatch(rows(1 + seed % 3, seed))
    losses = pack_losses(host, 0, parts)
    assert set(losses.sums) == {"perft-r"}
    for name, part in parts.items():
        host.activate(name)
        expected = sum(loss_of_transformers(host, row) for row in part.rows)
        # Transformers takes the cross-entropy in float32, whatever the base.
        assert float(losses.loss[name].detach()) == pytest.approx(expected, rel=1e-6), name


@torch.no_grad()
def test_routing_is_kept_only_where_gradients_are_computed() -> None:
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "perft-r", dataclasses.replace(SIX["perft-r"], base_balance=0.1))
    losses = pack_losses(host, 0, {"perft-r": AdapterBatch(rows(1, 3))})
    assert losses.sums == {}
    assert losses.base_sums == {}


def test_routing_sums_leave_padding_out() -> None:
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "perft-r", SIX["perft-r"])
    short, long = rows(1, 3)[0], (np.arange(2, 40, dtype=np.int32), 0)
    together = pack_losses(host, 0, {"perft-r": AdapterBatch([short, long])}).sums["perft-r"]
    apart = [pack_losses(host, 0, {"perft-r": AdapterBatch([row])}) for row in (short, long)]
    added = apart[0].sums["perft-r"] + apart[1].sums["perft-r"]
    layers = len(host.blocks)
    assert float(together.tokens) == layers * (len(short[0]) + len(long[0]))
    assert together.load_M.sum() == 2 * together.tokens
    for name in ("load_M", "prob_M", "entropy", "tokens"):
        torch.testing.assert_close(getattr(together, name), getattr(added, name))


@torch.no_grad()
def test_losses_are_summed_in_float32_on_a_bfloat16_base() -> None:
    host = AdapterHost(tiny_base("olmoe", torch.bfloat16))
    host.add("s", SIX["perft-s"])
    loss = pack_losses(host, 0, {"s": AdapterBatch(rows(3, 0))}).loss["s"]
    assert loss.dtype == torch.float32


@torch.no_grad()
def test_rows_without_a_target_have_no_loss() -> None:
    host = AdapterHost(tiny_base("olmoe"))
    host.add("s", SIX["perft-s"])
    host.add("d", SIX["perft-d"])
    empty = (np.array([4, 5], dtype=np.int32), 2)
    losses = pack_losses(host, 0, {"s": AdapterBatch([empty]), "d": AdapterBatch(rows(1, 0))})
    assert float(losses.loss["s"]) == 0.0
    assert float(losses.loss["d"]) > 0.0
