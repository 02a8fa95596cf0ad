"""Greedy generation with a KV cache says what generation without one says."""

import pytest
import torch
from torch import Tensor

from contracts.adapters import SIX, add_random, token_ids
from contracts.bases import FAMILIES, tiny_base
from perft.errors import AdapterError
from perft.injection import AdapterHost, rows_of

NEW_TOKENS = 8


def greedy(host: AdapterHost, ids: Tensor, mask: Tensor | None = None, *, cache: bool) -> Tensor:
    """The new tokens; never the end token, so that all rows go on to the end."""
    mask = torch.ones_like(ids) if mask is None else mask
    found: Tensor = host.model.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        use_cache=cache,
    )
    return found[:, ids.shape[1] :]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", SIX)
def test_cached_decoding_of_the_active_adapter_equals_uncached(variant: str, family: str):
    host = AdapterHost(tiny_base(family))
    ids = token_ids(4, length=5)
    base = greedy(host, ids, cache=True)
    add_random(host, "a", SIX[variant])
    host.activate("a")
    cached = greedy(host, ids, cache=True)
    assert torch.equal(cached, greedy(host, ids, cache=False))
    assert not torch.equal(cached, base), "the adapter must have a say"


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_decoding_of_a_pack_equals_uncached_and_each_adapter_alone(family: str):
    host = AdapterHost(tiny_base(family))
    for seed, (name, config) in enumerate(SIX.items()):
        add_random(host, name, config, seed)
    ids = token_ids(14, length=5)
    layout = rows_of({**dict.fromkeys(SIX, 2), None: 2})
    with host.using(layout):
        cached = greedy(host, ids, cache=True)
        assert torch.equal(cached, greedy(host, ids, cache=False))
    for segment in layout.segments:
        rows = slice(segment.start, segment.stop)
        host.activate(segment.name)
        assert torch.equal(cached[rows], greedy(host, ids[rows], cache=True)), segment.name


def test_prompts_padded_on_the_left_are_answered_as_without_padding():
    host = AdapterHost(tiny_base("olmoe"))
    for seed, (name, config) in enumerate(SIX.items()):
        add_random(host, name, config, seed)
    ids = token_ids(6, length=5)
    padded = torch.nn.functional.pad(ids, (3, 0))
    mask = torch.nn.functional.pad(torch.ones_like(ids), (3, 0))
    with host.using(rows_of(dict.fromkeys(SIX, 1))):
        assert torch.equal(greedy(host, padded, mask, cache=True), greedy(host, ids, cache=True))


def test_beam_search_under_a_layout_is_refused():
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "a", SIX["perft-s"])
    ids = token_ids(2, length=5)
    with (
        host.using(rows_of({"a": 2})),
        pytest.raises(AdapterError, match="2 rows and the batch has 6; beam search"),
    ):
        host.model.generate(ids, attention_mask=torch.ones_like(ids), num_beams=3, max_new_tokens=2)


def test_beam_search_of_the_active_adapter_works():
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "a", SIX["perft-s"])
    host.activate("a")
    ids = token_ids(2, length=5)
    found = host.model.generate(
        ids, attention_mask=torch.ones_like(ids), num_beams=3, max_new_tokens=2, min_new_tokens=2
    )
    assert found.shape == (2, 7)
