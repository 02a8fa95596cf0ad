"""Routed PEFT experts as published code computes them: a Python loop that gathers and scatters.

The baseline for PERFT's computation, with the same equations.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perft.config import EmbeddedConfig, RoutedConfig
from perft.models.blocks import MoEBlock, find_moe_blocks

Expert = tuple[nn.Parameter, nn.Parameter]
Choice = tuple[Tensor, Tensor]


@contextmanager
def loop_over_experts(model: Any, config: RoutedConfig | EmbeddedConfig) -> Iterator[None]:
    """PEFT experts of the LoRA form beside every MoE block of a base, one after the other.

    Args:
        model: the base; its routers return (logits, weights, indices).
        config: R, with a router of its own, or E, with the base's.
    """
    handles = []
    choose: Callable[[Tensor], Choice]
    for block in find_moe_blocks(model):
        seen: list[Choice] = []
        if isinstance(config, RoutedConfig):
            choose, count = _own_router(block, config), config.num_experts
        else:
            handles.append(block.router.register_forward_hook(_see(seen)))
            choose, count = partial(_seen, seen), block.num_experts
        experts = [_expert(block, config.rank) for _ in range(count)]
        handles.append(block.module.register_forward_hook(_add(experts, choose, config.scale)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _expert(block: MoEBlock, rank: int) -> Expert:
    hidden = block.hidden_size
    return _weight(block, rank, hidden), _weight(block, hidden, rank)


def _weight(block: MoEBlock, outputs: int, inputs: int) -> nn.Parameter:
    device = next(block.experts.parameters()).device
    return nn.Parameter(0.01 * torch.randn(outputs, inputs, device=device))


def _own_router(block: MoEBlock, config: RoutedConfig) -> Callable[[Tensor], Choice]:
    router_MD = _weight(block, config.num_experts, block.hidden_size)

    def choose(x_TD: Tensor) -> Choice:
        weight_TK, index_TK = F.linear(x_TD.float(), router_MD).softmax(-1).topk(config.top_k)
        return weight_TK, index_TK

    return choose


def _seen(seen: list[Choice], _x_TD: Tensor) -> Choice:
    return seen.pop()


def _see(seen: list[Choice]) -> Callable[..., None]:
    def hook(_router: nn.Module, _args: Any, output: Any) -> None:
        _, weight_TK, index_TK = output
        seen.append((weight_TK, index_TK))

    return hook


def _add(
    experts: Sequence[Expert], choose: Callable[[Tensor], Choice], scale: float
) -> Callable[..., Tensor]:
    def hook(_block: nn.Module, args: Any, y_BSD: Tensor) -> Tensor:
        x_TD = args[0].flatten(0, 1)
        weight_TK, index_TK = choose(x_TD)
        y_TD = torch.zeros_like(x_TD)
        for j, (down_RD, up_DR) in enumerate(experts):
            token_N, slot_N = torch.where(index_TK == j)
            h_NR = F.linear(x_TD[token_N], down_RD.to(x_TD.dtype))
            out_ND = F.linear(h_NR, up_DR.to(x_TD.dtype)) * scale
            gate_N1 = weight_TK[token_N, slot_N].unsqueeze(-1)
            y_TD.index_add_(0, token_N, out_ND * gate_N1.to(x_TD.dtype))
        return y_BSD + y_TD.view_as(y_BSD)

    return hook
