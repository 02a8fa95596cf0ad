"""Pretrains the built-in base, and its likes of other architectures, from nothing but a seed.

The same seed, settings and library versions on the same kind of machine give the same weights.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from perft.models.pretrain.architectures import ARCHITECTURES
from perft.synthetic.pretraining import documents


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """How a tiny base is built.

    Attributes:
        architecture: one of `ARCHITECTURES`; the built-in base is "olmoe".
        seed: seeds tokenizer, initial weights and text.
        steps: optimiser steps.
        batch_size: rows per step.
        row_length: tokens per row; whole documents fill a row and the last one is cut.
        lr: peak learning rate of AdamW, reached after `warmup_steps`, then a cosine to 0.
        weight_decay: decoupled weight decay.
        clip_norm: largest 2-norm of the gradient.
        balance: coefficient of the base router's load-balancing loss.
    """

    architecture: str = "olmoe"
    seed: int = 0
    steps: int = 3000
    batch_size: int = 32
    row_length: int = 96
    lr: float = 3e-3
    warmup_steps: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    balance: float = 0.01


MAX_LENGTH = 1024


def build_model(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig) -> PreTrainedModel:
    """The untrained base."""
    torch.manual_seed(config.seed)
    settings = {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_LENGTH,
        "router_aux_loss_coef": config.balance,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        ARCHITECTURES[config.architecture](settings)
    )
    return model


def pretrain(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    config: PretrainConfig,
    on_step: Callable[[int, float], None],
) -> None:
    """Trains `model` in place on the synthetic text.

    Args:
        model: the untrained base.
        tokenizer: its tokenizer.
        config: the recipe.
        on_step: called after every step with the number of steps done and the loss.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, betas=(0.9, 0.98), weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, config))
    rows = _rows(tokenizer, config)
    model.train()
    for step in range(1, config.steps + 1):
        batch = torch.tensor([next(rows) for _ in range(config.batch_size)])
        output = model(input_ids=batch, labels=batch, output_router_logits=True)
        loss: Tensor = output.loss
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        on_step(step, loss.item())
    model.eval()


def _rate(step: int, config: PretrainConfig) -> float:
    """Share of the peak learning rate in step `step`, counted from 0."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, config.steps - config.warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def _rows(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig) -> Iterator[list[int]]:
    """Token rows of `row_length`, each beginning with a new document."""
    texts = documents(config.seed)
    while True:
        row: list[int] = []
        while len(row) < config.row_length:
            row += [*tokenizer.encode(next(texts)), tokenizer.eos_token_id]
        yield row[: config.row_length]
