"""LoRA on the fused weights of an MoE block's base experts: see `FusedSite`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perft.adapters import lora_experts
from perft.config import LoraExpertsConfig
from perft.injection.rows import RowLayout, Segment
from perft.injection.sites import BareForward, CurrentLayout, Site, replace_rows
from perft.models.blocks import MoEBlock
from perft.models.fused import fused_weights, is_transposed


class FusedSite(Site):
    """LoRA on the fused weights of one block's base experts.

    The experts are run again for the rows of each such adapter, with W + (alpha/r) B A in place of
    every W: exact in any family, since the update enters before the experts' own activation. It
    costs those rows' experts twice, and for each adapter and layer one more copy of the experts'
    weights, kept until the backward pass.
    """

    def __init__(self, place: int, block: MoEBlock, current: CurrentLayout) -> None:
        super().__init__(place, block.experts, current)
        self._names = tuple(fused_weights(block))
        self._handles = [
            self._watch_rows(block.module),
            block.experts.register_forward_hook(self._replace_output, with_kwargs=True),
        ]

    def _replace_output(
        self, experts: nn.Module, args: Any, kwargs: Any, output: Tensor
    ) -> Tensor | None:
        layout = self._layout(self._rows)
        if layout is None:
            return None
        # A rank may have no row of some adapter; experts need not take none.
        mine = {i: s for i, s in self._mine(layout).items() if s.stop > s.start}
        if not mine:
            return None
        inputs = [_split(layout, value) for value in args]
        named = {key: _split(layout, value) for key, value in kwargs.items()}
        shape = (-1, output.numel() // (self._rows * output.shape[-1]), output.shape[-1])
        parts = {
            i: self._rerun(
                experts,
                segment,
                tuple(values[i] for values in inputs),
                {key: values[i] for key, values in named.items()},
            ).view(shape)
            for i, segment in mine.items()
        }
        return replace_rows(layout, output.view(shape), parts).view(output.shape)

    def _rerun(self, experts: nn.Module, segment: Segment, args: Any, kwargs: Any) -> Tensor:
        assert segment.name is not None
        config, weights = self.configs[segment.name], self.weights(segment.name)
        assert isinstance(config, LoraExpertsConfig)
        swap = is_transposed(experts)
        merged = {
            f"module.{name}": lora_experts.merge(
                config, weights, name, experts.get_parameter(name), swap
            )
            for name in self._names
        }
        output: Tensor = torch.func.functional_call(BareForward(experts), merged, args, kwargs)
        return output


def _split(layout: RowLayout, value: Any) -> Sequence[Any]:
    """Each segment's part of what the experts are given, token after token."""
    return layout.split(value) if isinstance(value, Tensor) else [value] * len(layout.segments)
