"""One training step of several trials, three ways: packed, one after another, and the base alone.

What `pack_throughput.py` and `gpu_pack.py` measure. The floor is what no adapter can go below: a
forward and backward pass through the base with the same tokens, and the loss.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
    TrainingConfig,
)
from perft.forward.batch import collate
from perft.injection import AdapterHost
from perft.models.head import has_plain_head, token_losses
from perft.ranks import Ranks
from perft.training.live_bytes import LiveBytes
from perft.training.optimizer import AdapterOptimizer
from perft.training.passes import fewer_tokens, is_out_of_memory, tokens_per_pass
from perft.training.step import Pass, TrialBatch, gradients_of, passes_on

MIX: tuple[AdapterConfig, ...] = (
    RoutedConfig(rank=8, num_experts=4, top_k=2),
    SingleConfig(rank=8),
    EmbeddedConfig(rank=8),
    LoraQVConfig(rank=8),
    DenseConfig(rank=8, num_experts=2),
    LoraRouterConfig(rank=8),
    RoutedConfig(rank=16, num_experts=8, top_k=2),
    SingleConfig(rank=16),
)
"""Adapters of the trials, in turn."""


def mixed(count: int) -> tuple[AdapterConfig, ...]:
    """The adapters of so many trials."""
    return tuple(MIX[i % len(MIX)] for i in range(count))


Sides = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Size:
    """The trials' adapters, and of each trial's batch the rows and the longest row's tokens."""

    adapters: tuple[AdapterConfig, ...]
    rows: int
    length: int


class Step:
    """One step of several trials on a base; tokens and targets are random, lengths differ.

    Args:
        model: the base.
        size: how much there is to do.
        ranks: the processes that share the base.
        checkpointing: whether the base's layers run again in the backward pass.
    """

    def __init__(
        self, model: PreTrainedModel, size: Size, ranks: Ranks, *, checkpointing: bool = False
    ) -> None:
        self.host = AdapterHost(model)
        self.ranks = ranks
        hidden_size = self.host.blocks[0].hidden_size
        self.tokens = tokens_per_pass(ranks.device.type, hidden_size, ranks.size)
        self._checkpointing = checkpointing
        self.batches: dict[str, TrialBatch] = {}
        training = TrainingConfig(lr=1e-3, batch_size=size.rows, max_length=size.length)
        random = np.random.default_rng(0)
        for i, adapter in enumerate(size.adapters):
            self.host.add(f"trial{i}", adapter, seed=i)
            lengths = random.integers(size.length * 3 // 4, size.length + 1, size.rows)
            rows = [(random.integers(3, 100, n).astype(np.int32), n // 2) for n in lengths]
            optimizer = AdapterOptimizer(self.host.tensors(f"trial{i}"), training)
            self.batches[f"trial{i}"] = TrialBatch(training, 0, rows, optimizer)
        has_plain_head(model)

    def sides(self) -> Sides:
        """What is measured, by name."""
        return {"packed": self.packed, "sequential": self.sequential, "floor": self.floor}

    def packed(self) -> None:
        """All trials at once, as a pack trains them."""
        self._train(self.batches)

    def sequential(self) -> None:
        """One trial after another on the same base."""
        for name, batch in self.batches.items():
            self._train({name: batch})

    def floor(self) -> None:
        """The same passes through the base alone, with a gradient from its first MoE block on."""
        model = self.host.model
        first = self.host.blocks[0].module
        handle = first.register_forward_hook(lambda _m, _a, y_BSD: y_BSD.requires_grad_())
        for names in (each.names for each in self._together(self.batches)):
            rows = [row for name in names for row in self.batches[name].on(self.ranks).rows]
            batch = collate([rows], 0, self.ranks.device)
            loss_N: Tensor = token_losses(
                model, batch.ids_BS, batch.position_N, batch.label_N, plain=has_plain_head(model)
            )
            loss_N.sum().backward()  # type: ignore[no-untyped-call]
        handle.remove()

    def _together(self, batches: Mapping[str, TrialBatch]) -> list[Pass]:
        shapes = {name: batch.shape for name, batch in batches.items()}
        return passes_on(self.host, self.ranks, shapes, self.tokens)

    def real_tokens(self) -> int:
        """Tokens of all trials, without padding, over all ranks."""
        return sum(len(ids) for batch in self.batches.values() for ids, _ in batch.rows)

    def fit(self) -> int:
        """Takes smaller passes until a packed step has memory enough, as a pack does.

        Returns:
            How many passes it then has.
        """
        while True:
            together = self._together(self.batches)
            try:
                self.packed()
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                shapes = {name: batch.shape for name, batch in self.batches.items()}
                self.tokens = fewer_tokens(shapes, [each.names for each in together])
            else:
                return len(together)
            # Only here, after the error is gone, do its frames no longer hold the activations.
            for batch in self.batches.values():
                batch.optimizer.skip()
            torch.cuda.empty_cache()

    def trained_bytes(self) -> int:
        """Bytes that this rank needs beyond the base, at the peak of a packed step."""
        return self.step_bytes() + sum(
            3 * tensor.numel() * tensor.element_size()  # AdamW keeps two moments
            for name in self.batches
            for tensor in self.host.tensors(name).values()
        )

    def step_bytes(self) -> int:
        """The same beyond the adapters and what their optimisers keep, too."""
        self.packed()  # AdamW makes its moments in its first step
        if self.ranks.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            self.packed()
            peak: int = torch.cuda.max_memory_allocated() - before
            return peak
        live = LiveBytes([*self.host.model.parameters(), *self.host.model.buffers()])
        with live:
            self.packed()
        return live.peak

    def close(self) -> None:
        """Takes the adapters off the base."""
        for name in self.batches:
            self.host.remove(name)

    def _train(self, batches: Mapping[str, TrialBatch]) -> None:
        gradients_of(
            self.host,
            0,
            self.ranks,
            batches,
            self._together(batches),
            checkpointing=self._checkpointing,
        )
        for batch in batches.values():
            batch.optimizer.step(1e-3)


def seconds(sides: Sides, turns: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Seconds of every turn by side; the sides take turns, after one turn of warming up."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(turns + 1):
        for name, run in sides.items():
            start = clock()
            run()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn:
                found[name].append(clock() - start)
    return found


def ratio(one: list[float], other: list[float]) -> float:
    """Median over the turns of how many times longer `one` took than `other`."""
    return median(a / b for a, b in zip(one, other, strict=True))


def clock_of(ranks: Ranks) -> Callable[[], float]:
    """CPU time of this process where it works alone on one thread: others do not disturb it."""
    alone = ranks.size == 1 and ranks.device.type == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter
