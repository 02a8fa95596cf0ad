"""The undocumented interfaces of torch that perft uses."""

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
    """Copies tensors in one call: (destinations, sources)."""
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
    """A unique id of a live storage, also one without memory."""
    address: int = storage._cdata
    return address


def replace_tensors(module: nn.Module, by: Callable[[Tensor], Tensor]) -> None:
    """Replaces every parameter and buffer `t` of a module by `by(t)`."""
    _apply(module, by)  # type: ignore[no-untyped-call]


def silu_backward(grad: Tensor, x: Tensor, out: Tensor) -> None:
    """Writes the gradient of silu at `x` into `out`, given its output's; all have one shape."""
    _silu_backward(grad, x, grad_input=out)


def allow_versions(count: int) -> None:
    """Lets torch compile one function for at least `count` shapes."""
    _dynamo.recompile_limit = max(count, _versions)


def compile_options() -> dict[str, Any]:
    """Options of `torch.compile` that give the same kernels everywhere.

    Kernels chosen by timing could differ between machines and runs, and round differently.
    """
    return {"deterministic": True} if hasattr(_inductor, "deterministic") else {}
