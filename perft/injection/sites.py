"""Places on a base that carry adapters: an MoE block, a linear layer, a router.

A site is a child module named `adapters` of the base module it serves, so that the base keeps its
classes, keys and tied weights. It holds one tensor per kind and adapter, `<kind>.<adapter>`, and
forward hooks add what the adapters say. Nothing is wrapped.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from perft.adapters import apply_beside_block, lora
from perft.adapters.block import BlockInput
from perft.adapters.bottleneck import Weights, master_dtype
from perft.adapters.dropout import NO_DROP, Drop, keyed_drop
from perft.adapters.routing import Routing
from perft.config import AdapterConfig, EmbeddedConfig
from perft.errors import AdapterError
from perft.injection.rows import RowLayout, Segment, add_rows, replace_rows, rows_of
from perft.models.blocks import MoEBlock
from perft.models.routing import BaseRouting

CurrentLayout = Callable[[], RowLayout | str | None]


class Site(nn.Module):
    """Adapters of one base module.

    Args:
        place: number of this site in the model; seeds its dropout.
        host: the base module.
        current: gives the layout in force, or the name of the one active adapter, or None.
    """

    def __init__(self, place: int, host: nn.Module, current: CurrentLayout) -> None:
        super().__init__()
        if hasattr(host, "adapters"):
            raise AdapterError(
                "this base carries the adapters of another AdapterHost; put further adapters on "
                "that host: host.add(...), or load_adapter(host, folder, name=...)"
            )
        self.place = place
        self.configs: dict[str, AdapterConfig] = {}
        self._tensors: dict[str, nn.ParameterDict] = {}
        self._current = current
        self._rows = 0
        self._handles: list[RemovableHandle] = []
        # Asked for when needed: kept here, the base's parameter would count as the site's own.
        self._base_parameter: Callable[[], nn.Parameter] = lambda: next(host.parameters())
        self.train(host.training)
        host.adapters = self

    def add(self, name: str, config: AdapterConfig, weights: Weights) -> None:
        """Puts an adapter's tensors here, as trainable masters on the base's device."""
        base = self._base_parameter()
        dtype, device = master_dtype(base.dtype), base.device
        for kind, tensor in weights.items():
            if kind not in self._tensors:
                self._tensors[kind] = nn.ParameterDict()
                self.add_module(kind, self._tensors[kind])
            self._tensors[kind][name] = nn.Parameter(tensor.detach().to(device, dtype, copy=True))
        self.configs[name] = config

    def remove(self, name: str) -> None:
        """Takes an adapter's tensors away."""
        for tensors in self._tensors.values():
            if name in tensors:
                del tensors[name]
        del self.configs[name]

    def weights(self, name: str) -> dict[str, Tensor]:
        """The adapter's tensors here, by kind."""
        # Parameters are attributes: `ParameterDict`'s own way to them takes ten times as long.
        found = {kind: getattr(tensors, name, None) for kind, tensors in self._tensors.items()}
        return {kind: tensor for kind, tensor in found.items() if tensor is not None}

    def detach_from(self, host: nn.Module) -> None:
        """Removes the hooks and this child module."""
        for handle in self._handles:
            handle.remove()
        del host.adapters

    def _watch_rows(self, module: nn.Module) -> RemovableHandle:
        """Keeps the number of rows that enter `module`, for what sees the tokens flattened."""

        def see(_module: nn.Module, args: Any, kwargs: Any) -> None:
            self._rows = len(_hidden_states(args, kwargs))

        return module.register_forward_pre_hook(see, with_kwargs=True)

    def _layout(self, rows: int) -> RowLayout | None:
        """The layout in force for a batch of `rows`; None when only the base is wanted."""
        current = self._current()
        if isinstance(current, str):
            return rows_of({current: rows}, drops={current: "torch"})
        if current is not None and current.rows != rows:
            raise AdapterError(
                f"the row layout has {current.rows} rows and the batch has {rows}; beam search "
                "and other row-multiplying decoders need a layout of their own rows"
            )
        return current

    def _mine(self, layout: RowLayout) -> dict[int, Segment]:
        """The segments whose adapter is here, by their number in the layout."""
        return {i: s for i, s in enumerate(layout.segments) if s.name in self.configs}

    def _drop(self, segment: Segment, heads: int = 1) -> Drop:
        assert segment.name is not None
        probability, key = self.configs[segment.name].dropout, segment.drop
        if not probability or key is None:
            return NO_DROP
        if key == "torch":
            return Drop(lambda x_TD: F.dropout(x_TD, probability, self.training))
        return keyed_drop(key, self.place, probability, heads)


class BlockSite(Site):
    """PERFT-R, -E, -D and -S beside one MoE block."""

    def __init__(self, place: int, block: MoEBlock, current: CurrentLayout) -> None:
        super().__init__(place, block.module, current)
        # Some families keep the router in another dtype than the rest of the block.
        self._base_parameter = lambda: next(block.experts.parameters())
        self._routing: BaseRouting | None = None
        self._handles = [
            self._watch_rows(block.module),
            *block.watch(self._capture),
            block.entry.register_forward_hook(self._add_outputs, with_kwargs=True),
        ]

    def _capture(self, routing: BaseRouting) -> None:
        if any(isinstance(config, EmbeddedConfig) for config in self.configs.values()):
            self._routing = routing

    def _add_outputs(self, _block: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        routing, self._routing = self._routing, None
        layout = self._layout(self._rows)
        if layout is None or not (mine := self._mine(layout)):
            return None
        x, y = _hidden_states(args, kwargs), output[0] if isinstance(output, tuple) else output
        # Some families flatten the tokens before the block, some after it.
        x_TD, y_TD = (z.view(-1, z.shape[-1]) for z in (x, y))
        inputs, chosen = layout.split(x_TD), self._chosen(layout, mine, routing)
        parts = {i: self._output(s, inputs[i], layout, chosen.get(i)) for i, s in mine.items()}
        y = add_rows(layout, y_TD, parts).view(y.shape)
        return (y, *output[1:]) if isinstance(output, tuple) else y

    def _chosen(
        self, layout: RowLayout, mine: Mapping[int, Segment], routing: BaseRouting | None
    ) -> dict[int, Routing]:
        """The base router's choice for the rows of the adapters that go by it."""
        wanted = [
            i
            for i, s in mine.items()
            if s.name is not None and isinstance(self.configs[s.name], EmbeddedConfig)
        ]
        if not wanted:
            return {}
        assert routing is not None, "the router runs before this hook"
        weights, indices = layout.split(routing.weight_TK), layout.split(routing.index_TK)
        return {i: Routing(weights[i], indices[i]) for i in wanted}

    def _output(
        self, segment: Segment, x_TD: Tensor, layout: RowLayout, chosen: Routing | None
    ) -> Tensor:
        assert segment.name is not None
        y_TD, routed = apply_beside_block(
            self.configs[segment.name],
            self.weights(segment.name),
            BlockInput(x_TD, self._drop(segment), chosen),
        )
        if routed is not None and torch.is_grad_enabled():
            layout.keep_routing(segment.name, routed)
        return y_TD


class LinearSite(Site):
    """LoRA on one linear layer."""

    def __init__(self, place: int, linear: nn.Linear, current: CurrentLayout) -> None:
        super().__init__(place, linear, current)
        self._handles = [linear.register_forward_hook(self._add_outputs)]

    def _add_outputs(self, _linear: nn.Module, args: Any, y_BSO: Tensor) -> Tensor | None:
        if torch.compiler.is_compiling():  # passes with rows of these adapters run uncompiled
            return None
        x_BSI = args[0]
        layout = self._layout(x_BSI.shape[0])
        if layout is None or not (mine := self._mine(layout)):
            return None
        inputs = layout.split(x_BSI)
        return add_rows(layout, y_BSO, {i: self._output(s, inputs[i]) for i, s in mine.items()})

    def _output(self, segment: Segment, x_bSI: Tensor) -> Tensor:
        assert segment.name is not None
        x_TI = x_bSI.flatten(0, -2)
        # Latent attention projects (B, heads, S, I).
        drop = self._drop(segment, heads=math.prod(x_bSI.shape[1:-2]))
        config = self.configs[segment.name]
        y_TO = lora.apply(config, self.weights(segment.name), x_TI, drop)  # type: ignore[arg-type]
        return y_TO.view(-1, *x_bSI.shape[1:-1], y_TO.shape[-1])


class RouterSite(Site):
    """LoRA on one base router's weight.

    The router is run again for the rows of each such adapter, with W + (alpha/r) B A in fp32 in
    place of W: whatever the family does after the product (softmax, sigmoid, groups) stays its
    own. A router is E x D, so a second run costs next to nothing beside the experts.
    """

    def __init__(self, place: int, block: MoEBlock, current: CurrentLayout) -> None:
        super().__init__(place, block.scorer, current)
        self._weight = block.scorer_weight
        self._handles = [
            self._watch_rows(block.module),
            # First of the router's hooks: the others are to see what it returns with LoRA.
            block.scorer.register_forward_hook(self._replace_outputs, prepend=True),
        ]

    def _replace_outputs(self, router: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        layout = self._layout(self._rows)
        if layout is None or not (mine := self._mine(layout)):
            return None
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

    def _replace(self, layout: RowLayout, whole: Tensor, parts: Mapping[int, Tensor]) -> Tensor:
        width = whole.numel() // self._rows
        by_row = {i: part.reshape(-1, width) for i, part in parts.items()}
        return replace_rows(layout, whole.reshape(self._rows, width), by_row).view(whole.shape)

    def _rerun(self, router: nn.Module, segment: Segment, args: Sequence[Any]) -> Any:
        assert segment.name is not None
        config, weights = self.configs[segment.name], self.weights(segment.name)
        weight_ED = lora.merge(config, weights, router.get_parameter(self._weight))  # type: ignore[arg-type]
        x, *others = args
        wide = master_dtype(router.get_parameter(self._weight).dtype)
        own: dict[str, Tensor] = {}
        own |= {key: p for key, p in router.named_parameters() if not key.startswith("adapters.")}
        own[self._weight] = weight_ED
        # All of them, since a product refuses a bias of another dtype.
        return torch.func.functional_call(
            BareForward(router),
            {f"module.{key}": parameter.to(wide) for key, parameter in own.items()},
            (x.to(wide), *others),
        )

    def _split(self, layout: RowLayout, value: Any) -> Sequence[Any]:
        # A vector holds one number for each base expert; more dimensions begin with the tokens.
        if not isinstance(value, Tensor) or value.dim() == 1:
            return [value] * len(layout.segments)
        return layout.split(value)


class BareForward(nn.Module):
    """Calls a module's own forward: without its hooks, and uncompiled."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the module's own forward returns."""
        return type(self.module).forward(self.module, *args, **kwargs)


def _hidden_states(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """What a block is called with first; those that name it call it the same."""
    found: Tensor = args[0] if args else kwargs["hidden_states"]
    return found
