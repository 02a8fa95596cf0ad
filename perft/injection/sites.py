"""Sites carry the adapters of one base module: an MoE block, a linear layer, a router.

A site is a child module named `adapters` of the base module, so that the base keeps its classes,
keys and tied weights. It holds one tensor per kind and adapter, `<kind>.<adapter>`, and forward
hooks add the adapters' outputs. Nothing is wrapped.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from perft.adapters import apply_beside_block, apply_to_linear
from perft.adapters.block import BlockInput
from perft.adapters.dropout import NO_DROP, Drop, keyed_drop
from perft.adapters.routing import Routing
from perft.adapters.table import variant_of
from perft.adapters.weights import Weights, master_dtype
from perft.config import AdapterConfig
from perft.errors import AdapterError
from perft.injection.rows import BatchLayout, Segment, add_rows, rows_of
from perft.models.blocks import MoEBlock
from perft.models.routing import BaseRouting

CurrentLayout = Callable[[], BatchLayout | str | None]


class Site(nn.Module):
    """Adapters of one base module.

    Args:
        place: number of this site in the model; seeds its dropout.
        host: the base module.
        current: returns the current layout, or the name of the active adapter, or None.

    Attributes:
        acted: the adapters that have taken part in a forward pass here.
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
        self.acted: set[str] = set()
        self._tensors: dict[str, nn.ParameterDict] = {}
        self._current = current
        self._rows = 0
        self._handles: list[RemovableHandle] = []
        # A function: stored as an attribute, the base's parameter would become the site's own.
        self._base_parameter: Callable[[], nn.Parameter] = lambda: next(host.parameters())
        self.train(host.training)
        host.adapters = self

    def add(self, name: str, config: AdapterConfig, weights: Weights) -> None:
        """Adds an adapter's tensors, as trainable masters on the base's device."""
        base = self._base_parameter()
        dtype, device = master_dtype(base.dtype), base.device
        for kind, tensor in weights.items():
            if kind not in self._tensors:
                self._tensors[kind] = nn.ParameterDict()
                self.add_module(kind, self._tensors[kind])
            self._tensors[kind][name] = nn.Parameter(tensor.detach().to(device, dtype, copy=True))
        self.configs[name] = config

    def remove(self, name: str) -> None:
        """Removes an adapter's tensors."""
        for tensors in self._tensors.values():
            if name in tensors:
                del tensors[name]
        del self.configs[name]
        self.acted.discard(name)

    def weights(self, name: str) -> dict[str, Tensor]:
        """The adapter's tensors here, by kind."""
        # Parameters are attributes: `ParameterDict`'s own lookup takes ten times as long.
        found = {kind: getattr(tensors, name, None) for kind, tensors in self._tensors.items()}
        return {kind: tensor for kind, tensor in found.items() if tensor is not None}

    def detach_from(self, host: nn.Module) -> None:
        """Removes the hooks and this child module."""
        for handle in self._handles:
            handle.remove()
        del host.adapters

    def _watch_rows(self, module: nn.Module) -> RemovableHandle:
        """Keeps the number of rows that enter `module`, for hooks that see flattened tokens."""

        def see(_module: nn.Module, args: Any, kwargs: Any) -> None:
            self._rows = len(_hidden_states(args, kwargs))

        return module.register_forward_pre_hook(see, with_kwargs=True)

    def _layout(self, rows: int) -> BatchLayout | None:
        """The current layout for a batch of `rows`; None if no adapter is active."""
        current = self._current()
        if isinstance(current, str):
            return rows_of({current: rows}, drops={current: "torch"})
        if current is not None and current.rows != rows:
            raise AdapterError(
                f"the row layout has {current.rows} rows and the batch has {rows}; beam search "
                "and other row-multiplying decoders need a layout of their own rows"
            )
        return current

    def _mine(self, layout: BatchLayout) -> dict[int, Segment]:
        """The segments whose adapter is here, by their index in the layout."""
        return {i: s for i, s in enumerate(layout.segments) if s.name in self.configs}

    def _acts(self, segments: Iterable[Segment]) -> None:
        """Notes the adapters that take part in this pass."""
        self.acted.update(s.name for s in segments if s.name is not None)

    def _drop(self, segment: Segment, heads: int = 1) -> Drop:
        assert segment.name is not None
        probability, key = self.configs[segment.name].dropout, segment.drop
        if not probability or key is None:
            return NO_DROP
        if key == "torch":
            return Drop(lambda x_TD: F.dropout(x_TD, probability, self.training))
        return keyed_drop(key, self.place, probability, heads)


class BlockSite(Site):
    """The PERFT variants beside one MoE block."""

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
        if any(variant_of(config).needs_base_routing for config in self.configs.values()):
            self._routing = routing

    def _add_outputs(self, _block: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        routing, self._routing = self._routing, None
        layout = self._layout(self._rows)
        if layout is None or not (mine := self._routed(self._mine(layout), routing)):
            return None
        self._acts(mine.values())
        x, y = _hidden_states(args, kwargs), output[0] if isinstance(output, tuple) else output
        # Some families flatten the tokens before the block, some after it.
        x_TD, y_TD = (z.view(-1, z.shape[-1]) for z in (x, y))
        inputs, chosen = layout.split(x_TD), self._chosen(layout, mine, routing)
        parts = {i: self._output(s, inputs[i], layout, chosen.get(i)) for i, s in mine.items()}
        y = add_rows(layout, y_TD, parts).view(y.shape)
        return (y, *output[1:]) if isinstance(output, tuple) else y

    def _routed(self, mine: dict[int, Segment], routing: BaseRouting | None) -> dict[int, Segment]:
        """The segments that take part: none that need base routing if the router was skipped."""
        if routing is not None:
            return mine
        return {i: s for i, s in mine.items() if not self._needs_base_routing(s)}

    def _needs_base_routing(self, segment: Segment) -> bool:
        if segment.name is None:
            return False
        return variant_of(self.configs[segment.name]).needs_base_routing

    def _chosen(
        self, layout: BatchLayout, mine: Mapping[int, Segment], routing: BaseRouting | None
    ) -> dict[int, Routing]:
        """The base router's choice for the rows of the adapters that need it."""
        wanted = [i for i, s in mine.items() if self._needs_base_routing(s)]
        if routing is None or not wanted:
            return {}
        weights, indices = layout.split(routing.weight_TK), layout.split(routing.index_TK)
        return {i: Routing(weights[i], indices[i]) for i in wanted}

    def _output(
        self, segment: Segment, x_TD: Tensor, layout: BatchLayout, chosen: Routing | None
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
        if torch.compiler.is_compiling():  # passes with rows of these adapters are not compiled
            return None
        x_BSI = args[0]
        layout = self._layout(x_BSI.shape[0])
        if layout is None or not (mine := self._mine(layout)):
            return None
        self._acts(mine.values())
        inputs = layout.split(x_BSI)
        return add_rows(layout, y_BSO, {i: self._output(s, inputs[i]) for i, s in mine.items()})

    def _output(self, segment: Segment, x_bSI: Tensor) -> Tensor:
        assert segment.name is not None
        x_TI = x_bSI.flatten(0, -2)
        # Latent attention projects (B, heads, S, I).
        drop = self._drop(segment, heads=math.prod(x_bSI.shape[1:-2]))
        config = self.configs[segment.name]
        y_TO = apply_to_linear(config, self.weights(segment.name), x_TI, drop)
        return y_TO.view(-1, *x_bSI.shape[1:-1], y_TO.shape[-1])


def _hidden_states(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """A block's first argument; blocks called by keyword all name it the same."""
    found: Tensor = args[0] if args else kwargs["hidden_states"]
    return found
