"""A host with adapters, and prompts, for tests of serving."""

import numpy as np
import torch

from contracts.adapters import SIX, add_random, possible
from contracts.bases import VOCABULARY, tiny_base
from perft.injection import AdapterHost

PAD, EOS, NEW = 0, 1, 9
NAMES: list[str | None] = ["perft-r", None, "perft-e", "lora-qv", "perft-s"]


def host_of(family: str) -> AdapterHost:
    """A tiny base in fp64 whose texts end at different tokens, with the adapters of `NAMES`."""
    host = AdapterHost(tiny_base(family, torch.float64))
    head = host.model.get_output_embeddings().weight
    with torch.no_grad():
        head[EOS] = head[2:12].mean(0) * 5
    some = {name: config for name, config in SIX.items() if name in NAMES}
    assert list(possible(host, some)) == list(some)
    for seed, (name, config) in enumerate(some.items()):
        add_random(host, name, config, seed)
    return host


def prompts(count: int, seed: int = 0) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(2, VOCABULARY, rng.integers(1, 14)).tolist() for _ in range(count)]


ADAPTERS = ("perft-r", "perft-e", "lora-qv")
"""Those of the service on the built-in base."""
LOOPBACK = "http://127.0.0.1:8000"
QUESTIONS = (
    "Sam has 12 buns. Ann gives Sam 7 more.",
    "What is 12 + 7? It is",
    "Is a fish in the sea?",
    "Tom",
    "The box is red. 4 boxes",
)
