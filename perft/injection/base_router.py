"""Watches the base routers, for the adapters whose loss balances the base's own routing.

Shapes: T tokens, E base experts. A hook on every router adds up, for the rows of each such
adapter, how often each base expert was chosen and how probable it was.
"""

from collections.abc import Mapping, Sequence

import torch
from torch.utils.hooks import RemovableHandle

from perft.adapters.routing import sum_router
from perft.config import AdapterConfig
from perft.injection.rows import RowLayout, Segment
from perft.injection.sites import CurrentLayout
from perft.models.blocks import MoEBlock
from perft.models.routing import BaseRouting


def watch_base_routers(
    blocks: Sequence[MoEBlock], configs: Mapping[str, AdapterConfig], current: CurrentLayout
) -> list[RemovableHandle]:
    """Hooks every router: forward passes under a layout fill its `base_sums`.

    Args:
        blocks: the base's MoE blocks.
        configs: the adapters that are on the base at the time of a forward pass.
        current: gives the layout in force.
    """

    def watch(block: MoEBlock) -> list[RemovableHandle]:
        def add_sums(routing: BaseRouting) -> None:
            layout = current()
            if isinstance(layout, RowLayout):
                for segment in layout.segments:
                    if segment.name is not None and configs[segment.name].base_balance:
                        _add_sums(layout, segment, routing)

        return block.watch(add_sums)

    return [handle for block in blocks for handle in watch(block)]


def _add_sums(layout: RowLayout, segment: Segment, routing: BaseRouting) -> None:
    logits_TE, index_TK = routing.logits_TE, routing.index_TK
    length = len(logits_TE) // layout.rows
    own = slice(segment.start * length, segment.stop * length)
    wide = torch.promote_types(logits_TE.dtype, torch.float32)
    prob_TE = logits_TE[own].to(wide).softmax(-1)
    assert segment.name is not None
    mask_T = layout.mask_of(segment, length, prob_TE.device)
    layout.add_base_sums(segment.name, sum_router(prob_TE, index_TK[own], mask_T))
