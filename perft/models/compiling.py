"""Compiles a base in regions, between the places where hooks act.

A region is a module without hooks inside: attention, a norm, the router, the experts. Its `forward`
is compiled and its own hooks stay outside, so trials join and leave without recompilation, and no
hook is skipped. Only LoRA in attention has hooks inside a region; micro-batches with rows of such
adapters run that region uncompiled.

The layers of a base share compiled code. A pack pads its micro-batches to a few fixed shapes
(`perft.training.shapes`), and the regions are compiled once for each; elsewhere torch compiles for
one shape first, and for dynamic shapes when it sees another. A class of modules that does not
compile runs uncompiled.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from perft.compat.torch import TorchDynamoException, allow_versions, compile_options
from perft.errors import first_line
from perft.models.blocks import MoEBlock, decoder_layers, find_moe_blocks

SHAPES = 64
"""Most versions of a region: by shape, by whether a gradient is wanted, by class."""


@dataclass
class Compilation:
    """What the regions of one base share.

    Attributes:
        regions: all of them, first layer first.
        active: whether micro-batches run the compiled regions.
        static: whether batches have few fixed shapes, each with a version of its own.
        names: gives the adapters that have rows in the micro-batch that is running.
        failures: why a class of modules runs uncompiled, by its name.
        on_failure: called once for each failure, with a sentence.
    """

    regions: list["Region"] = field(default_factory=list)
    active: bool = True
    static: bool = False
    names: Callable[[], frozenset[str]] = frozenset
    failures: dict[str, str] = field(default_factory=dict)
    on_failure: Callable[[str], None] = print

    def fail(self, kind: str, error: BaseException) -> None:
        """Makes a class of modules run uncompiled from now on."""
        if kind not in self.failures:
            self.failures[kind] = first_line(error)
            self.on_failure(f"{kind} of this base runs uncompiled: {self.failures[kind]}")

    def give_up(self, error: BaseException) -> None:
        """Makes everything run uncompiled from now on."""
        self.active = False
        self.fail("everything", error)


class Region:
    """Replaces a module's `forward`, compiled where it can be.

    Args:
        path: of the module in the base.
        module: the module.
        compilation: of the base.

    Attributes:
        carried: adapters with hooks inside the region.
    """

    def __init__(self, path: str, module: nn.Module, compilation: Compilation) -> None:
        self.path = path
        self.carried: set[str] = set()
        self._kind = type(module).__name__
        self._compilation = compilation
        self._eager = module.forward
        # Compiles the class's own `forward`; an instance's replacement is for running uncompiled.
        own = type(module).forward.__get__(module)
        self._static, self._dynamic = (
            torch.compile(own, fullgraph=True, dynamic=dynamic, options=compile_options())
            for dynamic in (False, None)
        )
        self.__wrapped__ = own  # inspect.signature finds the module's

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the module."""
        if not self._runs_compiled((*args, *kwargs.values())):
            return self._eager(*args, **kwargs)
        compiled = self._static if self._compilation.static else self._dynamic
        try:
            return compiled(*args, **kwargs)  # type: ignore[no-untyped-call]
        except TorchDynamoException as error:
            self._compilation.fail(self._kind, error)
            return self._eager(*args, **kwargs)

    def _runs_compiled(self, values: Iterable[Any]) -> bool:
        shared = self._compilation
        return (
            shared.active
            and self._kind not in shared.failures
            and self.carried.isdisjoint(shared.names())
            # A cache indexes layers by number, so that each layer would need a version of its own.
            and not any(isinstance(value, Cache) for value in values)
        )


def compile_regions(model: PreTrainedModel) -> Compilation:
    """Compiles the regions of a frozen base, lazily, when a batch of a new shape first arrives.

    Raises:
        BaseModelError: if the family is not supported or no MoE block is found.
    """
    allow_versions(SHAPES)
    # torch reads `grad` of what it traces, and then warns about that.
    warnings.filterwarnings(
        "ignore", message=r"The \.grad attribute of a Tensor that is not a leaf"
    )
    paths = {module: path for path, module in model.named_modules()}
    hooked = _hooked(find_moe_blocks(model))
    compilation = Compilation()
    for layer in decoder_layers(model):
        for module in _regions_in(layer, hooked):
            region = Region(paths[module], module, compilation)
            module.forward = region
            compilation.regions.append(region)
    return compilation


def compilation_of(model: nn.Module) -> Compilation | None:
    """The result of `compile_regions` for a base; None if it is not compiled."""
    for module in model.modules():
        region = vars(module).get("forward")
        if isinstance(region, Region):
            return region._compilation
    return None


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Runs micro-batches inside uncompiled: for batches whose shapes keep changing."""
    compilation = compilation_of(model)
    if compilation is None:
        yield
        return
    before, compilation.active = compilation.active, False
    try:
        yield
    finally:
        compilation.active = before and "everything" not in compilation.failures


@contextmanager
def gradient_from_embeddings(model: PreTrainedModel) -> Iterator[None]:
    """Computes gradients inside down to the embeddings, whatever the lowest adapter is.

    So a region has one version for all micro-batches, and a trial's result does not depend on how
    far down the gradient of another goes. It costs one attention's backward pass.
    """

    def require(_embeddings: nn.Module, _args: Any, x_BSD: Tensor) -> Tensor:
        return x_BSD.detach().requires_grad_() if torch.is_grad_enabled() else x_BSD

    handle = model.get_input_embeddings().register_forward_hook(require)
    try:
        yield
    finally:
        handle.remove()


def _hooked(blocks: Iterable[MoEBlock]) -> set[nn.Module]:
    return {
        module
        for block in blocks
        for module in (block.module, block.entry, block.router, block.scorer, block.experts)
    }


def _regions_in(module: nn.Module, hooked: set[nn.Module]) -> Iterator[nn.Module]:
    """The outermost modules, from `module` on, without a hook inside."""
    inside = set(module.modules()) - {module}
    if inside & hooked:
        for child in module.children():
            yield from _regions_in(child, hooked)
    elif next(module.parameters(), None) is not None:
        yield module
