"""Counts the bytes of live tensors at every operation, on any device.

Fake tensors, which have no memory, count like real ones; those on the meta device, which are only
shapes, do not. Of a packed weight, what its numbers take while an operator reads them.
"""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from perft.compat.torch import TorchDispatchMode, address_of, tree_leaves
from perft.models.quantised_weight import QuantisedWeight


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, counts the storages that operations allocate, until they are freed.

    Args:
        known: tensors that are not counted, nor are views of them.

    Attributes:
        now: live bytes.
        peak: the most live bytes at any time.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._bytes = {address_of(_storage(tensor)): 0 for tensor in known}

    def __torch_dispatch__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> object:
        if QuantisedWeight in types:  # comes again with the weight's numbers
            return NotImplemented
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and not leaf.is_meta:
                self._see(_storage(leaf))
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        address = address_of(storage)
        if address not in self._bytes:
            self._bytes[address] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, address)

    def _forget(self, storage: int) -> None:
        self.now -= self._bytes.pop(storage)


def _storage(tensor: Tensor) -> torch.UntypedStorage:
    return tensor.untyped_storage()
