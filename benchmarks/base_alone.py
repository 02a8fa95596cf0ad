"""The floor of a training step: its micro-batches through the base alone, in the same shapes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from perft.compat.transformers import without_packed_rows
from perft.forward.batch import collate
from perft.injection import AdapterHost
from perft.models.capture import Capture
from perft.models.head import has_plain_head, token_losses
from perft.ranks import Ranks
from perft.training.step import MicroBatch, TrialBatch, forward_context


class BaseAlone:
    """One micro-batch through the base, forward and backward, and the loss, without adapters.

    Its rows are laid out once, which a training step does every time.

    Args:
        host: the base.
        one: the micro-batch of a step that it is the floor of.
        batches: the step's.
        ranks: the processes that share each batch.
        capture: how it is captured; None where it runs as it is.
        checkpointing: whether the base's layers run again in the backward pass.

    Attributes:
        run: takes the micro-batch.
    """

    def __init__(
        self,
        host: AdapterHost,
        one: MicroBatch,
        batches: Mapping[str, TrialBatch],
        ranks: Ranks,
        *,
        capture: Capture | None,
        checkpointing: bool,
    ) -> None:
        parts = [batches[name].on(ranks).rows for name in one.names]
        self._batch = collate(parts, 0, ranks.device, one.shape)
        self._host, self._one, self._checkpointing = host, one, checkpointing
        self.run = self._microbatch if capture is None else capture(self._microbatch)

    def _microbatch(self) -> None:
        model, batch = self._host.model, self._batch
        # A micro-batch of a fixed shape takes the gradient down to the embeddings by itself.
        start = self._host.blocks[0].module if self._one.shape is None else None
        manner = forward_context(self._host, self._one, checkpointing=self._checkpointing)
        with (
            manner,
            without_packed_rows(),
            nullcontext() if start is None else _gradient_from(start),
        ):
            loss_N = token_losses(
                model, batch.ids_BS, batch.position_N, batch.label_N, plain=has_plain_head(model)
            )
            torch.stack(batch.totals(loss_N)).sum().backward()  # type: ignore[no-untyped-call]


@contextmanager
def _gradient_from(module: nn.Module) -> Iterator[None]:
    def require(_module: nn.Module, _args: object, y_BSD: Tensor) -> Tensor:
        return y_BSD.requires_grad_()

    handle = module.register_forward_hook(require)
    try:
        yield
    finally:
        handle.remove()
