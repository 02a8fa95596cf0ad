"""The interface to transformers: finds a base's MoE blocks and decoder layers.

Blocks are found by their structure, in any family: a module with a router and experts side by
side. The model is only read, never changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from perft.adapters.table import for_every_block
from perft.errors import BaseModelError
from perft.models.families import Family, family_of
from perft.models.routing import READERS, BaseRouting
from perft.tensor_keys import is_of_adapter

_ROUTERS = ("gate", "router")


@dataclass(frozen=True)
class MoEBlock:
    """One MoE block of a base.

    Attributes:
        base: what the base is called, for messages.
        name: dotted path in the model of `module`.
        module: the block, or the decoder layer where a family has no module for its block; takes
            (B, S, D) first.
        entry: the block, or the experts where there is none: takes the adapters' input and returns
            the hidden states that they add to, alone or as the first of a tuple.
        router: the base router.
        router_name: dotted path in the model of the router.
        experts: the base experts; if a family keeps them in several modules, the first.
        experts_name: dotted path in the model of the experts.
        hidden_size: D.
        num_experts: E.
        top_k: base experts per token, K.
        family: how to read the family's blocks.
    """

    base: str
    name: str
    module: nn.Module
    entry: nn.Module
    router: nn.Module
    router_name: str
    experts: nn.Module
    experts_name: str
    hidden_size: int
    num_experts: int
    top_k: int
    family: Family

    @property
    def hashed(self) -> bool:
        """Whether token ids choose the experts, and not the router."""
        return "HashRouter" in type(self.router).__name__

    @property
    def scorer_name(self) -> str:
        """Dotted path in the model of the module that LoRA on the router works on."""
        return f"{self.router_name}.{self.family.scorer}".removesuffix(".")

    @property
    def scorer(self) -> nn.Module:
        """The module that LoRA on the router works on."""
        return self.router.get_submodule(self.family.scorer)

    @property
    def scorer_weight(self) -> str:
        """Path inside the scorer of the matrix that turns hidden states into logits.

        Raises:
            BaseModelError: if the router is not one matrix.
        """
        matrices = [
            name
            for name, weight in self.scorer.named_parameters()
            if weight.dim() == 2 and len(weight) > 1 and not is_of_adapter(name)
        ]
        if len(matrices) != 1:
            raise BaseModelError(
                f"the router {self.router_name} of base {self.base!r} is not one matrix "
                f"({type(self.router).__name__} has {len(matrices)}), so LoRA on it has nothing "
                f"to add to; {for_every_block()} go beside the block"
            )
        return matrices[0]

    def watch(self, see: Callable[[BaseRouting], None]) -> list[RemovableHandle]:
        """Calls `see` with the routing of every forward pass, before the experts run.

        `see` is not called where some kernels run the experts without their router.
        """
        read = READERS[self.family.routing]
        returned: list[object] = []

        def keep(_router: nn.Module, _args: object, output: object) -> None:
            returned[:] = [output]

        def tell(_experts: nn.Module, args: tuple[object, ...]) -> None:
            if returned:
                routing = read(returned.pop(), args, self.top_k)
                see(routing.scaled(self.family.scale(self.module)))

        return [
            self.router.register_forward_hook(keep),
            self.experts.register_forward_pre_hook(tell),
        ]


def base_name(model: PreTrainedModel) -> str:
    """The name of a base in messages."""
    return str(model.name_or_path or type(model).__name__)


def find_moe_blocks(model: PreTrainedModel) -> tuple[MoEBlock, ...]:
    """All MoE blocks of a base, from the first layer to the last.

    Raises:
        BaseModelError: if the family is not supported, or no block is found.
    """
    # JetMoE routes its attention too.
    return tuple(block for block in _routed(model) if "attention" not in block.name)


def _routed(model: PreTrainedModel) -> tuple[MoEBlock, ...]:
    base = base_name(model)
    family = family_of(model.config.model_type, base)
    found = tuple(
        _block(model, base, family, path, module)
        for path, module in model.named_modules()
        if _router_name(module) and _expert_names(module)
    )
    if not found:
        raise BaseModelError(
            f"base {base!r} is of type {model.config.model_type!r}, but by its configuration it "
            "is dense: none of its layers has an MoE block (a router beside experts). "
            "An adapter needs at least one"
        )
    return found


def _expert_names(module: nn.Module) -> list[str]:
    return [
        name
        for name, child in module.named_children()
        if type(child).__name__.endswith("Experts") and not name.startswith("shared")
    ]


def _router_name(module: nn.Module) -> str | None:
    return next((name for name, _ in module.named_children() if name in _ROUTERS), None)


def _block(
    model: PreTrainedModel, base: str, family: Family, path: str, module: nn.Module
) -> MoEBlock:
    config = model.config.get_text_config()
    router_name, experts_name = str(_router_name(module)), _expert_names(module)[0]
    router, experts = module.get_submodule(router_name), module.get_submodule(experts_name)
    alone = not any("Attention" in type(child).__name__ for child in module.children())
    return MoEBlock(
        base=base,
        name=path,
        module=module,
        entry=module if alone else experts,
        router=router,
        router_name=f"{path}.{router_name}",
        experts=experts,
        experts_name=f"{path}.{experts_name}",
        hidden_size=config.hidden_size,
        num_experts=getattr(experts, family.experts),
        top_k=_top_k(config, family, router, module),
        family=family,
    )


def _top_k(config: object, family: Family, router: nn.Module, module: nn.Module) -> int:
    # The modules know better than the configuration, where some families have a list.
    for owner in (router, module):
        if hasattr(owner, "top_k"):
            return int(owner.top_k)  # type: ignore[arg-type]
    return family.top_k if isinstance(family.top_k, int) else int(getattr(config, family.top_k))


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The layers, first to last, an encoder's before its decoder's: the units that FSDP shards."""
    lists = dict.fromkeys(_before_number(block.router_name) for block in _routed(model))
    return [layer for path in lists for layer in model.get_submodule(path).children()]


def experts_and_routers(model: PreTrainedModel) -> tuple[list[nn.Module], list[nn.Module]]:
    """All modules of experts, and all routers, those of routed attention too."""
    blocks = _routed(model)
    experts = [b.module.get_submodule(name) for b in blocks for name in _expert_names(b.module)]
    return experts, [block.router for block in blocks]


def layer_numbers(model: PreTrainedModel, paths: Sequence[str]) -> list[int]:
    """Which of the `decoder_layers` each of some modules is in, by their dotted paths."""
    names = {module: path for path, module in model.named_modules()}
    layers = [f"{names[layer]}." for layer in decoder_layers(model)]
    return [[path.startswith(layer) for layer in layers].index(True) for path in paths]


def _before_number(path: str) -> str:
    parts = path.split(".")
    return ".".join(parts[: [part.isdecimal() for part in parts].index(True)])


def activated_parameters(model: PreTrainedModel) -> int:
    """Parameters of the base that one token uses, embeddings and shared experts included.

    Vision and audio modules do not count: no text goes through them.
    """
    idle = sum(
        _idle(parameter, block)
        for block in _routed(model)
        for name in _expert_names(block.module)
        for parameter in block.module.get_submodule(name).parameters()
    )
    return sum(parameter.numel() for parameter in text_parameters(model)) - idle


def text_parameters(model: PreTrainedModel) -> list[nn.Parameter]:
    """The base's parameters that a text reaches: those of vision and audio are left out."""
    if not family_of(model.config.model_type, base_name(model)).multimodal:
        return list(model.parameters())
    parts = (model.get_decoder(), model.get_input_embeddings(), model.get_output_embeddings())
    found = {id(p): p for part in parts if part is not None for p in part.parameters()}
    return list(found.values())


def _idle(parameter: nn.Parameter, block: MoEBlock) -> int:
    # LongCat counts experts without weights: a fused weight may have fewer than E.
    experts = len(parameter) if parameter.dim() == 3 else block.num_experts
    return parameter.numel() * (experts - block.top_k) // experts
