"""A micro-batch that is captured once as a graph and replayed until its trials change.

The device waits for Python in a short micro-batch, but not in a graph. All that changes from step
to step is in tensors at fixed addresses: rows, predicted positions, dropout keys, and each trial's
number of predictions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from perft.adapters.routing import RouterSums
from perft.compat.torch import copy_all
from perft.forward import PackBatch
from perft.injection import AdapterHost
from perft.models.capture import Capture
from perft.ranks import Ranks
from perft.training.step import (
    Goal,
    Measures,
    MicroBatch,
    TrialBatch,
    batch_of,
    forward_context,
    total_loss,
)


class CapturedMicroBatch:
    """One micro-batch of the same trials, step after step, on a lone rank.

    Args:
        host: the base with the trials' adapters on it.
        pad: token id of padding.
        one: the micro-batch, of a fixed shape.
        capture: turns a function into one that replays its operations.
        checkpointing: whether the base's layers are recomputed in the backward pass.
    """

    def __init__(
        self, host: AdapterHost, pad: int, one: MicroBatch, capture: Capture, *, checkpointing: bool
    ) -> None:
        assert one.shape is not None, "a micro-batch that is captured has a fixed shape"
        self._host, self._pad, self._one = host, pad, one
        self._ranks = Ranks(device=host.model.device)
        self._checkpointing = checkpointing
        tensors = {name: host.tensors(name) for name in one.names}
        self._trained = [t for each in tensors.values() for t in each.values()]
        self._keys = [(name, key) for name, each in tensors.items() for key in each]
        self._absent: list[tuple[str, str]] = []
        self._batch: PackBatch | None = None
        self._units = torch.ones(len(one.names), device=host.model.device)
        self._goals: dict[str, Goal] = {}
        self._kept: list[Tensor] | None = None
        self._measures: Measures = ({}, {})
        self._replay = capture(self._step)

    def gradients(self, batches: Mapping[str, TrialBatch]) -> Measures:
        """Computes every trial's gradient, into its tensors' `grad`.

        Args:
            batches: each trial's batch; those of other trials are ignored.

        Returns:
            As `gradients_of`.
        """
        made = batch_of(self._host, self._pad, self._ranks, batches, self._one)
        if self._batch is None:
            self._batch = made
            self._goals = {
                name: Goal(batches[name].training, units)
                for name, units in zip(self._one.names, self._units, strict=True)
            }
        else:
            self._batch.refill(made)
        counts = [batches[name].units for name in self._one.names]
        self._units.copy_(torch.tensor(counts, device="cpu"))
        self._replay()
        assert self._kept is not None
        for tensor, gradient in zip(self._trained, self._kept, strict=False):
            tensor.grad = gradient
        for name in self._one.names:
            batches[name].optimizer.absent = [key for n, key in self._absent if n == name]
        # Copies: the next step overwrites these.
        return _measures_in(self._measures, [t.clone() for t in _tensors_of(self._measures)])

    def _step(self) -> None:
        """Runs forward and backward on the input tensors, and writes to the output tensors."""
        assert self._batch is not None
        with forward_context(self._host, self._one, checkpointing=self._checkpointing):
            total, measures = total_loss(self._host, self._ranks, self._batch, self._goals)
            # Not `backward`: gradient accumulation belongs to the stream that it first ran on.
            found = torch.autograd.grad(total, self._trained, allow_unused=True)
        self._absent = [k for k, found_k in zip(self._keys, found, strict=True) if found_k is None]
        gradients = [
            torch.zeros_like(tensor) if gradient is None else gradient
            for tensor, gradient in zip(self._trained, found, strict=True)
        ]
        now = [*gradients, *_tensors_of(measures)]
        if self._kept is None:
            # Gradients have their tensors' memory layout: AdamW requires it.
            self._kept = [torch.empty_like(t) for t in (*self._trained, *now[len(gradients) :])]
            self._measures = _measures_in(measures, self._kept[len(gradients) :])
        with torch.no_grad():
            copy_all(self._kept, now)


def _tensors_of(measures: Measures) -> list[Tensor]:
    means, sums = measures
    return [*means.values(), *(t for s in sums.values() for t in _parts(s))]


def _measures_in(like: Measures, tensors: Sequence[Tensor]) -> Measures:
    """The same measures, held in other tensors."""
    rest = iter(tensors)
    means = {name: next(rest) for name in like[0]}
    return means, {
        name: RouterSums(*(next(rest) for _ in _parts(s))) for name, s in like[1].items()
    }


def _parts(sums: RouterSums) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return sums.load_M, sums.prob_M, sums.entropy, sums.tokens
