"""What perft uses of torch beyond its documented interface."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from perft.compat.library import Library

TORCH = Library("torch", tested="2.13.0")

_REHEARSAL = "to rehearse a step on tensors that have no memory"
_COUNTING = "to count the memory of a step"
_COMPILING = "to compile a base"

with TORCH.needs(_REHEARSAL):
    from torch._subclasses.fake_tensor import (
        DataDependentOutputException,
        DynamicOutputShapeException,
        FakeTensorMode,
    )

    GROUPED_MM = torch.ops.aten._grouped_mm.default
    """The operator of `torch.nn.functional.grouped_mm`: (self, mat2, offs, ...)."""
    _apply = nn.Module._apply
with TORCH.needs(_COUNTING):
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    _address = torch.UntypedStorage._cdata
with TORCH.needs(_COMPILING):
    from torch._dynamo import config as _dynamo
    from torch._dynamo.exc import TorchDynamoException
    from torch._inductor import config as _inductor

    _versions = _dynamo.recompile_limit
with TORCH.needs("to keep what captured passes add up"):
    copy_all = torch._foreach_copy_
    """Copies tensors into others, all in one call: (others, tensors)."""
with TORCH.needs("for the gradient of SwiGLU"):
    _silu_backward = torch.ops.aten.silu_backward.grad_input

TORCH.require(
    [argument.name for argument in GROUPED_MM._schema.arguments[:3]] == ["self", "mat2", "offs"],
    "torch.ops.aten._grouped_mm.default with the arguments self, mat2, offs",
    _REHEARSAL,
)
__all__ = [
    "GROUPED_MM",
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "FakeTensorMode",
    "TorchDispatchMode",
    "TorchDynamoException",
    "address_of",
    "allow_versions",
    "compile_options",
    "copy_all",
    "replace_tensors",
    "silu_backward",
    "tree_leaves",
]


def address_of(storage: torch.UntypedStorage) -> int:
    """What tells a storage from every other one that exists, also one without memory."""
    address: int = storage._cdata
    return address


def replace_tensors(module: nn.Module, by: Callable[[Tensor], Tensor]) -> None:
    """Puts `by` of it in the place of every parameter and buffer of a module."""
    _apply(module, by)  # type: ignore[no-untyped-call]


def silu_backward(grad: Tensor, x: Tensor, out: Tensor) -> None:
    """Writes the gradient of silu at `x`, given that of its output; all are of one shape."""
    _silu_backward(grad, x, grad_input=out)


def allow_versions(most: int) -> None:
    """Lets torch compile one function for as many shapes, or for more if it may already."""
    _dynamo.recompile_limit = max(most, _versions)


def compile_options() -> dict[str, Any]:
    """Options of `torch.compile` by which the same code becomes the same kernels everywhere.

    What is tuned on the device by time would be another kernel, with another rounding, elsewhere.
    """
    return {"deterministic": True} if hasattr(_inductor, "deterministic") else {}
