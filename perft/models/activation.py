"""Between the two products of an expert: its activation, times the routing weight.

Autograd keeps only the input; the backward pass repeats the activation. For silu(gate) up, which
nearly all families have, the derivative is written out: half the operators.

Shapes: N rows, each of one (token, choice) pair; F, or 2F before a gate, the experts' width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from perft.compat.torch import silu_backward
from perft.compat.transformers import gate_of, has_silu_gate

ActivationFunction = Callable[[Tensor], Tensor]


def weighted_activation(experts: Any, h_NF: Tensor, weight_N: Tensor) -> Tensor:
    """Activated rows times their weights, (N, F).

    Args:
        experts: module of transformers' interface; gives the activation.
        h_NF: the first product, (N, 2F) where the experts have a gate.
        weight_N: routing weights.
    """
    activate = gate_of(experts)
    if torch.compiler.is_compiling():  # which decides by itself what to recompute
        return _weigh(h_NF, weight_N, activate)
    kind = _SwiGLU if has_silu_gate(experts) else _Recomputed
    out_NF: Tensor = kind.apply(h_NF, weight_N, activate)  # type: ignore[no-untyped-call]
    return out_NF


def _weigh(h_NF: Tensor, weight_N: Tensor, activate: ActivationFunction) -> Tensor:
    return (activate(h_NF) * weight_N.unsqueeze(-1)).to(h_NF.dtype)


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, h_NF: Tensor, weight_N: Tensor, activate: ActivationFunction) -> Tensor:
        ctx.save_for_backward(h_NF, weight_N)
        return _weigh(h_NF, weight_N, activate)

    @staticmethod
    def backward(ctx: Any, grad_NF: Tensor) -> tuple[Tensor | None, ...]:
        h_NF, weight_N = ctx.saved_tensors
        gate_NF, up_NF = h_NF.chunk(2, -1)
        silu_NF, grad_N = F.silu(gate_NF), None
        if ctx.needs_input_grad[1]:
            grad_N = (grad_NF * (silu_NF * up_NF)).sum(-1, dtype=weight_N.dtype)
        grad_NF = (grad_NF * weight_N.unsqueeze(-1)).to(h_NF.dtype)
        found = torch.empty_like(h_NF)
        of_gate_NF, of_up_NF = found.chunk(2, -1)
        torch.mul(grad_NF, silu_NF, out=of_up_NF)
        grad_NF *= up_NF
        silu_backward(grad_NF, gate_NF, out=of_gate_NF)
        return found, grad_N, None


class _Recomputed(torch.autograd.Function):
    """Any activation: autograd differentiates its repeated forward pass."""

    @staticmethod
    def forward(ctx: Any, h_NF: Tensor, weight_N: Tensor, activate: ActivationFunction) -> Tensor:
        ctx.save_for_backward(h_NF, weight_N)
        ctx.activate = activate
        return _weigh(h_NF, weight_N, activate)

    @staticmethod
    def backward(ctx: Any, grad_NF: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[:2]
        h_NF, weight_N = (
            tensor.detach().requires_grad_(wanted)
            for tensor, wanted in zip(ctx.saved_tensors, needed, strict=True)
        )
        with torch.enable_grad():
            out_NF = _weigh(h_NF, weight_N, ctx.activate)
        learning = [tensor for tensor in (h_NF, weight_N) if tensor.requires_grad]
        found = iter(torch.autograd.grad(out_NF, learning, grad_NF))
        return (*(next(found) if wanted else None for wanted in needed), None)
