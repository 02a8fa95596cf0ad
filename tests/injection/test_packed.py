"""An adapter answers and learns in a pack exactly as it does alone."""

import random

import pytest
import torch
from torch import Tensor

from contracts.adapters import SIX, add_random, next_token_loss, take_gradients, token_ids
from contracts.bases import FAMILIES, tiny_base
from perft.errors import AdapterError
from perft.injection import AdapterHost, BatchLayout, Segment, rows_of

ROWS = {"perft-r": 2, "perft-e": 1, "perft-d": 3, "perft-s": 1, "lora-qv": 2, "lora-router": 2}
BASE_ROWS = 2


def packed_host(family: str) -> AdapterHost:
    host = AdapterHost(tiny_base(family))
    for seed, (name, config) in enumerate(SIX.items()):
        add_random(host, name, config, seed)
    return host


def rows_of_each() -> dict[str | None, Tensor]:
    counts: dict[str | None, int] = {**ROWS, None: BASE_ROWS}
    return {name: token_ids(n, seed=20 + i) for i, (name, n) in enumerate(counts.items())}


Answers = dict[str | None, Tensor]
Gradients = dict[str, dict[str, Tensor]]


def answer_packed(host: AdapterHost, order: list[str | None]) -> tuple[Answers, Gradients]:
    """Logits and gradients of all, computed in one batch."""
    ids = rows_of_each()
    layout = rows_of({name: len(ids[name]) for name in order})
    with host.using(layout):
        logits = host.model(torch.cat([ids[name] for name in order])).logits
    parts = {segment.name: logits[segment.start : segment.stop] for segment in layout.segments}
    sum(next_token_loss(parts[name], ids[name]) for name in order if name).backward()
    return parts, {name: take_gradients(host, name) for name in order if name}


def answer_alone(host: AdapterHost, name: str | None) -> tuple[Tensor, dict[str, Tensor]]:
    ids = rows_of_each()[name]
    host.activate(name)
    logits = host.model(ids).logits
    host.activate(None)
    if name is None:
        return logits, {}
    next_token_loss(logits, ids).backward()
    return logits, take_gradients(host, name)


def assert_same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_equal_each_adapter_alone(family: str):
    host = packed_host(family)
    logits, gradients = answer_packed(host, [*ROWS, None])
    for name in ROWS:
        wanted_logits, wanted_gradients = answer_alone(host, name)
        assert_same(logits[name], wanted_logits)
        for key, wanted in wanted_gradients.items():
            assert_same(gradients[name][key], wanted)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_rows_without_a_name_are_the_base_alone(family: str):
    host = packed_host(family)
    ids = rows_of_each()
    layout = rows_of({"perft-s": 1, None: BASE_ROWS, "perft-e": 1})
    with host.using(layout):
        batch = torch.cat([ids["perft-s"], ids[None], ids["perft-e"]])
        logits = host.model(batch).logits[1 : 1 + BASE_ROWS]
    assert_same(logits, tiny_base(family)(ids[None]).logits)


@pytest.mark.parametrize("seed", range(4))
def test_order_of_the_adapters_does_not_matter(seed: int):
    host = packed_host("olmoe")
    order: list[str | None] = [*ROWS, None]
    logits, gradients = answer_packed(host, order)
    random.Random(seed).shuffle(order)
    again_logits, again_gradients = answer_packed(host, order)
    for name in ROWS:
        assert_same(again_logits[name], logits[name])
        for key, wanted in gradients[name].items():
            assert_same(again_gradients[name][key], wanted)


@pytest.mark.parametrize("name", ROWS)
@torch.no_grad()
def test_neighbours_do_not_matter(name: str):
    host = packed_host("mixtral")
    own = rows_of_each()[name]
    answers = []
    for neighbour, seed in (("perft-d", 1), ("lora-router", 2), ("perft-r", 3), (None, 4)):
        if neighbour == name:
            continue
        with host.using(rows_of({neighbour: 2, name: len(own)})):
            batch = torch.cat([token_ids(2, seed=seed), own])
            answers.append(host.model(batch).logits[2:])
    for answer in answers[1:]:
        assert_same(answer, answers[0])


@torch.no_grad()
def test_two_adapters_of_one_variant_and_different_rank_share_a_batch():
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "small", SIX["perft-r"], seed=1)
    add_random(host, "large", type(SIX["perft-r"])(rank=5, num_experts=4, top_k=3), seed=2)
    ids = token_ids(4)
    with host.using(rows_of({"small": 2, "large": 2})):
        packed = host.model(ids).logits
    for name, rows in (("small", slice(0, 2)), ("large", slice(2, 4))):
        host.activate(name)
        assert_same(packed[rows], host.model(ids[rows]).logits)


def test_padding_changes_no_answer_and_is_not_counted_by_the_peft_router():
    host = packed_host("olmoe")
    ids = rows_of_each()["perft-r"]
    mask = torch.ones_like(ids)
    layout = rows_of({"perft-r": len(ids)}, mask.bool())
    with host.using(layout):
        wanted = host.model(ids, attention_mask=mask).logits
    padded = torch.nn.functional.pad(ids, (0, 3))
    mask = torch.nn.functional.pad(mask, (0, 3))
    longer = rows_of({"perft-r": len(ids)}, mask.bool())
    with host.using(longer):
        found = host.model(padded, attention_mask=mask).logits[:, : ids.shape[1]]
    assert_same(found, wanted)
    sums, same = longer.sums["perft-r"], layout.sums["perft-r"]
    assert torch.equal(sums.load_M, same.load_M)
    assert_same(sums.prob_M, same.prob_M)
    assert_same(sums.entropy, same.entropy)
    assert sums.tokens == same.tokens == ids.numel() * len(host.blocks)


def test_peft_router_s_sums_are_the_same_packed_and_alone_for_routed_adapters_only():
    host = packed_host("olmoe")
    ids = rows_of_each()
    order = [*reversed(ROWS)]  # the routed adapter's rows come last
    batch = torch.cat([ids[name] for name in order])
    mask = torch.ones_like(batch, dtype=torch.bool)
    mask[-1, -3:] = False
    mask[0, -1:] = False
    own = mask[-ROWS["perft-r"] :]
    alone, packed = rows_of({"perft-r": len(own)}, own), rows_of({n: ROWS[n] for n in order}, mask)
    with host.using(alone):
        host.model(ids["perft-r"])
    with host.using(packed):
        host.model(batch)
    assert list(packed.sums) == ["perft-r"]
    found, wanted = packed.sums["perft-r"], alone.sums["perft-r"]
    assert float(wanted.tokens) == (own.numel() - 3) * len(host.blocks)
    for field in ("load_M", "prob_M", "entropy", "tokens"):
        assert_same(getattr(found, field), getattr(wanted, field))


def test_layout_of_another_number_of_rows_is_refused():
    host = packed_host("olmoe")
    with (
        host.using(rows_of({"perft-s": 3})),
        pytest.raises(AdapterError, match="3 rows and the batch has 2"),
    ):
        host.model(token_ids(2))


def test_layout_with_an_unknown_adapter_is_refused_with_the_nearest_name():
    host = packed_host("olmoe")
    with (
        pytest.raises(AdapterError, match=r"unknown adapter 'perft-x'; did you mean 'perft-"),
        host.using(rows_of({"perft-x": 1})),
    ):
        pass


def test_layout_s_end_brings_back_what_was_in_force_before():
    host = packed_host("olmoe")
    ids = token_ids(2)
    host.activate("perft-s")
    with torch.no_grad():
        wanted = host.model(ids).logits
        with pytest.raises(ZeroDivisionError), host.using(rows_of({"perft-d": 2})):
            raise ZeroDivisionError
        assert torch.equal(host.model(ids).logits, wanted)
        with host.using(rows_of({"perft-d": 2})):
            inside = host.model(ids).logits
            with host.using(rows_of({None: 2})):
                base = host.model(ids).logits
            assert torch.equal(host.model(ids).logits, inside)
        assert torch.equal(host.model(ids).logits, wanted)
    assert torch.equal(base, tiny_base("olmoe")(ids).logits)


def test_rows_are_laid_out_in_the_order_given():
    layout = rows_of({"b": 2, None: 1, "a": 3})
    assert layout.segments == (Segment("b", 0, 2), Segment(None, 2, 3), Segment("a", 3, 6))
    assert layout.rows == 6
    assert BatchLayout((Segment("a", 0, 4),)).rows == 4
