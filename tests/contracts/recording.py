"""A capture for CPUs: records what a function does and repeats it, as a CUDA graph would.

The function's Python runs once. From then on the same operators run on the same memory, with the
numbers that Python passed them then; and an operator that would make the host wait for a GPU, or
whose result has a shape that depends on data, is refused. So a function that works under it keeps
all that it needs in tensors which stay where they are.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from perft.models.capture import Step

# Those that read a number from the device, whose shape depends on data, or that take a new tensor
# of the host's to the device. Grouped products are not among them: here they may be the stand-in
# for dtypes without a kernel, which waits, but for the dtypes of bases a GPU has the kernel.
_REFUSED = (
    "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.bincount",
    "aten._unique2", "aten.unique_dim", "aten.unique_consecutive", "aten.repeat_interleave.Tensor",
    "aten.equal", "aten.is_nonzero", "aten.lift_fresh",
)  # fmt: skip


class WaitsError(AssertionError):
    """What is recorded cannot be captured."""


class Recorder(TorchDispatchMode):
    """Runs operators, and keeps them with the memory that they read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Callable[[], None]] = []
        self._numbers: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten.lift_fresh.default and args[0].dim() == 0:
            self._numbers.append(func(*args))
            return self._numbers[-1]
        if not self._fills(func, args):
            if any(self._is_number(leaf) for leaf in tree_leaves((args, kwargs))):
                raise WaitsError("aten.lift_fresh makes the host wait for the device")
            _require_capturable(func, args)
        out = func(*args, **kwargs)
        if not func.is_view:
            self.operators.append(lambda: _again(func, args, kwargs, out))
        return out

    def _fills(self, func: Any, args: Any) -> bool:
        """Whether this is `x[mask] = 0`: on a GPU the number stays the host's, and fills x."""
        if func is not torch.ops.aten.index_put_.default or not self._is_number(args[2]):
            return False
        return [index.dtype for index in args[1] if index is not None] == [torch.bool]

    def _is_number(self, leaf: Any) -> bool:
        return any(leaf is number for number in self._numbers)


def _require_capturable(func: Any, args: Any) -> None:
    if str(func).startswith(_REFUSED):
        raise WaitsError(f"{func} makes the host wait for the device")
    if func.overloadpacket in (torch.ops.aten.index, torch.ops.aten.index_put_):
        for index in args[1]:
            if index is not None and index.dtype == torch.bool:
                raise WaitsError(f"{func} by a mask makes the host wait for the device")


def _again(func: Any, args: Any, kwargs: Any, out: Any) -> None:
    """Runs an operator again, and puts what it returns where it was the first time."""
    repeated = func(*args, **kwargs)
    for before, now in zip(tree_leaves(out), tree_leaves(repeated), strict=True):
        if isinstance(before, Tensor) and before.data_ptr() != now.data_ptr():
            before.copy_(now)


class Recording:
    """A `Capture` that runs a function twice as it is, as a GPU's does, then repeats its record.

    Attributes:
        captured: how many functions it has recorded.
        replayed: how often any of them was repeated.
    """

    def __init__(self) -> None:
        self.captured = self.replayed = 0

    def __call__(self, step: Step) -> Step:
        """What takes the function's place."""
        calls = 0
        recorder = Recorder()

        def run() -> None:
            nonlocal calls
            calls += 1
            if calls == 1:
                step()
            elif calls == 2:  # this runs for real what capturing would only write down
                with recorder:
                    step()
                self.captured += 1
            else:
                self.replayed += 1
                with torch.no_grad():  # what autograd did is in the record
                    for operator in recorder.operators:
                        operator()

        return run
