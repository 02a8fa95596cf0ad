"""The seam to transformers: where a base keeps its MoE blocks, routers and attention projections.

This is the only place that reads module trees of model families. What it returns names modules
and sizes; it never changes the model.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from transformers import PreTrainedModel

from perft.errors import BaseModelError
from perft.models.families import Family, family_of


@dataclass(frozen=True)
class MoEBlock:
    """One MoE block of a base.

    Attributes:
        name: dotted path of the block in the model.
        module: the block; its input and output are (B, S, D).
        router: the base router inside it, with a `weight` of (E, D).
        experts: the fused base experts inside it.
        hidden_size: D.
        num_experts: E.
        top_k: base experts per token, K.
        routing: positions of (weights, indices) in what the router returns.
    """

    name: str
    module: nn.Module
    router: nn.Module
    experts: nn.Module
    hidden_size: int
    num_experts: int
    top_k: int
    routing: tuple[int, int]

    @property
    def router_name(self) -> str:
        """Dotted path of the router in the model."""
        return self._path_of(self.router)

    @property
    def experts_name(self) -> str:
        """Dotted path of the fused experts in the model."""
        return self._path_of(self.experts)

    def _path_of(self, child: nn.Module) -> str:
        name = next(n for n, m in self.module.named_children() if m is child)
        return f"{self.name}.{name}"

    def read_logits(self, output: tuple[Tensor, ...]) -> Tensor:
        """The router's logits, (T, E), from what it returned: the first part in all families."""
        return output[0]

    def read_routing(self, output: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """(weights, indices), both (T, K), from what the router returned."""
        weights, indices = self.routing
        return output[weights], output[indices]


def find_moe_blocks(model: PreTrainedModel) -> tuple[MoEBlock, ...]:
    """All MoE blocks of a base, from the first layer to the last.

    Raises:
        BaseModelError: if the family is not supported, or no block is found.
    """
    family = family_of(model.config.model_type, model.name_or_path or type(model).__name__)
    blocks = tuple(
        _block(name, module, family, model)
        for name, module in model.named_modules()
        if type(module).__name__.removeprefix("FSDP") == family.block
    )
    if not blocks:
        raise BaseModelError(
            f"{type(model).__name__} has no MoE block of class {family.block}; "
            "an adapter needs at least one MoE layer"
        )
    return blocks


def _block(name: str, module: nn.Module, family: Family, model: PreTrainedModel) -> MoEBlock:
    return MoEBlock(
        name=name,
        module=module,
        router=module.get_submodule(family.router),
        experts=module.get_submodule(family.experts),
        hidden_size=model.config.hidden_size,
        num_experts=getattr(model.config, family.num_experts),
        top_k=getattr(model.config, family.top_k),
        routing=family.routing,
    )


def find_projections(model: PreTrainedModel, names: tuple[str, ...]) -> dict[str, nn.Linear]:
    """The attention's linear layers with one of `names`, by dotted path.

    Raises:
        BaseModelError: if the base has none of some name.
    """
    found = {
        path: module
        for path, module in model.named_modules()
        if path.rpartition(".")[2] in names and isinstance(module, nn.Linear)
    }
    for name in names:
        if not any(path.endswith(f".{name}") for path in found):
            raise BaseModelError(f"{type(model).__name__} has no linear layer named {name!r}")
    return found


def decoder_layers(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder layers, first to last: the units that FSDP shards."""
    layers = model.base_model.get_submodule("layers")
    return list(layers.children())


def activated_parameters(model: PreTrainedModel, blocks: tuple[MoEBlock, ...]) -> int:
    """Parameters of the base that one token uses, embeddings included."""
    total: int = sum(parameter.numel() for parameter in model.parameters())
    idle = sum(
        sum(p.numel() for p in block.experts.parameters())
        * (block.num_experts - block.top_k)
        // block.num_experts
        for block in blocks
    )
    return total - idle
