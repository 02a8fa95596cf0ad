"""One training step of a pack: forward and backward through the base with many trials.

The losses of the trials are summed before the backward pass. No row of one adapter reaches
another adapter's tensors, so the gradient of the sum is exactly each trial's own gradient.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from perft.adapters.dropout import DropKey
from perft.adapters.routing import RouterSums, load_balancing_loss
from perft.adapters.table import router_balance
from perft.config import TrainingConfig
from perft.forward import (
    AdapterBatch,
    AdapterLosses,
    BatchShape,
    PackBatch,
    TokenizedExample,
    losses_of,
    pack_batch,
    target_count,
)
from perft.injection import AdapterHost
from perft.models.blocks import decoder_layers
from perft.models.checkpointing import recomputed
from perft.models.compiling import gradient_from_embeddings
from perft.ranks import Ranks
from perft.training.microbatches import Shape, microbatches
from perft.training.objective import Objective, objective_of
from perft.training.optimizer import AdapterOptimizer
from perft.training.shapes import FixedShapes, RowCapacity, TrialShape

Measures = tuple[dict[str, Tensor], dict[str, RouterSums]]
"""Mean loss per unit of the objective, and routing sums, of each trial."""


@dataclass(frozen=True)
class TrialBatch:
    """One trial's batch in a step.

    Attributes:
        training: its training configuration.
        step: its optimiser steps done.
        rows: its whole batch, over all ranks; two per pair for an objective that reads pairs.
        optimizer: its optimiser.
        capacity: of each row; needed if micro-batches have fixed shapes.
    """

    training: TrainingConfig
    step: int
    rows: Sequence[TokenizedExample]
    optimizer: AdapterOptimizer
    capacity: RowCapacity | None = None

    @property
    def objective(self) -> Objective:
        """What the trial minimises."""
        return objective_of(self.training)

    @property
    def units(self) -> int:
        """The number of units that its loss is a mean of, over all ranks; at least 1."""
        if self.objective.unit == "pair":
            return len(self.rows) // 2
        return max(1, sum(target_count(row) for row in self.rows))

    @property
    def tokens(self) -> int:
        """Tokens of its rows, over all ranks, each counted once."""
        return sum(len(ids) for ids, _ in self.rows)

    @property
    def copies(self) -> int:
        """How often each row goes through the base."""
        return 1 + self.objective.needs_reference

    @property
    def shape(self) -> Shape:
        """Number of rows that go through the base and tokens of the longest, over all ranks."""
        return len(self.rows) * self.copies, max(len(ids) for ids, _ in self.rows)

    @property
    def kind(self) -> TrialShape:
        """The properties that decide the shape of its micro-batches."""
        assert self.capacity is not None, "fixed shapes need the capacity of a row"
        objective = self.objective
        return TrialShape(
            len(self.rows), self.capacity, objective.reads_pairs, objective.needs_reference
        )

    def on(self, ranks: Ranks) -> AdapterBatch:
        """This rank's part of the batch; an example's rows stay together."""
        together = 1 + self.objective.reads_pairs
        share = ranks.local_slice(len(self.rows) // together)
        mine = slice(share.start * together, share.stop * together)
        drop = DropKey.of(self.training.seed, self.step, mine)
        return AdapterBatch(self.rows[mine], drop, self.objective.needs_reference)


@dataclass(frozen=True)
class MicroBatch:
    """Trials that go through the base together.

    Attributes:
        names: the trials.
        shape: the shape that the batch is filled up to on each rank; None for no filling.
    """

    names: Sequence[str]
    shape: BatchShape | None = None


def microbatches_on(
    host: AdapterHost, ranks: Ranks, shapes: Mapping[str, Shape], tokens: int
) -> list[MicroBatch]:
    """Which trials share a micro-batch; the same on every rank.

    The backward pass of a micro-batch goes down to the lowest layer with an adapter, for all rows,
    so trials share micro-batches with trials of the same depth; on several ranks they share with
    all, since gathering the base for another micro-batch costs more.

    Args:
        host: the base with the trials' adapters on it.
        ranks: the processes that share each batch.
        shapes: shape of each trial's batch, over all ranks.
        tokens: largest number of padded tokens of a micro-batch on each rank.
    """
    depths = {name: host.gradient_depth(name) for name in shapes} if ranks.size == 1 else {}
    return [MicroBatch(names) for names in microbatches(shapes, tokens * ranks.size, depths)]


def fixed_microbatches_on(
    host: AdapterHost, fixed: FixedShapes, kinds: Mapping[str, TrialShape]
) -> list[MicroBatch]:
    """Like `microbatches_on`, with a fixed shape for every micro-batch."""
    apart = sharing_groups(host, kinds)
    return [MicroBatch(names, shape) for shape, names in fixed.microbatches(kinds, apart)]


def sharing_groups(host: AdapterHost, names: Iterable[str]) -> dict[str, str]:
    """By trial, the group within which it shares micro-batches of fixed shapes.

    Only for trials with adapters inside modules of the base: there the base rounds differently, so
    they share micro-batches only with adapters inside the same modules.
    """
    return {name: inside for name in names if (inside := host.inside_of(name))}


def gradients_of(
    host: AdapterHost,
    pad: int,
    ranks: Ranks,
    batches: Mapping[str, TrialBatch],
    together: Sequence[MicroBatch],
    *,
    checkpointing: bool = False,
) -> Measures:
    """Computes every trial's gradient, summed over the ranks.

    Args:
        host: the base with the trials' adapters on it.
        pad: token id of padding.
        ranks: the processes that share each batch.
        batches: each trial's batch.
        together: the micro-batches; the same on every rank.
        checkpointing: keep only the inputs of the decoder layers for the backward pass, and
            recompute each layer there.

    Returns:
        The mean loss per unit and the routing sums of each trial, over all ranks.
    """
    means: dict[str, Tensor] = {}
    sums: dict[str, RouterSums] = {}
    for one in together:
        made = batch_of(host, pad, ranks, batches, one)
        goals = {name: Goal.of(batches[name]) for name in one.names}
        with forward_context(host, one, checkpointing=checkpointing):
            total, found = total_loss(host, ranks, made, goals)
            total.backward()  # type: ignore[no-untyped-call]
        del total  # frees what recomputed layers still hold, before the next micro-batch
        means |= found[0]
        sums |= found[1]
    gradients = [g for batch in batches.values() for g in batch.optimizer.gradients()]
    ranks.all_reduce_([*gradients, *means.values()])
    return means, sums


def batch_of(
    host: AdapterHost, pad: int, ranks: Ranks, batches: Mapping[str, TrialBatch], one: MicroBatch
) -> PackBatch:
    """This rank's rows of a micro-batch; arguments as for `gradients_of`."""
    return pack_batch(host, pad, {name: batches[name].on(ranks) for name in one.names}, one.shape)


@contextmanager
def forward_context(host: AdapterHost, one: MicroBatch, *, checkpointing: bool) -> Iterator[None]:
    """Inside, forward passes save for backward what the micro-batch needs."""
    layers = decoder_layers(host.model) if checkpointing else []
    whole_depth = nullcontext() if one.shape is None else gradient_from_embeddings(host.model)
    with recomputed(layers, host.checkpoint_contexts), whole_depth:
        yield


@dataclass(frozen=True)
class Goal:
    """The mean loss that a trial minimises in a step.

    Attributes:
        training: its training configuration, which names the objective.
        units: number of units that the loss is a mean of, over all ranks.
    """

    training: TrainingConfig
    units: Tensor | int

    @classmethod
    def of(cls, batch: TrialBatch) -> "Goal":
        """The goal of a batch."""
        return cls(batch.training, batch.units)

    def mean(self, found: AdapterLosses) -> Tensor:
        """This rank's part of the mean loss."""
        return objective_of(self.training).loss(found, self.training) / self.units


def total_loss(
    host: AdapterHost, ranks: Ranks, made: PackBatch, goals: Mapping[str, Goal]
) -> tuple[Tensor, Measures]:
    """Runs the base once over a batch, and sums the losses of its trials.

    Args:
        host: the base with the trials' adapters on it.
        ranks: the processes that share each trial's batch.
        made: this rank's rows.
        goals: by trial of the batch.

    Returns:
        This rank's part of the sum over trials, with gradient; and, without gradient, this rank's
        part of each trial's mean loss, and its routing sums over all ranks.
    """
    losses = losses_of(host, made)
    means = {name: goals[name].mean(losses.of(name)) for name in made.names}
    sums, base_sums = _over_ranks([losses.sums, losses.base_sums], ranks)
    total = torch.stack(list(means.values())).sum()
    for name, mine in losses.sums.items():
        total = total + _balance(router_balance(host.configs[name]), mine, sums[name])
    for name, mine in losses.base_sums.items():
        total = total + _balance(host.configs[name].base_balance, mine, base_sums[name])
    return total, ({name: mean.detach().clone() for name, mean in means.items()}, sums)


def _balance(coefficient: float, mine: RouterSums, whole: RouterSums) -> Tensor | float:
    """This rank's part of a load-balancing term; 0 without a coefficient."""
    if not coefficient:
        return 0.0
    return coefficient * load_balancing_loss(mine, whole.load_M, whole.tokens)


def _over_ranks(
    parts: Sequence[Mapping[str, RouterSums]], ranks: Ranks
) -> list[dict[str, RouterSums]]:
    """The sums over all ranks, in one collective for all trials."""
    whole = [{name: _copied(sums) for name, sums in part.items()} for part in parts]
    each = [sums for part in whole for sums in part.values()]
    ranks.all_reduce_([t for s in each for t in (s.load_M, s.prob_M, s.entropy, s.tokens)])
    return whole


def _copied(sums: RouterSums) -> RouterSums:
    return RouterSums(
        sums.load_M.clone(), sums.prob_M.detach().clone(), sums.entropy.clone(), sums.tokens.clone()
    )
