"""Computes the gradients of a pack's steps: splits micro-batches, and repeats failed steps.

A failed step changes nothing but gradients, so it can run again: in smaller micro-batches when out
of memory, without capture or compilation after an error that may come from them.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from perft.adapters.routing import RouterSums
from perft.errors import first_line
from perft.injection import AdapterHost
from perft.models.capture import Capture, capture_for
from perft.models.compiling import Compilation, compilation_of
from perft.ranks import Ranks
from perft.training.captured import CapturedMicroBatch
from perft.training.microbatches import (
    fewer_tokens,
    is_out_of_memory,
    max_tokens_per_microbatch,
    padded_tokens,
)
from perft.training.shapes import FixedShapes, are_fixed
from perft.training.step import (
    Measures,
    MicroBatch,
    TrialBatch,
    fixed_microbatches_on,
    gradients_of,
    microbatches_on,
)


class Stepper:
    """Steps of the trials on one base.

    Args:
        host: the base with the trials' adapters on it.
        ranks: the processes that share each batch.
        pad: token id of padding.
        slots: largest number of trials in the pack.
        checkpointing: whether the base's layers are recomputed in the backward pass.
        say: called with a sentence that the user should see.

    Attributes:
        max_tokens_per_microbatch: tokens of one micro-batch on each rank; fewer once memory has run
            out.
        padded: tokens that went through the base so far, padding included, over all ranks.
        capture: captures micro-batches of fixed shapes; None if they are not captured.
    """

    def __init__(
        self,
        host: AdapterHost,
        ranks: Ranks,
        *,
        pad: int,
        slots: int = 1,
        checkpointing: bool = False,
        say: Callable[[str], None] = print,
    ) -> None:
        model = host.model
        self.max_tokens_per_microbatch = max_tokens_per_microbatch(
            ranks.device.type, host.blocks[0].hidden_size, ranks.size
        )
        self.padded = 0
        # A collective cannot be captured together with its wait.
        self.capture: Capture | None = capture_for(ranks.device) if ranks.size == 1 else None
        self._host, self._ranks, self._pad, self._slots = host, ranks, pad, slots
        self._checkpointing = checkpointing
        self._say = say
        self._compilation: Compilation | None = compilation_of(model)
        if self._compilation is not None:
            self._compilation.static, self._compilation.on_failure = True, say
        self._is_fixed = are_fixed(
            ranks.device, model.dtype, compiled=self._compilation is not None
        )
        self._captured: dict[tuple[object, ...], CapturedMicroBatch] = {}

    @property
    def fixed(self) -> FixedShapes | None:
        """The shapes of micro-batches; None if they have no fixed shapes."""
        if not self._is_fixed:
            return None
        vocabulary = len(self._host.model.get_output_embeddings().weight)
        return FixedShapes(self._slots, self.max_tokens_per_microbatch, vocabulary, self._ranks)

    def gradients(self, batches: Mapping[str, TrialBatch]) -> Measures:
        """Computes every trial's gradient, summed over the ranks; repeats it when memory runs out.

        Several ranks cannot repeat a step: one may be out of memory while the others wait for it.
        Its error ends the step, and the next attempt uses the lower `max_tokens_per_microbatch`.

        Returns:
            As `gradients_of`.

        Raises:
            ConfigError: if a single trial does not fit a micro-batch.
        """
        while True:
            together = self.microbatches(batches)
            try:
                found = self._run(batches, together)
            except RuntimeError as error:
                if not self._may_repeat(error, batches, together):
                    raise
            else:
                self.padded += sum(self._tokens_of(one, batches) for one in together)
                return found
            # Only here, after the error is freed, do its frames no longer hold activations.
            self._captured.clear()
            for batch in batches.values():
                batch.optimizer.skip()
            torch.cuda.empty_cache()

    def microbatches(self, batches: Mapping[str, TrialBatch]) -> list[MicroBatch]:
        """The micro-batches of a step, from whole batches, so that all ranks make the same."""
        if (fixed := self.fixed) is not None:
            return fixed_microbatches_on(self._host, fixed, {n: b.kind for n, b in batches.items()})
        shapes = {name: batch.shape for name, batch in batches.items()}
        return microbatches_on(self._host, self._ranks, shapes, self.max_tokens_per_microbatch)

    def _run(self, batches: Mapping[str, TrialBatch], together: Sequence[MicroBatch]) -> Measures:
        if self.capture is None or not self._is_fixed:
            return gradients_of(
                self._host,
                self._pad,
                self._ranks,
                batches,
                together,
                checkpointing=self._checkpointing,
            )
        # The optimiser distinguishes two trials that had the same name, one after the other.
        keys = [(one.shape, *(batches[name].optimizer for name in one.names)) for one in together]
        # Graphs of other micro-batches are freed first: new ones may need their memory.
        self._captured = {key: self._captured[key] for key in keys if key in self._captured}
        means: dict[str, Tensor] = {}
        sums: dict[str, RouterSums] = {}
        for key, one in zip(keys, together, strict=True):
            if key not in self._captured:
                self._captured[key] = CapturedMicroBatch(
                    self._host, self._pad, one, self.capture, checkpointing=self._checkpointing
                )
            found = self._captured[key].gradients(batches)
            means |= found[0]
            sums |= found[1]
        return means, sums

    def _tokens_of(self, one: MicroBatch, batches: Mapping[str, TrialBatch]) -> int:
        if one.shape is not None:
            return one.shape.rows * one.shape.length * self._ranks.size
        return padded_tokens(one.names, {name: batches[name].shape for name in one.names})

    def _may_repeat(
        self, error: RuntimeError, batches: Mapping[str, TrialBatch], together: Sequence[MicroBatch]
    ) -> bool:
        """Whether a failed step may run again; if so, changes what made it fail."""
        if is_out_of_memory(error):
            shapes = {name: batch.shape for name, batch in batches.items()}
            fewer = fewer_tokens(shapes, [one.names for one in together])
            self.max_tokens_per_microbatch = max(1, fewer // self._ranks.size)
            return self._ranks.size == 1
        if self._captured:
            self.capture = None
            self._say(f"steps of this base run without being captured: {first_line(error)}")
            return True
        if self._compilation is not None and self._compilation.active:
            # The backward pass may fail to compile; any other error will recur.
            self._compilation.give_up(error)
            return True
        return False
