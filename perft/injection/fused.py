"""LoRA on the fused weights of an MoE block's base experts: see `FusedSite`."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from perft.adapters.lora_experts import mathematics as lora_experts
from perft.adapters.weights import Weights
from perft.config import AdapterConfig
from perft.injection.router_site import BareForward
from perft.injection.rows import BatchLayout, Segment, joined
from perft.injection.sites import CurrentLayout, Site
from perft.models.blocks import MoEBlock
from perft.models.experts import Update, experts_forward, is_computable
from perft.models.fused import fused_weights, is_transposed

Experts = Callable[..., Tensor]
"""Called with hidden states of tokens, their chosen experts and the weights of these."""


class FusedSite(Site):
    """LoRA on the fused weights of one block's base experts.

    Replaces the experts' `forward`. Rows of such adapters go through the experts once, with the
    update added before the experts' activation: exact, and in any family. All other rows go through
    the experts unchanged.

    Experts without transformers' interface run with W + (alpha/r) B A in place of every W, one
    adapter at a time; a copy of the experts' weights is then kept for each adapter and layer until
    the backward pass.
    """

    def __init__(self, place: int, block: MoEBlock, current: CurrentLayout) -> None:
        super().__init__(place, block.experts, current)
        self._names = tuple(fused_weights(block))
        self._handles = [self._watch_rows(block.module)]
        experts = block.experts
        computable = is_computable(experts)
        self._max_adapters = (
            lora_experts.max_adapters_per_stack(block.num_experts) if computable else 1
        )
        self._run = self._add_updates if computable else self._run_merged
        self._own = vars(experts).get("forward")  # a compiled one, if any
        self._plain: Experts = experts.forward
        experts.forward = partial(self._forward, experts)

    def detach_from(self, host: nn.Module) -> None:
        """Restores the experts' `forward`, and removes the hook and this child module."""
        super().detach_from(host)
        del host.forward
        if self._own is not None:
            host.forward = self._own

    def _forward(
        self, experts: nn.Module, x_TD: Tensor, index_TK: Tensor, weight_TK: Tensor
    ) -> Tensor:
        given = (x_TD, index_TK, weight_TK)
        layout = self._layout(self._rows)
        mine = self._mine(layout) if layout else {}
        # A rank may have no row of some adapter; experts may not accept zero rows.
        if layout is None or not any(s.stop > s.start for s in mine.values()):
            return self._plain(*given)
        self._acts(mine.values())
        pieces = [layout.split(value) for value in given]
        found: dict[int, Tensor] = {}
        for numbers, run in self._runs(experts, layout):
            whole = run(*(joined([piece[i] for i in numbers]) for piece in pieces))
            parts = torch.split(whole, [len(pieces[0][i]) for i in numbers])
            found |= zip(numbers, parts, strict=True)
        return joined([found[i] for i in sorted(found)])

    def _runs(
        self, experts: nn.Module, layout: BatchLayout
    ) -> Iterator[tuple[Sequence[int], Experts]]:
        """The segments that go through the experts together, and the function that runs them."""
        filled = {i: s for i, s in enumerate(layout.segments) if s.stop > s.start}
        mine = [i for i in filled if i in self._mine(layout)]
        if others := [i for i in filled if i not in mine]:
            yield others, self._plain
        for start in range(0, len(mine), self._max_adapters):
            together = mine[start : start + self._max_adapters]
            yield together, partial(self._run, experts, [filled[i] for i in together])

    def _add_updates(
        self, experts: nn.Module, segments: Sequence[Segment], *given: Tensor
    ) -> Tensor:
        x_TD, index_TK, weight_TK = given
        adapters = [self._adapter(segment) for segment in segments]
        row = len(x_TD) // sum(s.stop - s.start for s in segments)
        adapter_T = [
            index_TK.new_full(((s.stop - s.start) * row,), i) for i, s in enumerate(segments)
        ]
        up, down = (
            lora_experts.stack(adapters, name, experts.get_parameter(name).dtype)
            for name in self._names
        )
        update = Update(
            len(adapters),
            joined(adapter_T),
            partial(lora_experts.add_to_pairs, up),
            partial(lora_experts.add_to_tokens, down),
        )
        return experts_forward(experts, x_TD, index_TK, weight_TK, update)

    def _run_merged(
        self, experts: nn.Module, segments: Sequence[Segment], *given: Tensor
    ) -> Tensor:
        config, weights = self._adapter(segments[0])
        swap = is_transposed(experts)
        merged = {
            f"module.{name}": lora_experts.merge(
                config, weights, name, experts.get_parameter(name), swap
            )
            for name in self._names
        }
        output: Tensor = torch.func.functional_call(BareForward(experts), merged, given)
        return output

    def _adapter(self, segment: Segment) -> tuple[AdapterConfig, Weights]:
        assert segment.name is not None
        return self.configs[segment.name], self.weights(segment.name)
