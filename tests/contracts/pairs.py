"""A tiny task of preferences, trials that are trained on it, and what they prefer, plainly."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from contracts.bases import VOCABULARY
from contracts.packs import examples, trial, words
from perft.config import (
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.forward import TokenizedExample
from perft.injection import AdapterHost
from perft.tasks import Example, Split, Task
from perft.tasks.scoring import PREFERENCE
from perft.trial import TrialConfig


def pairs(count: int, seed: int) -> tuple[Example, ...]:
    """Those of `examples`, whose first word is right, each with an answer of another one."""
    rng = np.random.default_rng(seed + 100)
    made = []
    for example in examples(count, seed):
        wrong = 7 - int(example.answer[1:])  # w3 or w4
        rest = rng.integers(5, VOCABULARY, rng.integers(0, 6))
        made.append(replace(example, rejected=words(np.append(wrong, rest))))
    return tuple(made)


def pair_task(train: int = 21, validation: int = 11, test: int = 7) -> Task:
    return Task(
        name="pairs of words",
        train=Split("train", pairs(train, 1), PREFERENCE),
        validation=Split("validation", pairs(validation, 2), PREFERENCE),
        tests=(Split("test", pairs(test, 3), PREFERENCE),),
    )


DPO: dict[str, TrialConfig] = {
    "r": trial(
        RoutedConfig(rank=3, num_experts=3, top_k=2, dropout=0.1, balance=0.3),
        objective="dpo", beta=0.5, seed=1,
    ),
    "e": trial(EmbeddedConfig(rank=2), objective="dpo", beta=0.1, lr=3e-3, max_length=9),
    "s": trial(
        SingleConfig(rank=4, base_balance=0.5), objective="dpo", beta=2.0, batch_size=3, seed=7
    ),
    "lora-qv": trial(LoraQVConfig(rank=3, dropout=0.1), objective="dpo", batch_size=2),
    "lora-experts": trial(LoraExpertsConfig(rank=2), objective="dpo", beta=1.0),
}  # fmt: skip
"""Trials on pairs, whose betas, rates, lengths and batches differ."""

MIXED: dict[str, TrialConfig] = {
    **DPO,
    "sft": trial(SingleConfig(rank=2, dropout=0.1), batch_size=5),
    "sft-all": trial(LoraAttentionConfig(rank=2), loss_on="all"),
}
"""Two more that are trained on the chosen answers alone."""


def answer_log(host: AdapterHost, name: str | None, row: TokenizedExample) -> Tensor:
    """The log-probability of an answer, with one adapter or none."""
    ids, free = row
    ids_S = torch.from_numpy(ids.astype("int64"))
    host.activate(name)
    log_SV = host.model(ids_S.unsqueeze(0)).logits[0].log_softmax(-1)
    host.activate(None)
    return torch.stack([log_SV[t - 1, ids_S[t]] for t in range(free, len(ids))]).sum()


def plain_margins(host: AdapterHost, name: str, rows: list[TokenizedExample]) -> Tensor:
    """How much more the adapter favours each chosen answer than the base does, nats."""
    gains = []
    for row in rows:
        with torch.no_grad():
            reference = answer_log(host, None, row)
        gains.append(answer_log(host, name, row) - reference)
    return torch.stack([c - r for c, r in zip(gains[::2], gains[1::2], strict=True)])
