"""Layers under activation checkpointing recompute where they are told to."""

import functools
from contextlib import nullcontext
from typing import Any

import pytest
from torch.utils.checkpoint import checkpoint

from contracts.adapters import SIX, token_ids
from contracts.bases import tiny_base
from perft.injection import AdapterHost
from perft.models.checkpointing import recompute_in

IDS = token_ids(2)


def test_every_layer_asks_for_the_contexts_once_in_a_pass():
    model, asked = tiny_base("olmoe").train(), []
    model.activation_checkpointing_enable()
    for _ in range(2):  # a second time changes nothing
        recompute_in(model, lambda: (nullcontext(), asked.append(1) or nullcontext()))
    model(IDS)
    assert len(asked) == len(model.model.layers)


def test_contexts_of_ones_own_stay():
    model, asked = tiny_base("olmoe").train(), []
    own = lambda: (nullcontext(), asked.append("own") or nullcontext())  # noqa: E731
    model.activation_checkpointing_enable({"use_reentrant": False, "context_fn": own})
    recompute_in(model, lambda: (nullcontext(), asked.append("other") or nullcontext()))
    model(IDS)
    assert set(asked) == {"own"}


def test_base_without_checkpointing_is_left_alone():
    model = tiny_base("olmoe").train()
    recompute_in(model, lambda: pytest.fail("nothing is recomputed"))
    model(IDS, labels=IDS)
    assert not any(hasattr(layer, "_gradient_checkpointing_func") for layer in model.model.layers)


def test_reentrant_kind_is_refused():
    model = tiny_base("olmoe").train()
    host = AdapterHost(model)
    host.add("a", SIX["perft-r"])
    host.activate("a")
    model.activation_checkpointing_enable({"use_reentrant": True})
    with pytest.raises(ValueError, match="use_reentrant=False"):
        model(IDS, labels=IDS)


def test_a_function_that_wraps_torchs_own_asks_for_the_contexts_too():
    """As that of `activation_checkpointing_enable(offload=True)`."""
    model, asked = tiny_base("olmoe").train(), []

    def wrapped(function: Any, *args: Any, **settings: Any) -> Any:
        return checkpoint(function, *args, **settings)

    model.activation_checkpointing_enable()
    for layer in model.model.layers:
        layer._gradient_checkpointing_func = functools.partial(wrapped, use_reentrant=False)
    recompute_in(model, lambda: (nullcontext(), asked.append(1) or nullcontext()))
    model(IDS)
    assert len(asked) == len(model.model.layers)
