"""What an adapter's step is compared with computes the same, and leaves the base as it was."""

import time
from pathlib import Path

import pytest
import torch
from torch import nn

from contracts.adapters import add_random, token_ids
from contracts.bases import tiny_base
from perft.config import EmbeddedConfig, RoutedConfig
from perft.injection import AdapterHost

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
@pytest.mark.parametrize(
    "config", [RoutedConfig(rank=3, num_experts=4, top_k=2), EmbeddedConfig(rank=3)]
)
@torch.no_grad()
def test_loop_over_experts_computes_what_perft_does(family, config, monkeypatch):
    import loop_over_experts

    model, ids = tiny_base(family, torch.float32), token_ids(2)
    host = AdapterHost(model)
    add_random(host, "a", config)
    weights = []  # in the order in which the loop makes its own
    for block in host.blocks:
        mine = {k: t for k, t in host.tensors("a").items() if k.startswith(f"{block.name}.")}
        down_MRD, up_MRD, *router = mine.values()
        pairs = zip(down_MRD, up_MRD.transpose(1, 2), strict=True)
        weights += [*router, *(weight for pair in pairs for weight in pair)]
    left = iter(weights)
    monkeypatch.setattr(loop_over_experts, "_weight", lambda *_: nn.Parameter(next(left)))
    host.activate("a")
    wanted = model(ids).logits
    host.activate(None)
    with loop_over_experts.loop_over_experts(model, config):
        found = model(ids).logits
    assert next(left, None) is None
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(model(ids).logits, wanted, rtol=0.1)


def test_all_contenders_are_measured_and_the_layer_is_the_base_s_again():
    import adapter_step

    model = tiny_base("olmoe", torch.float32, num_hidden_layers=1).requires_grad_(False)
    x_BSD, grad_BSD = torch.randn(2, 2, 5, model.config.hidden_size)
    step = adapter_step.Step(model, x_BSD.requires_grad_(), grad_BSD, time.process_time)
    before = model(token_ids(2)).logits
    added = adapter_step._added(step, turns=2)
    assert {name: len(seconds) for name, seconds in added.items()} == dict.fromkeys(
        adapter_step.CONTENDERS, 2
    )
    assert torch.equal(model(token_ids(2)).logits, before)
