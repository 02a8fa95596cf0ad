"""Validation loss over many adapters at once equals one adapter, one row at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contracts.adapters import SIX, add_random
from contracts.bases import tiny_base
from perft.evaluation import loss as evaluation_loss
from perft.evaluation import validate
from perft.evaluation.loss import TOKENS_PER_FORWARD, chunks_by_length
from perft.forward import AdapterBatch, TokenizedExample, pack_losses, target_count
from perft.injection import AdapterHost
from perft.ranks import Ranks


@given(
    lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=80),
    copies=st.integers(1, 40),
    size=st.integers(1, 9),
)
def test_chunks_hold_every_row_once_and_feed_every_rank(
    lengths: list[int], copies: int, size: int
) -> None:
    chunks = chunks_by_length(lengths, copies, Ranks(size=size))
    assert sorted(i for chunk in chunks for i in chunk) == list(range(len(lengths)))
    if len(lengths) >= size:
        assert min(len(chunk) for chunk in chunks) >= size
    else:
        assert len(chunks) == 1
    ordered = [lengths[i] for chunk in chunks for i in chunk]
    assert ordered == sorted(lengths, reverse=True)
    for chunk in chunks:
        tokens = copies * len(chunk) * max(lengths[i] for i in chunk)
        assert tokens <= TOKENS_PER_FORWARD or len(chunk) < 2 * size


def test_chunks_do_not_depend_on_which_rank_asks() -> None:
    lengths = [3, 9, 9, 2, 5, 9, 1]
    assert len({str(chunks_by_length(lengths, 900, Ranks(rank, 2))) for rank in range(2)}) == 1


def rows(count: int) -> list[TokenizedExample]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        ids = rng.integers(2, 50, rng.integers(3, 20)).astype(np.int32)
        made.append((ids, int(rng.integers(1, len(ids)))))
    return made


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
def test_losses_equal_those_of_one_row_at_a_time(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation_loss, "TOKENS_PER_FORWARD", 300)  # several chunks
    host = AdapterHost(tiny_base(family))
    for seed, (name, config) in enumerate(SIX.items()):
        add_random(host, name, config, seed)
    validation = rows(9)
    found = validate(host, list(SIX), validation, 0, Ranks()).loss
    targets = sum(target_count(row) for row in validation)
    for name in SIX:
        with torch.no_grad():
            one_by_one = [
                float(pack_losses(host, 0, {name: AdapterBatch([row])}).loss[name])
                for row in validation
            ]
        assert found[name] == pytest.approx(math.fsum(one_by_one) / targets, abs=1e-12)


def test_a_loss_does_not_depend_on_the_order_of_the_rows() -> None:
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "s", SIX["perft-s"])
    validation = rows(7)
    there = validate(host, ["s"], validation, 0, Ranks()).loss["s"]
    back = validate(host, ["s"], validation[::-1], 0, Ranks()).loss["s"]
    assert there == pytest.approx(back, abs=1e-12)


def test_validation_keeps_no_graph_and_drops_nothing_out() -> None:
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "s", SIX["perft-s"])
    config = type(SIX["perft-s"])(rank=4, dropout=0.5)
    host.load("dropping", config, host.tensors("s"))
    found = validate(host, ["s", "dropping"], rows(5), 0, Ranks()).loss
    assert found["s"] == pytest.approx(found["dropping"], abs=1e-12)
    assert all(tensor.grad is None for tensor in host.tensors("s").values())
