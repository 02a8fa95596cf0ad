"""One training step of several trials, three ways: packed, one after another, and the base alone.

What `pack_throughput.py` and `gpu_pack.py` measure. Steps go the way of a pack's training, in its
shapes (`perft.training.stepper`). The floor is what no adapter can go below: the same micro-batches
through the base alone, forward and backward, and the loss; compiled where the base is.
"""

import functools
import gc
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from base_alone import BaseAlone
from transformers import PreTrainedModel
from turns import Sides

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
from perft.injection import AdapterHost
from perft.models.compiling import uncompiled
from perft.models.head import has_plain_head
from perft.ranks import Ranks
from perft.training.live_bytes import LiveBytes
from perft.training.optimizer import AdapterOptimizer
from perft.training.shapes import LENGTH_STEP, RowCapacity
from perft.training.step import MicroBatch, TrialBatch
from perft.training.stepper import Stepper

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


@dataclass(frozen=True)
class Size:
    """The trials' adapters, and of each trial's batch the rows and the longest row's tokens."""

    adapters: tuple[AdapterConfig, ...]
    rows: int
    length: int


@dataclass(frozen=True)
class Way:
    """How trained steps run.

    Attributes:
        name: for a table.
        compiled: in the compiled regions of a base that has them.
        captured: from their third time at the latest as a graph, on a device that has graphs.
    """

    name: str
    compiled: bool
    captured: bool


EAGER = Way("eager", compiled=False, captured=False)
COMPILED = Way("compiled", compiled=True, captured=False)
AS_TRAINED = Way("compiled and captured", compiled=True, captured=True)

UNTIL_CAPTURED = 3
"""A micro-batch runs twice as it is, at most, then it is captured (`perft.models.capture`)."""


@dataclass(frozen=True)
class StepBytes:
    """What a packed step takes of a device's memory, beyond the base, adapters and their moments.

    Attributes:
        live: of tensors, at the moment when there are most: what the memory prediction foretells.
        held: taken from the device for it: beside tensors what lies between them, and a captured
            pass's memory, which is nobody else's from then on. On a CPU as many as are live.
    """

    live: int
    held: int


class Step:
    """One step of several trials on a base; tokens and targets are random, lengths differ.

    Args:
        model: the base.
        size: how much there is to do.
        ranks: the processes that share the base.
        way: how packed and sequential steps run. The floor is captured where they are, and
            compiled even where they are not.
        checkpointing: whether the base's layers run again in the backward pass.
        tokens: padded tokens of one pass on each rank; None for what suits the device.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        size: Size,
        ranks: Ranks,
        *,
        way: Way = AS_TRAINED,
        checkpointing: bool = False,
        tokens: int | None = None,
    ) -> None:
        self.host = AdapterHost(model)
        self.ranks = ranks
        self._way, self._checkpointing = way, checkpointing
        random = np.random.default_rng(0)
        self.batches = {
            f"trial{i}": self._batch(i, size, random) for i in range(len(size.adapters))
        }
        has_plain_head(model)
        self._make = functools.partial(
            Stepper, self.host, ranks, pad=0, checkpointing=checkpointing
        )
        together = self._make(slots=len(self.batches))
        # One capture for all: what it captures shares its memory.
        self._capture = together.capture if way.captured else None
        self._together = self._stepper(
            tokens or together.max_tokens_per_microbatch, len(self.batches)
        )
        self._alone = {
            name: self._stepper(together.max_tokens_per_microbatch, slots=1)
            for name in self.batches
        }
        self._floors: list[BaseAlone] = []

    def sides(self) -> Sides:
        """What is measured, by name."""
        return {"packed": self.packed, "sequential": self.sequential, "floor": self.floor}

    def packed(self) -> None:
        """All trials at once, as a pack trains them."""
        self._train(self._together, self.batches)

    def sequential(self) -> None:
        """One trial after another on the same base, each as a pack of one trains it."""
        for name, batch in self.batches.items():
            self._train(self._alone[name], {name: batch})

    def floor(self) -> None:
        """The micro-batches of `packed` through the base alone, their gradients as far down."""
        if not self._floors:
            self._floors = [
                BaseAlone(
                    self.host,
                    one,
                    self.batches,
                    self.ranks,
                    capture=self._together.capture,
                    checkpointing=self._checkpointing,
                )
                for one in self.microbatches()
            ]
        for each in self._floors:
            each.run()

    def settle(self) -> None:
        """Runs every side until nothing is compiled or captured any more."""
        for run in self.sides().values():
            for _ in range(UNTIL_CAPTURED if self._capture else 1):
                run()

    def microbatches(self) -> list[MicroBatch]:
        """The micro-batches of a packed step; of fewer trials each once memory has run out."""
        return self._together.microbatches(self.batches)

    def real_tokens(self) -> int:
        """Tokens of all trials, without padding, over all ranks."""
        return sum(len(ids) for batch in self.batches.values() for ids, _ in batch.rows)

    def trained_bytes(self) -> int:
        """Bytes of tensors that this rank has beyond the base, at the peak of a packed step."""
        return self.step_bytes().live + sum(
            3 * tensor.numel() * tensor.element_size()  # AdamW keeps two moments
            for name in self.batches
            for tensor in self.host.tensors(name).values()
        )

    def step_bytes(self) -> StepBytes:
        """Measures the memory of packed steps, from their first until they are captured.

        A graph asks the allocator for nothing when it is replayed, but did when it was captured,
        from memory of its own. So both figures are the most there was from a fresh start on.
        """
        self.packed()  # AdamW makes its moments in its first step, and what is compiled is there
        if self.ranks.device.type != "cuda":
            live = LiveBytes([*self.host.model.parameters(), *self.host.model.buffers()])
            with self.counted(), live:
                self.packed()
            return StepBytes(live.peak, live.peak)
        self._together = self._stepper(self._together.max_tokens_per_microbatch, len(self.batches))
        _free()
        torch.cuda.reset_peak_memory_stats()
        allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        for _ in range(UNTIL_CAPTURED):
            self.packed()
        return StepBytes(
            torch.cuda.max_memory_allocated() - allocated,
            torch.cuda.max_memory_reserved() - reserved,
        )

    def counted(self) -> AbstractContextManager[None]:
        """Inside, what counts operators sees all of them: on a CPU nothing runs compiled."""
        on_cpu = self.ranks.device.type == "cpu"
        return uncompiled(self.host.model) if on_cpu else nullcontext()

    def close(self) -> None:
        """Takes the adapters off the base, and gives back the memory of what was captured."""
        for name in self.batches:
            self.host.remove(name)
        del self._together, self._alone, self._floors, self._capture
        if self.ranks.device.type == "cuda":
            _free()

    def _batch(self, i: int, size: Size, random: np.random.Generator) -> TrialBatch:
        """Adds the adapter of a trial and draws its rows; all trials' have the same room."""
        name = f"trial{i}"
        self.host.add(name, size.adapters[i], seed=i)
        lengths = random.integers(size.length * 3 // 4, size.length + 1, size.rows)
        rows = [(random.integers(3, 100, n).astype(np.int32), n // 2) for n in lengths]
        longest = -(-size.length // LENGTH_STEP) * LENGTH_STEP
        capacity = RowCapacity(longest, size.length - size.length // 2)
        training = TrainingConfig(lr=1e-3, batch_size=size.rows, max_length=size.length)
        optimizer = AdapterOptimizer(self.host.tensors(name), training)
        return TrialBatch(training, 0, rows, optimizer, capacity)

    def _stepper(self, tokens: int, slots: int) -> Stepper:
        stepper = self._make(slots=slots)
        stepper.capture = self._capture
        stepper.max_tokens_per_microbatch = tokens
        return stepper

    def _train(self, stepper: Stepper, batches: Mapping[str, TrialBatch]) -> None:
        manner: AbstractContextManager[None] = nullcontext()
        if not self._way.compiled:
            manner = uncompiled(self.host.model)
        with manner:
            stepper.gradients(batches)
        for batch in batches.values():
            batch.optimizer.step(1e-3)


def _free() -> None:
    """Gives memory that nothing needs back to the GPU; captured micro-batches go in cycles."""
    gc.collect()
    torch.cuda.empty_cache()
