"""Norms of a base that runs uncompiled on a GPU: torch's one kernel in place of seven operators.

transformers writes RMSNorm out: a cast, a square, a mean, a root, two products and a cast back. On
an H100 they were a fifth of an uncompiled training step; compiled regions fuse them anyway.
"""

import functools

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPSILONS = ("variance_epsilon", "eps")
_TOLERANCE = 0.05
"""Of numbers around 1 that went through bf16; another kind of norm is further away."""


def fuse_norms(model: nn.Module) -> int:
    """Makes the RMSNorms of a frozen base use `torch.nn.functional.rms_norm`.

    Random numbers show which modules are norms of that form; others stay as they are.

    Args:
        model: the base, on its device.

    Returns:
        Number of norms changed.
    """
    fused = [module for module in model.modules() if _is_plain(module)]
    for module in fused:
        module.forward = functools.partial(_normalized, module)
    return len(fused)


def _normalized(norm: nn.Module, hidden_states: Tensor) -> Tensor:
    weight_D = norm.weight
    assert isinstance(weight_D, Tensor)
    if hidden_states.dtype != weight_D.dtype:
        found: Tensor = type(norm).forward(norm, hidden_states)
        return found
    return F.rms_norm(hidden_states, weight_D.shape, weight_D, _epsilon(norm))


def _epsilon(norm: nn.Module) -> float | None:
    values = (getattr(norm, name, None) for name in _EPSILONS)
    return next((value for value in values if isinstance(value, float)), None)


@torch.no_grad()
def _is_plain(module: nn.Module) -> bool:
    if not type(module).__name__.endswith("RMSNorm") or _epsilon(module) is None:
        return False
    names = [name for name, _ in module.named_parameters()]
    weight_D = getattr(module, "weight", None)
    if names != ["weight"] or not isinstance(weight_D, Tensor) or weight_D.dim() != 1:
        return False
    generator = torch.Generator("cpu").manual_seed(0)
    x_TD = torch.randn(4, len(weight_D), generator=generator, device="cpu")
    x_TD = x_TD.to(weight_D.device, weight_D.dtype)
    try:
        wanted = module(x_TD)
    except (TypeError, ValueError, RuntimeError):  # it takes more arguments
        return False
    found = _normalized(module, x_TD)
    scale = float(weight_D.float().abs().max().clamp_min(1e-3))
    return bool(torch.allclose(found.float(), wanted.float(), rtol=0.02, atol=_TOLERANCE * scale))
