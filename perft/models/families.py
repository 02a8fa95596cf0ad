"""The MoE families that perft supports, and what differs between them. Free of torch.

Fused experts and a router module are common to all MoE families of transformers 5; what a family
adds is where its block keeps them and how its router returns its choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perft.errors import BaseModelError


@dataclass(frozen=True)
class Family:
    """How to read one family's MoE block.

    Attributes:
        block: class name of the MoE block.
        router: attribute of the block that holds the router module.
        experts: attribute of the block that holds the fused experts.
        routing: positions of (weights, indices) in the tuple that the router returns.
        num_experts: configuration key of the number of experts.
        top_k: configuration key of the experts per token.
    """

    block: str
    router: str = "gate"
    experts: str = "experts"
    routing: tuple[int, int] = (1, 2)
    num_experts: str = "num_experts"
    top_k: str = "num_experts_per_tok"


FAMILIES: Mapping[str, Family] = {
    "mixtral": Family("MixtralSparseMoeBlock", num_experts="num_local_experts"),
    "olmoe": Family("OlmoeSparseMoeBlock"),
}


def family_of(model_type: str, name: str) -> Family:
    """The family of a base.

    Args:
        model_type: `model_type` of its configuration.
        name: what the user called it, for the message.

    Raises:
        BaseModelError: if the family is not supported.
    """
    if model_type not in FAMILIES:
        raise BaseModelError(
            f"base {name!r} is of type {model_type!r}, which is not a supported MoE family; "
            f"supported: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]


def require_moe_settings(config: Mapping[str, Any], name: str) -> None:
    """Checks a base's configuration (a `config.json`) before anything is loaded.

    Raises:
        BaseModelError: if the family is not supported or the MoE sizes are missing.
    """
    family = family_of(str(config.get("model_type", "")), name)
    # A key that is absent means the family's default, so only values that are there are checked.
    for key in (family.num_experts, family.top_k):
        value = config.get(key, 1)
        if not isinstance(value, int) or value < 1:
            raise BaseModelError(f"base {name!r} has {key}={value!r} in its config.json")
