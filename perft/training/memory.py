"""Predicts the memory of a pack of trials from a base's configuration, before loading anything.

The base's own code runs a micro-batch forward and backward, with the adapters on it, on fake
tensors, which have shapes and no memory. So this module knows no family or variant.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from perft.compat.torch import (
    GROUPED_MM,
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    TorchDispatchMode,
    replace_tensors,
)
from perft.config import AdapterConfig, TrainingConfig
from perft.config.training import ObjectiveName
from perft.errors import BaseModelError
from perft.forward import AdapterBatch, TokenizedExample, pack_losses
from perft.injection import AdapterHost
from perft.models.blocks import decoder_layers
from perft.models.implementations import AUTO, use_rehearsable
from perft.models.precision import NONE
from perft.models.quantise import quantise, stored_bytes, tensors_in
from perft.models.quantised_weight import QuantisedWeight
from perft.models.skeleton import skeleton_of
from perft.ranks import Ranks
from perft.training.live_bytes import LiveBytes
from perft.training.objective import OBJECTIVES
from perft.training.shapes import FixedShapes, RowCapacity, TrialShape
from perft.training.step import (
    Goal,
    MicroBatch,
    fixed_microbatches_on,
    forward_context,
    microbatches_on,
)

MOMENTS = 2
"""Tensors that AdamW keeps for each tensor of an adapter."""


@dataclass(frozen=True, kw_only=True)
class StepWorkload:
    """What goes through the base in a step.

    Attributes:
        rows: rows of one trial's batch, over all ranks; two per pair for an objective that reads
            pairs.
        length: tokens of each row.
        tokens: padded tokens of one forward pass on each rank.
        dtype: the base's.
        ranks: processes that share the base.
        experts: how the base's experts are computed, as `load_base` takes it.
        quantize: the precision of the base's large weights, as `load_base` takes it.
        checkpointing: whether the base's layers are recomputed in the backward pass.
        fixed: whether micro-batches have fixed shapes, for as many trials as are counted.
        objective: what the trials minimise.
    """

    rows: int
    length: int
    tokens: int
    dtype: torch.dtype
    ranks: int = 1
    experts: str = AUTO
    quantize: str = NONE
    checkpointing: bool = False
    fixed: bool = False
    objective: ObjectiveName = "sft"

    @property
    def kind(self) -> TrialShape:
        """The trial's properties that decide the shape of its micro-batches."""
        objective, capacity = OBJECTIVES[self.objective], RowCapacity(self.length, self.length)
        return TrialShape(self.rows, capacity, objective.reads_pairs, objective.needs_reference)


@dataclass(frozen=True, kw_only=True)
class PackMemory:
    """Bytes on each rank at the most demanding moment of a step.

    Attributes:
        base: this rank's shard of the base; with several ranks also what FSDP gathers at a time,
            two decoder layers and the parameters outside layers.
        adapters: the trials' tensors.
        gradients: of these tensors; twice with several ranks, which reduce them in one buffer.
        optimizer: AdamW's moments.
        activations: what the largest micro-batch keeps for its backward pass.
        transient: what that micro-batch needs beyond that: logits, and the backward pass's tensors.
    """

    base: int
    adapters: int
    gradients: int
    optimizer: int
    activations: int
    transient: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return sum(dataclasses.asdict(self).values())

    def trials_in(self, memory: int) -> int:
        """How many trials a device of `memory` bytes holds, if this is the memory of one trial.

        Each trial then has a micro-batch of its own, as after micro-batches ran out of memory.
        """
        state = self.adapters + self.gradients + self.optimizer
        return max(0, memory - (self.total - state)) // state


def pack_memory(
    config: PreTrainedConfig, adapters: Sequence[AdapterConfig], load: StepWorkload
) -> PackMemory:
    """Predicts the memory of a pack.

    Args:
        config: the base's.
        adapters: one for each trial.
        load: the workload of each trial, the same for all.

    Raises:
        BaseModelError: if the base's operations depend on the values of tensors.
    """
    names = {f"trial{i}": adapter for i, adapter in enumerate(adapters)}
    model = skeleton_of(config, load.dtype).eval()  # building it may compute with real numbers
    with torch.device("cpu"), FakeTensorMode():
        _fill(model)
        use_rehearsable(model, load.experts)
        quantise(model.requires_grad_(False), load.quantize)
        host = AdapterHost(model)
        for name, adapter in names.items():
            host.add(name, dataclasses.replace(adapter, dropout=0.0))
        trainable = [tensor for name in names for tensor in host.tensors(name).values()]
        try:
            each = (_rehearse(host, one, load) for one in _largest_microbatches(host, load))
            activations, transient = max(each, key=sum)
        except (DataDependentOutputException, DynamicOutputShapeException) as error:
            raise BaseModelError(
                f"what a step on a base of type {config.model_type!r} costs cannot be known before "
                f"it runs: its code looks at the values of tensors ({error.func}). Start with "
                "--slots 1; a step that runs out of memory is repeated in smaller micro-batches"
            ) from error
        state = sum(map(_bytes, trainable))
        return PackMemory(
            base=_base_bytes(model, trainable, load.ranks),
            adapters=state,
            gradients=state * (2 if load.ranks > 1 else 1),
            optimizer=MOMENTS * state,
            activations=activations,
            transient=transient,
        )


def _largest_microbatches(host: AdapterHost, load: StepWorkload) -> list[MicroBatch]:
    """The micro-batches of a step that may need most memory; all trials have one shape.

    For each set of base modules that adapters act inside of, the largest one.
    """
    ranks, names = Ranks(size=load.ranks), host.configs
    if load.fixed:
        vocabulary = len(host.model.get_output_embeddings().weight)
        fixed = FixedShapes(len(names), load.tokens, vocabulary, ranks)
        together = fixed_microbatches_on(host, fixed, dict.fromkeys(names, load.kind))
    else:
        shapes = dict.fromkeys(names, (load.rows * load.kind.copies, load.length))
        together = microbatches_on(host, ranks, shapes, load.tokens)
    largest: dict[str, MicroBatch] = {}
    for one in sorted(together, key=lambda one: len(one.names)):
        largest[host.inside_of(one.names[-1])] = one
    return list(largest.values())


def _rehearse(host: AdapterHost, one: MicroBatch, load: StepWorkload) -> tuple[int, int]:
    """Bytes kept for backward when a micro-batch's forward ends, and how many more at the peak."""
    kind, training = load.kind, TrainingConfig(lr=1.0, objective=load.objective)
    each = kind.rows_on(Ranks(size=load.ranks))
    parts = {
        # All rows differ: equal rows would go through the base alone only once.
        name: AdapterBatch(
            [_row(load.length, i * each + r) for r in range(each)], referenced=kind.referenced
        )
        for i, name in enumerate(one.names)
    }
    parameters = list(host.model.parameters())
    known = [part for tensor in parameters for part in tensors_in(tensor)]
    for tensor in parameters:
        if tensor.requires_grad:  # counted separately, so freed at once
            tensor.register_post_accumulate_grad_hook(_forget_gradient)
    with _GroupedProducts():  # type: ignore[no-untyped-call]
        pack_losses(host, 0, {name: AdapterBatch([_row(2)]) for name in one.names})  # fills caches
        with LiveBytes([*known, *host.model.buffers()]) as live:
            with forward_context(host, one, checkpointing=load.checkpointing):
                losses = pack_losses(host, 0, parts, one.shape)
                goal = Goal(training, 1)
                loss = torch.stack([goal.mean(losses.of(name)) for name in one.names]).sum()
            kept = live.now
            loss.backward()  # type: ignore[no-untyped-call]
    return kept, live.peak - kept


class _GroupedProducts(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives a fake grouped product its shape in every dtype; torch's own knows only bf16."""

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if QuantisedWeight in types:  # comes again with the weight's numbers
            return NotImplemented
        if func is not GROUPED_MM:
            return func(*args, **(kwargs or {}))
        left, right, *others = args
        if right.dim() == 3:
            return left.new_empty(len(left), right.shape[-1])
        groups = len(others[0] if others else (kwargs or {})["offs"])
        return left.new_empty(groups, len(left), right.shape[-1])


def _fill(model: PreTrainedModel) -> None:
    """Replaces the tensors of a model on the meta device by fake ones."""
    replace_tensors(model, lambda tensor: torch.empty(tensor.shape, dtype=tensor.dtype))
    model.tie_weights()


def _base_bytes(model: PreTrainedModel, trainable: Sequence[Tensor], ranks: int) -> int:
    own = {id(tensor) for tensor in trainable}
    total = sum(stored_bytes(p) for p in model.parameters() if id(p) not in own)
    if ranks == 1:
        return total
    layers = [
        sum(stored_bytes(p) for p in layer.parameters() if id(p) not in own)
        for layer in decoder_layers(model)
    ]
    whole = total - sum(layers) + 2 * max(layers)
    return total // ranks + whole * (ranks - 1) // ranks


def _row(length: int, number: int = 0) -> TokenizedExample:
    """A row with loss on every token but the first, the largest number."""
    return np.full(length, number, dtype=np.int32), 0


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _forget_gradient(tensor: Tensor) -> None:
    tensor.grad = None
