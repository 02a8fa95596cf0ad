"""One training step of a pack: forward and backward through the base, many trials at a time.

The losses of the trials are added up before the backward pass. No row of one adapter reaches
another adapter's tensors, so the sum's gradient is each trial's own gradient, exactly.
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
    """What one trial brings to a step.

    Attributes:
        training: its training configuration.
        step: its optimiser steps done.
        rows: its whole batch, over all ranks; of an objective that reads pairs, two for each.
        optimizer: its optimiser.
        capacity: of each row; needed where micro-batches have fixed shapes.
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
        """What its loss is a mean over, over all ranks; at least 1."""
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
        """Rows that go through the base and the longest one's tokens, over all ranks."""
        return len(self.rows) * self.copies, max(len(ids) for ids, _ in self.rows)

    @property
    def kind(self) -> TrialShape:
        """What the shape of its micro-batches follows from."""
        assert self.capacity is not None, "micro-batches of fixed shapes need the room of a row"
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
        shape: what the batch is filled up to on each rank; None for the rows as they are.
    """

    names: Sequence[str]
    shape: BatchShape | None = None


def microbatches_on(
    host: AdapterHost, ranks: Ranks, shapes: Mapping[str, Shape], tokens: int
) -> list[MicroBatch]:
    """Which trials go through the base together; the same on every rank.

    A micro-batch takes the gradient down to the lowest layer that one of its adapters is in, for
    all of its rows, so trials share micro-batches with those that take it equally far down; but on
    several ranks, to gather the base for another pass costs more.

    Args:
        host: the base with the trials' adapters on it.
        ranks: the processes that share each batch.
        shapes: shape of each trial's batch, over all ranks.
        tokens: padded tokens of one pass on each rank.
    """
    depths = {name: host.gradient_depth(name) for name in shapes} if ranks.size == 1 else {}
    return [MicroBatch(names) for names in microbatches(shapes, tokens * ranks.size, depths)]


def fixed_microbatches_on(
    host: AdapterHost, fixed: FixedShapes, kinds: Mapping[str, TrialShape]
) -> list[MicroBatch]:
    """As `microbatches_on`, where every micro-batch has a fixed shape."""
    apart = sharing_groups(host, kinds)
    return [MicroBatch(names, shape) for shape, names in fixed.microbatches(kinds, apart)]


def sharing_groups(host: AdapterHost, names: Iterable[str]) -> dict[str, str]:
    """Trials that share micro-batches of fixed shapes with their own company alone, and which.

    Those with adapters inside modules of the base: what it computes around them rounds otherwise
    than for others, so they share micro-batches only with adapters inside the same modules.
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
        batches: what each trial brings.
        together: the micro-batches; the same on every rank.
        checkpointing: keep only the inputs of the decoder layers for the backward pass, and run
            each layer again there.

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
        del total  # with it goes what recomputed layers still hold, before the next pass
        means |= found[0]
        sums |= found[1]
    gradients = [g for batch in batches.values() for g in batch.optimizer.gradients()]
    ranks.all_reduce_([*gradients, *means.values()])
    return means, sums


def batch_of(
    host: AdapterHost, pad: int, ranks: Ranks, batches: Mapping[str, TrialBatch], one: MicroBatch
) -> PackBatch:
    """This rank's rows of a micro-batch; arguments as those of `gradients_of`."""
    return pack_batch(host, pad, {name: batches[name].on(ranks) for name in one.names}, one.shape)


@contextmanager
def forward_context(host: AdapterHost, one: MicroBatch, *, checkpointing: bool) -> Iterator[None]:
    """Inside, forward passes keep for the backward pass what such a micro-batch is to keep."""
    layers = decoder_layers(host.model) if checkpointing else []
    whole_depth = nullcontext() if one.shape is None else gradient_from_embeddings(host.model)
    with recomputed(layers, host.checkpoint_contexts), whole_depth:
        yield


@dataclass(frozen=True)
class Goal:
    """What a trial minimises in a step.

    Attributes:
        training: its training configuration, which says how.
        units: what its loss is a mean over, over all ranks.
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
    """Runs the base once over a batch, and adds up what its trials minimise.

    Args:
        host: the base with the trials' adapters on it.
        ranks: the processes that share each trial's batch.
        made: this rank's rows.
        goals: those of the batch's trials.

    Returns:
        The sum over trials, of this rank's part, with gradient; and without, this rank's part of
        each trial's mean loss, and its routing sums over all ranks.
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
    """This rank's part of a load-balancing term; nothing where it has no weight."""
    if not coefficient:
        return 0.0
    return coefficient * load_balancing_loss(mine, whole.load_M, whole.tokens)


def _over_ranks(
    parts: Sequence[Mapping[str, RouterSums]], ranks: Ranks
) -> list[dict[str, RouterSums]]:
    """The sums of all ranks; all trials' together, since every collective has its wait."""
    whole = [{name: _copied(sums) for name, sums in part.items()} for part in parts]
    each = [sums for part in whole for sums in part.values()]
    ranks.all_reduce_([t for s in each for t in (s.load_M, s.prob_M, s.entropy, s.tokens)])
    return whole


def _copied(sums: RouterSums) -> RouterSums:
    return RouterSums(
        sums.load_M.clone(), sums.prob_M.detach().clone(), sums.entropy.clone(), sums.tokens.clone()
    )
