"""A tiny task, a tiny base, and ten mixed trials: what tests of training pack together."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from contracts.adapters import ONE_OF_EACH, OTHER_FORMS
from contracts.bases import VOCABULARY, tiny_base
from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
    TrainingConfig,
)
from perft.models.blocks import activated_parameters
from perft.models.load import Base
from perft.models.quantise import quantise
from perft.ranks import Ranks
from perft.tasks import Example, Scorer, Split, Task
from perft.training.pack import Pack
from perft.trial import Report, TrialConfig

SCORER = Scorer(
    protocol="first word",
    max_new_tokens=4,
    extract=lambda text: text.split()[0] if text.split() else None,
    matches=lambda found, label: found == label,
)


def words(ids: np.ndarray) -> str:
    return " ".join(f"w{i}" for i in ids)


def examples(count: int, seed: int) -> tuple[Example, ...]:
    """Prompts and completions of mixed lengths; an answer's first word is one of two."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        prompt = rng.integers(5, VOCABULARY, rng.integers(2, 11))
        answer = np.append(3 + prompt[-1] % 2, rng.integers(5, VOCABULARY, rng.integers(0, 4)))
        made.append(Example(words(prompt), words(answer), f"w{answer[0]}"))
    return tuple(made)


def tiny_task(train: int = 21, validation: int = 11, test: int = 7) -> Task:
    return Task(
        name="words",
        train=Split("train", examples(train, 1), SCORER),
        validation=Split("validation", examples(validation, 2), SCORER),
        tests=(Split("test", examples(test, 3), SCORER),),
    )


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One word per id; 0 pads, 1 ends."""
    vocabulary = {"<pad>": 0, "<end>": 1, "<unknown>": 2}
    vocabulary |= {f"w{i}": i for i in range(3, VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unknown>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unknown>", eos_token="<end>", pad_token="<pad>"
    )


def loaded_base(
    family: str = "olmoe",
    dtype: torch.dtype = torch.float64,
    experts: str | None = None,
    quantize: str = "none",
) -> Base:
    """A tiny base as `load_base` gives one; `experts` chooses the experts' implementation."""
    model = tiny_base(family, dtype)
    if experts is not None:
        model.set_experts_implementation(experts)
    model.requires_grad_(False)
    quantise(model, quantize)
    activated = activated_parameters(model)
    return Base(family, model, tiny_tokenizer(), Path(), "tiny", activated, quantize)


def tiny_pack(
    family: str = "olmoe",
    dtype: torch.dtype = torch.float64,
    *,
    experts: str | None = None,
    quantize: str = "none",
    task: Task | None = None,
    ranks: Ranks | None = None,
    checkpointing: bool = False,
    slots: int = 1,
    rung_accuracy: bool = True,
) -> Pack:
    return Pack(
        loaded_base(family, dtype, experts, quantize),
        task or tiny_task(),
        ranks or Ranks(),
        checkpointing=checkpointing,
        slots=slots,
        rung_accuracy=rung_accuracy,
    )


def trial(adapter: AdapterConfig, **training: object) -> TrialConfig:
    settings = {"lr": 1e-2, "batch_size": 4, "max_steps": 60, "warmup_steps": 5, "max_length": 16}
    return TrialConfig(adapter, TrainingConfig(**{**settings, **training}))  # type: ignore[arg-type]


TEN: dict[str, TrialConfig] = {
    "r": trial(RoutedConfig(rank=3, num_experts=3, top_k=2, dropout=0.1, balance=0.3), seed=1),
    "r-parallel": trial(
        RoutedConfig(rank=2, num_experts=4, top_k=2, form="parallel", normalize_top_k=True),
        batch_size=3,
        max_length=12,
    ),
    "e": trial(EmbeddedConfig(rank=2, dropout=0.2), lr=3e-3, loss_on="all", max_length=9),
    "d": trial(DenseConfig(rank=3, num_experts=2, init="perft"), batch_size=5, max_steps=50),
    "s": trial(SingleConfig(rank=4, alpha=3.0, base_balance=0.5), weight_decay=0.1, seed=7),
    "s-parallel": trial(
        SingleConfig(rank=2, form="parallel", activation="gelu", dropout=0.1),
        lr=3e-2,
        max_length=10,
    ),
    "lora-qv": trial(LoraQVConfig(rank=3, dropout=0.1), batch_size=2, clip_norm=0.1, max_steps=90),
    "lora-router": trial(LoraRouterConfig(rank=2), loss_on="all", warmup_steps=0),
    "lora-attention": trial(LoraAttentionConfig(rank=2, layers="last:1", dropout=0.1), seed=3),
    "lora-experts": trial(LoraExpertsConfig(rank=2, base_balance=0.1), batch_size=3),
}
"""Most variants and forms; rates, batch sizes, lengths, schedules and losses all differ."""


def _beside_ten() -> dict[str, TrialConfig]:
    known = [config.adapter.to_flat() for config in TEN.values()]
    variants, forms = ({k.get(key) for k in known} for key in ("variant", "form"))
    others = {n: c for n, c in ONE_OF_EACH.items() if n not in variants}
    routed = {n: c for n, c in OTHER_FORMS.items() if c.variant == TEN["r"].adapter.variant}
    others |= {n: c for n, c in routed.items() if c.to_flat()["form"] not in forms}
    return {name: trial(config) for name, config in others.items()}


BESIDE_TEN = _beside_ten()
"""The variants, and of PERFT-R the forms, that the ten leave out."""


def train_alone(
    name: str, config: TrialConfig, steps: int, *, pack: Pack
) -> tuple[dict[str, Tensor], Report]:
    """One trial as a pack of one: its adapter and its report at `steps`."""
    pack.admit(name, config)
    report = advance(pack, {name: steps})[name]
    found = copied(pack, name)
    pack.release(name)
    return found, report


def advance(pack: Pack, targets: Mapping[str, int]) -> dict[str, Report]:
    """Trains to `targets`; no trial may fail."""
    advanced = pack.advance(targets)
    for name, report in advanced.items():
        assert isinstance(report, Report), f"{name}: {report}"
    return advanced  # type: ignore[return-value]


def copied(pack: Pack, name: str) -> dict[str, Tensor]:
    return {key: tensor.detach().clone() for key, tensor in pack.host.tensors(name).items()}


def apart(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """Largest absolute difference between two adapters; infinite where either is not a number."""
    assert one.keys() == other.keys()
    worst = max(float((one[key] - other[key]).detach().abs().max()) for key in one)
    return worst if math.isfinite(worst) else math.inf
