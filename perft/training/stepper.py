"""Makes the gradients of a pack's steps: in which micro-batches, and what to do when one fails.

A step that fails changes nothing but gradients, so it can run again: in smaller micro-batches after
a lack of memory, without what was captured or compiled after a fault that may come of it.
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
        slots: trials that are trained together at most.
        checkpointing: whether the base's layers run again in the backward pass.
        say: hears what the user should know, in a sentence.

    Attributes:
        max_tokens_per_microbatch: what one micro-batch takes on each rank; fewer once memory has
            run out.
        padded: tokens that went through the base so far, padding included, over all ranks.
        capture: how micro-batches of fixed shapes are captured; None where they run as they are.
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
        # A collective cannot be captured together with what waits for it.
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
        """The shapes of micro-batches; None where these take the rows as they are."""
        if not self._is_fixed:
            return None
        vocabulary = len(self._host.model.get_output_embeddings().weight)
        return FixedShapes(self._slots, self.max_tokens_per_microbatch, vocabulary, self._ranks)

    def gradients(self, batches: Mapping[str, TrialBatch]) -> Measures:
        """Every trial's gradient, summed over the ranks; again, when memory runs out.

        Several ranks cannot begin again, since one of them may be alone in having none left, while
        the others wait for it: its error ends the step, and `max_tokens_per_microbatch` is what the
        next attempt is to be made with.

        Returns:
            As `gradients_of`.

        Raises:
            ConfigError: if a lone trial fits no pass.
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
            # Only here, after the error is gone, do its frames no longer hold the activations.
            self._captured.clear()
            for batch in batches.values():
                batch.optimizer.skip()
            torch.cuda.empty_cache()

    def microbatches(self, batches: Mapping[str, TrialBatch]) -> list[MicroBatch]:
        """The micro-batches of a step: of whole batches, so that all ranks make the same ones."""
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
        # The optimiser tells apart two trials that had one name, one after the other.
        keys = [(one.shape, *(batches[name].optimizer for name in one.names)) for one in together]
        # Those of other steps go first: what they hold, new ones may need.
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
        """Whether a step that failed may run again; if so, something is different by then."""
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
            # A backward pass may not compile; a fault of another kind comes again.
            self._compilation.give_up(error)
            return True
        return False
