"""Attaches adapters to a base: the one file that joins adapters and model families.

Many named adapters share one frozen base. `using` assigns rows of the batch to adapters; `activate`
assigns all rows to one. Outside both, the base runs without adapters.
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from perft import adapters
from perft.adapters.init import draw
from perft.adapters.table import variant_of
from perft.config import AdapterConfig
from perft.errors import AdapterError, unknown
from perft.injection.attach_points import AttachPoint, attach_points_of, require_fit
from perft.injection.base_router import watch_base_routers
from perft.injection.labelled import add_router_loss, labelled_layout
from perft.injection.rows import BatchLayout
from perft.injection.sites import Site
from perft.models.blocks import activated_parameters, decoder_layers, find_moe_blocks
from perft.models.checkpointing import recompute_in
from perft.models.compiling import compilation_of
from perft.tensor_keys import key_of
from perft.trial import AdapterSize

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
# torch and `peft` store tensors under adapter names in these, beside their own attributes.
_TAKEN = frozenset(dir(nn.ParameterDict()) + dir(nn.ModuleDict()))


class AdapterHost:
    """Adapters on one base.

    Args:
        model: a supported MoE base; its own parameters are frozen here. Adapters may be added
            before or after `fully_shard`.

    Raises:
        BaseModelError: if the family is not supported or no MoE block is found.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.blocks = find_moe_blocks(model)
        self.base_activated = activated_parameters(model)
        self._num_layers = len(decoder_layers(model))
        self.configs: dict[str, AdapterConfig] = {}
        self._sites: dict[str, Site] = {}
        self._known_points: dict[tuple[str, str], tuple[AttachPoint, ...]] = {}
        self._layout: BatchLayout | None = None
        self._labelled: BatchLayout | None = None
        self._active: str | None = None
        self._handles: list[RemovableHandle] = []
        self._routers_seen: set[tuple[str, str]] = set()
        self._compilation = compilation_of(model)
        if self._compilation is not None:
            self._compilation.names = self._names_in_pass
        model.requires_grad_(False)

    def __repr__(self) -> str:
        adapters = ", ".join(
            f"{name!r} ({config.variant}{', active' if name == self._active else ''})"
            for name, config in self.configs.items()
        )
        return f"<AdapterHost on {type(self.model).__name__}: {adapters or 'no adapter'}>"

    def add(self, name: str, config: AdapterConfig, *, seed: int = 0) -> None:
        """Adds a new adapter with random initial tensors.

        Args:
            name: letters, digits, "_" and "-".
            config: its variant and sizes.
            seed: seeds the initialisation; layers are drawn in order.

        Raises:
            AdapterError: if the name is taken or not allowed.
        """
        self._require_new(name)
        generator = torch.Generator().manual_seed(seed)
        for point in self._points(config):
            tensors = draw(config, adapters.shapes(config, point.geometry), generator)
            self._site(point).add(name, config, tensors)
        self._register(name, config)

    def load(self, name: str, config: AdapterConfig, tensors: Mapping[str, Tensor]) -> None:
        """Adds an adapter from tensors that `tensors` returned.

        Raises:
            AdapterError: if the name is taken, or keys or shapes do not fit this base.
        """
        self._require_new(name)
        points = {point: adapters.shapes(config, point.geometry) for point in self._points(config)}
        require_fit(
            {key_of(p.path, kind): s for p, kinds in points.items() for kind, s in kinds.items()},
            {key: tuple(tensor.shape) for key, tensor in tensors.items()},
        )
        for point, kinds in points.items():
            weights = {kind: tensors[key_of(point.path, kind)] for kind in kinds}
            self._site(point).add(name, config, weights)
        self._register(name, config)

    def remove(self, name: str) -> None:
        """Removes an adapter; without any, the base is as it was."""
        self._require(name)
        for point in self._points(self.configs.pop(name)):
            site = self._sites[point.path]
            site.remove(name)
            if not site.configs:
                site.detach_from(self.model.get_submodule(point.path))
                del self._sites[point.path]
        for region in self._compilation.regions if self._compilation else ():
            region.carried.discard(name)
        if not self._sites:
            self._unhook_base()
        if self._active == name:
            self._active = None
        self._routers_seen -= {(name, block.router_name) for block in self.blocks}

    def untouched(self, name: str, *, trained: bool = False) -> list[str]:
        """Modules of the base where an adapter's hooks have not run in any forward pass.

        Empty after the first pass, unless the base bypasses them: a kernel that computes a whole
        block calls no modules, and so no hooks.

        Args:
            name: the adapter.
            trained: whether it has been in a pass with gradients; then includes base routers that
                it balances.
        """
        self._require(name)
        config = self.configs[name]
        paths = [point.path for point in self._points(config)]
        silent = [path for path in paths if name not in self._sites[path].acted]
        if trained and config.base_balance:
            routers = [block.router_name for block in self.blocks]
            silent += [path for path in routers if (name, path) not in self._routers_seen]
        return silent

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The adapter's own parameters by key (`perft.tensor_keys.TensorKey`)."""
        self._require(name)
        return {
            key_of(point.path, kind): tensor
            for point in self._points(self.configs[name])
            for kind, tensor in self._sites[point.path].weights(name).items()
        }

    def size(self, config: AdapterConfig) -> AdapterSize:
        """Trainable and activated parameters that an adapter of `config` has on this base."""
        geometries = [point.geometry for point in self._points(config)]
        shapes = [s for g in geometries for s in adapters.shapes(config, g).values()]
        return AdapterSize(
            trainable=sum(math.prod(shape) for shape in shapes),
            activated=sum(adapters.activated(config, geometry) for geometry in geometries),
            base_activated=self.base_activated,
        )

    def gradient_depth(self, name: str) -> int:
        """How many layers' attention an adapter's gradient passes, counted from the top.

        It ends at the adapter's lowest layer: above that layer's attention, except for variants
        that act inside attention.
        """
        config = self.configs[name]
        lowest = min(point.layer for point in self._points(config))
        return self._num_layers - 1 - lowest + variant_of(config).needs_attention_grad

    def inside_of(self, name: str) -> str:
        """The modules of the base that an adapter acts inside, and their layers; or "".

        There the base computes differently for all rows of a pass: uncompiled, and experts with
        other products.
        """
        config = self.configs[name]
        inside = variant_of(config).inside
        return f"{inside}: {config.layers}" if inside else ""

    @property
    def active(self) -> str | None:
        """The adapter that has every row outside of `using`."""
        return self._active

    def activate(self, name: str | None) -> None:
        """Assigns every row to the adapter `name`; None switches all adapters off."""
        if name is not None:
            self._require(name)
        self._active = name

    @contextmanager
    def using(self, layout: BatchLayout) -> Iterator[BatchLayout]:
        """Inside, forward passes use `layout`, whatever adapter is active."""
        for segment in layout.segments:
            if segment.name is not None:
                self._require(segment.name)
        before, self._layout = self._layout, layout
        try:
            yield layout
        finally:
            self._layout = before

    def checkpoint_contexts(
        self,
    ) -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        """The `context_fn` of non-reentrant activation checkpointing, also for transformers'.

        The backward pass runs the forward pass again; without this context it would use the layout
        or adapter that is current by then, and silently compute wrong gradients.
        """
        layout = self._layout or self._labelled
        layout = None if layout is None else layout.replay()
        return nullcontext(), self._replaying(layout, self._active)

    @contextmanager
    def _replaying(self, layout: BatchLayout | None, active: str | None) -> Iterator[None]:
        before = self._layout, self._active
        self._layout, self._active = layout, active
        try:
            yield
        finally:
            self._layout, self._active = before

    def _current(self) -> BatchLayout | str | None:
        return self._layout or self._labelled or self._active

    def _names_in_pass(self) -> frozenset[str]:
        current = self._current()
        if current is None or isinstance(current, str):
            return frozenset({current} if current else ())
        return current.names

    def _register(self, name: str, config: AdapterConfig) -> None:
        self.configs[name] = config
        paths = [point.path for point in self._points(config)]
        for region in self._compilation.regions if self._compilation else ():
            if any(path.startswith(f"{region.path}.") for path in paths):
                region.carried.add(name)

    def _points(self, config: AdapterConfig) -> tuple[AttachPoint, ...]:
        key = config.variant, config.layers
        if key not in self._known_points:
            self._known_points[key] = attach_points_of(self.model, self.blocks, config)
        return self._known_points[key]

    def _site(self, point: AttachPoint) -> Site:
        if point.path not in self._sites:
            self._sites[point.path] = point.make_site(self._current)
            self._hook_base()
        return self._sites[point.path]

    def _hook_base(self) -> None:
        if not self._handles:
            self._handles = [
                self.model.register_forward_pre_hook(self._begin_pass, with_kwargs=True),
                self.model.register_forward_hook(self._end_pass, always_call=True),
                *watch_base_routers(self.blocks, self.configs, self._current, self._routers_seen),
            ]

    def _unhook_base(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _begin_pass(self, model: Any, args: Any, kwargs: Any) -> None:
        if not model.training:
            return
        recompute_in(model, self.checkpoint_contexts)
        if self._active is not None and self._layout is None:
            self._labelled = labelled_layout(model, self._active, args, kwargs)

    def _end_pass(self, _model: Any, _args: Any, output: Any) -> Any:
        layout, self._labelled = self._labelled, None
        if layout is None or output is None:  # torch calls this after an error, too
            return output
        assert self._active is not None
        return add_router_loss(self.configs[self._active], layout, output)

    def _require(self, name: str) -> None:
        if name not in self.configs:
            raise AdapterError(unknown("adapter", name, self.configs))

    def _require_new(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise AdapterError(f"adapter name {name!r}: use letters, digits, '_' and '-'")
        if name in _TAKEN:
            raise AdapterError(
                f"adapter name {name!r} is that of an attribute of torch's modules; choose another"
            )
        if name in self.configs:
            raise AdapterError(f"an adapter named {name!r} is on the base already; remove it first")
