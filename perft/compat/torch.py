"""The undocumented interfaces of torch that perft uses."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from perft.compat.library import Library

TORCH = Library("torch", tested="2.13.0")

_REHEARSAL = "to rehearse a step on tensors that have no memory"
_COUNTING = "to count the memory of a step"
_COMPILING = "to compile a base"
_PACKED = "to hold a base's weights in few bits"

Wrapped = TypeVar("Wrapped", bound=Tensor)

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
with TORCH.needs(_PACKED):
    from torch.utils._pytree import tree_map_only

    TO_COPY = torch.ops.aten._to_copy.default
    """The operator of `Tensor.to`: (self, *, dtype, device, non_blocking, ...)."""
    _wrapper = Tensor._make_wrapper_subclass
    _ = (TO_COPY._schema.is_mutable, TO_COPY.is_view)
    functions_as_they_are = torch._C._disabled_torch_function_impl
    """A `__torch_function__` that changes nothing: results are of no special type."""
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
    "TO_COPY",
    "DataDependentOutputException",
    "DynamicOutputShapeException",
    "FakeTensorMode",
    "TorchDispatchMode",
    "TorchDynamoException",
    "address_of",
    "allow_versions",
    "compile_options",
    "copy_all",
    "functions_as_they_are",
    "is_view",
    "make_wrapper",
    "replace_tensors",
    "silu_backward",
    "tree_leaves",
    "tree_map_only",
    "writes",
]


def address_of(storage: torch.UntypedStorage) -> int:
    """A unique id of a live storage, also one without memory."""
    address: int = storage._cdata
    return address


def replace_tensors(module: nn.Module, by: Callable[[Tensor], Tensor]) -> None:
    """Replaces every parameter and buffer `t` of a module by `by(t)`."""
    _apply(module, by)  # type: ignore[no-untyped-call]


def make_wrapper(kind: type[Wrapped], outline: Tensor, device: torch.device) -> Wrapped:
    """A tensor without memory of a class with `__torch_dispatch__`, of an outline's form."""
    made: Wrapped = _wrapper(
        kind,
        outline.shape,
        strides=outline.stride(),
        storage_offset=outline.storage_offset(),
        dtype=outline.dtype,
        device=device,
    )
    return made


def is_view(func: Any) -> bool:
    """Whether an operator may return views of a tensor that it is given."""
    return bool(func.is_view)


def writes(func: Any) -> bool:
    """Whether an operator changes a tensor that it is given."""
    return bool(func._schema.is_mutable)


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
