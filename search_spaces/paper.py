"""Study of the authors' own runs on commonsense questions: do their scores come out again?

Their recipe on OLMoE-1B-7B: batches of 16, 32,000 steps (3 epochs) after 100 of warm-up, 256
tokens, alpha of 2 r, their initial tensors, and one rate for each kind of adapter: 1e-5 for PERFT,
with a balance loss of the base's router, and 2e-5 for LoRA. They decoded with 4 beams and without
an attention mask; here decoding is greedy, and masked. On the built-in base the rates are 1,000
times as high, and the training is that of the space `commonsense`.
"""

import dataclasses

from perft import (
    AdapterConfig,
    EmbeddedConfig,
    LoraQVConfig,
    SearchSpace,
    SingleConfig,
    TrainingConfig,
)
from perft.studies import Design, Published
from perft.studies.answers import Cell
from perft.studies.published import Row
from search_spaces import commonsense

_SCORES = {
    "LoRA q,v": {4: 60.98, 8: 63.58, 16: 65.58, 32: 67.98},
    "LoRA q,v, balanced": {32: 68.50},
    "PERFT-S": {8: 63.06, 16: 62.15, 32: 58.76, 64: 53.28},
    "PERFT-E": {4: 71.00, 8: 69.95, 16: 70.00, 32: 69.89},
}
"""By kind and rank, the mean over seven tasks in percent."""
_BALANCE = 0.01
_PERFT, _LORA = 1.0, 2.0
"""Factors of the usual rate."""


def usual(builtin: bool) -> TrainingConfig:
    """The training configuration with PERFT's rate."""
    if builtin:
        return dataclasses.replace(commonsense.training(builtin), lr=1e-2)
    return TrainingConfig(
        lr=1e-5, batch_size=16, max_steps=32_000, warmup_steps=100, max_length=256
    )


def _adapter(kind: str, rank: int) -> AdapterConfig:
    match kind:
        case "LoRA q,v":
            return LoraQVConfig(rank=rank)
        case "LoRA q,v, balanced":
            return LoraQVConfig(rank=rank, base_balance=_BALANCE)
        case "PERFT-S":
            return SingleConfig(rank=rank, init="perft", base_balance=_BALANCE)
        case _:
            return EmbeddedConfig(rank=rank, init="perft", base_balance=_BALANCE)


def _name(kind: str, rank: int) -> str:
    return f"{kind} r{rank}"


DESIGN = Design(
    adapters={_name(k, r): _adapter(k, r) for k, scores in _SCORES.items() for r in scores},
    rates=(_PERFT, _LORA),
    usual=usual,
)
STUDY = Published(
    question="Do the authors' scores on commonsense questions come out again?",
    design=DESIGN,
    rows=[
        Row(kind, Cell(_name(kind, rank), _LORA if "LoRA" in kind else _PERFT), score)
        for kind, scores in _SCORES.items()
        for rank, score in scores.items()
    ],
    claims=[
        ("PERFT-E r4", "LoRA q,v r4"),
        ("PERFT-E r32", "LoRA q,v r32"),
        ("LoRA q,v r32", "LoRA q,v r4"),
        ("PERFT-S r8", "PERFT-S r64"),
        ("PERFT-E r8", "PERFT-S r8"),
    ],
    source="Published: OLMoE-1B-7B, mean over seven tasks, counted from the predictions in the "
    "authors' repository github.com/liuyilun2000/PERFUME (September 2024), which predate the "
    "paper.",
)
SPACE = SearchSpace.of_study("commonsense", STUDY)
