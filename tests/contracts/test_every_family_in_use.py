"""On every MoE family adapters train under activation checkpointing and decode with a cache."""

import torch
from torch import Tensor

from contracts.adapters import (
    SIX,
    add_random,
    next_token_loss,
    possible,
    take_gradients,
    token_ids,
)
from contracts.bases import answer, every_family, every_family_but, tiny_base
from perft.injection import AdapterHost, BatchLayout, rows_of

NEW_TOKENS = 5


def packed(family: str) -> tuple[AdapterHost, BatchLayout]:
    """A host with one adapter of each possible variant, and two rows for each."""
    host = AdapterHost(tiny_base(family))
    for seed, (name, config) in enumerate(possible(host, SIX).items()):
        add_random(host, name, config, seed)
    return host, rows_of({**dict.fromkeys(host.configs, 2), None: 1})


def gradients(host: AdapterHost, layout: BatchLayout) -> dict[str, dict[str, Tensor]]:
    ids = token_ids(layout.rows)
    torch.manual_seed(3)  # dropout and noise of the base's own
    with host.using(layout):
        logits = answer(host.model, ids)
    # Whatever is in force by then, the backward pass repeats the forward pass as it was.
    with host.using(rows_of({None: layout.rows})):
        next_token_loss(logits, ids).backward()
    return {name: take_gradients(host, name) for name in host.configs}


@every_family_but("jetmoe")  # whose activations transformers cannot checkpoint
def test_activation_checkpointing_changes_no_gradient(family: str):
    host, layout = packed(family)
    host.model.train()
    host.model.config.use_cache = False
    wanted = gradients(host, layout)
    host.model.activation_checkpointing_enable(
        activation_checkpointing_kwargs={
            "use_reentrant": False,
            "context_fn": host.checkpoint_contexts,
        }
    )
    found = gradients(host, layout)
    for name, tensors in wanted.items():
        for key, gradient in tensors.items():
            torch.testing.assert_close(
                found[name][key], gradient, rtol=1e-9, atol=1e-12, msg=f"{name}: {key}"
            )


@every_family
def test_cached_decoding_of_a_pack_equals_the_full_forward_pass(family: str):
    host, layout = packed(family)
    ids = token_ids(layout.rows, length=5)
    settings = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
    with host.using(layout):
        cached, full = (
            host.model.generate(
                ids, attention_mask=torch.ones_like(ids), use_cache=cache, **settings
            )
            for cache in (True, False)
        )
    assert torch.equal(cached, full)
    host.activate(None)
    base = host.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    assert not torch.equal(cached, base), "the adapters must have a say"
