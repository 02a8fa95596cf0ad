"""Records the base routers' outputs for adapters whose loss balances the base's routing.

Shapes: T tokens, E base experts. If gradients are computed, a hook on every router keeps its logits
and choices for the rows of each such adapter.
"""

from collections.abc import Mapping, Sequence

import torch
from torch.utils.hooks import RemovableHandle

from perft.adapters.routing import LayerRouting
from perft.config import AdapterConfig
from perft.injection.rows import BatchLayout
from perft.injection.sites import CurrentLayout
from perft.models.blocks import MoEBlock
from perft.models.routing import BaseRouting


def watch_base_routers(
    blocks: Sequence[MoEBlock],
    configs: Mapping[str, AdapterConfig],
    current: CurrentLayout,
    seen: set[tuple[str, str]],
) -> list[RemovableHandle]:
    """Hooks every router: forward passes under a layout fill its `base_routing`.

    Args:
        blocks: the base's MoE blocks.
        configs: the adapters on the base, updated by the host.
        current: returns the current layout.
        seen: receives the names of each adapter and router whose routing was kept.
    """

    def watch(block: MoEBlock) -> list[RemovableHandle]:
        def keep(routing: BaseRouting) -> None:
            layout = current()
            if not isinstance(layout, BatchLayout) or not torch.is_grad_enabled():
                return
            names = [s.name for s in layout.segments]
            if any(name is not None and configs[name].base_balance for name in names):
                parts = map(layout.split, (routing.logits_TE, routing.index_TK))
                for name, logits_TE, index_TK in zip(names, *parts, strict=True):
                    if name is not None and configs[name].base_balance:
                        layout.keep_base_routing(name, LayerRouting(logits_TE, index_TK))
                        seen.add((name, block.router_name))

        return block.watch(keep)

    return [handle for block in blocks for handle in watch(block)]
