"""LoRA on the router of one MoE block: see `RouterSite`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from perft.adapters import merge
from perft.adapters.weights import master_dtype
from perft.injection.rows import BatchLayout, Segment, replace_rows
from perft.injection.sites import CurrentLayout, Site
from perft.models.blocks import MoEBlock
from perft.tensor_keys import is_of_adapter


class RouterSite(Site):
    """LoRA on one base router's weight.

    The router runs again for the rows of each such adapter, with W + (alpha/r) B A in fp32 in place
    of W: the family's own operations after the product (softmax, sigmoid, groups) are kept. A
    router is E x D, so a second run costs little beside the experts.
    """

    def __init__(self, place: int, block: MoEBlock, current: CurrentLayout) -> None:
        super().__init__(place, block.scorer, current)
        self._weight = block.scorer_weight
        self._handles = [
            self._watch_rows(block.module),
            # First of the router's hooks: the others must see its output with LoRA.
            block.scorer.register_forward_hook(self._replace_outputs, prepend=True),
        ]

    def _replace_outputs(self, router: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        layout = self._layout(self._rows)
        if layout is None or not (mine := self._mine(layout)):
            return None
        self._acts(mine.values())
        inputs = [self._split(layout, value) for value in args]
        parts = {
            i: self._rerun(router, s, [values[i] for values in inputs]) for i, s in mine.items()
        }
        if isinstance(output, Tensor):
            return self._replace(layout, output, parts)
        return tuple(
            self._replace(layout, whole, {i: part[at] for i, part in parts.items()})
            for at, whole in enumerate(output)
        )

    def _replace(self, layout: BatchLayout, whole: Tensor, parts: Mapping[int, Tensor]) -> Tensor:
        width = whole.numel() // self._rows
        by_row = {i: part.reshape(-1, width) for i, part in parts.items()}
        return replace_rows(layout, whole.reshape(self._rows, width), by_row).view(whole.shape)

    def _rerun(self, router: nn.Module, segment: Segment, args: Sequence[Any]) -> Any:
        assert segment.name is not None
        config, weights = self.configs[segment.name], self.weights(segment.name)
        weight_ED = merge(config, weights, router.get_parameter(self._weight))
        x, *others = args
        wide = master_dtype(router.get_parameter(self._weight).dtype)
        own: dict[str, Tensor] = {}
        own |= {key: p for key, p in router.named_parameters() if not is_of_adapter(key)}
        own[self._weight] = weight_ED
        # All parameters, since a product refuses a bias of another dtype.
        return torch.func.functional_call(
            BareForward(router),
            {f"module.{key}": parameter.to(wide) for key, parameter in own.items()},
            (x.to(wide), *others),
        )

    def _split(self, layout: BatchLayout, value: Any) -> Sequence[Any]:
        # A vector has one number per base expert; other tensors have tokens first.
        if not isinstance(value, Tensor) or value.dim() == 1:
            return [value] * len(layout.segments)
        return layout.split(value)


class BareForward(nn.Module):
    """Calls a module's own forward, without hooks and uncompiled."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module's own forward returns."""
        return type(self.module).forward(self.module, *args, **kwargs)
