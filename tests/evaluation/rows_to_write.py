"""Rows of many adapters that generation continues, and a host to continue them on."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from contracts.adapters import EVERY, add_random, possible
from contracts.bases import VOCABULARY, tiny_base
from perft.evaluation import Opening, decoding, fixed, generate
from perft.evaluation.decoding import Openings
from perft.injection import AdapterHost
from perft.models.capture import Capture, Step
from perft.ranks import Ranks

PAD, EOS = 0, 1

Use = Callable[[Capture | None], None]


def limit_tokens(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    """Of a batch, and of a pass over prompts."""
    for module in (decoding, fixed):
        monkeypatch.setattr(module, "TOKENS_PER_FORWARD", tokens)


def uncaptured(step: Step) -> Step:
    return step


def host_with(family: str, some: dict = EVERY) -> AdapterHost:
    model = tiny_base(family, torch.float64)
    model.set_experts_implementation("batched_mm")  # which need not wait for the device
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[EOS] = head[2:12].mean(0) * 5  # rows end at different steps
    host = AdapterHost(model)
    for seed, (name, config) in enumerate(possible(host, some).items()):
        add_random(host, name, config, seed)
    return host


def ragged(names: list[str | None], most: int = 7) -> Openings:
    """Rows of lengths and rooms that differ, of every adapter another number of them."""
    rng = np.random.default_rng(5)
    return {
        name: [
            Opening(
                rng.integers(2, VOCABULARY, rng.integers(1, 9)).astype(np.int32),
                int(rng.integers(1, 13)),
            )
            for _ in range(1 + (3 * n) % most)
        ]
        for n, name in enumerate(names)
    }


def written(host: AdapterHost, openings: Openings) -> dict:
    return generate(host, openings, pad=PAD, eos=EOS, ranks=Ranks())
