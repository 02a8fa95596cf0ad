"""The processes of one worker group, which share a sharded base and run the same steps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from perft.errors import StorageError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Ranks:
    """This process's place in its worker group.

    Attributes:
        rank: this process, from 0.
        size: number of processes.
        device: where this process computes.
    """

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @classmethod
    def current(cls, device: torch.device) -> "Ranks":
        """The ranks of torch's process group, or this process alone when there is none."""
        if dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size(), device)
        return cls(device=device)

    def local_slice(self, count: int) -> slice:
        """This rank's contiguous slice of `count` items; slices differ in size by at most one."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def all_reduce_(self, tensors: Sequence[Tensor]) -> None:
        """Sums each tensor over the ranks, in place, with one collective per dtype."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            mine = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in mine])
            dist.all_reduce(flat)
            for tensor, part in zip(
                mine, torch.split(flat, [t.numel() for t in mine]), strict=True
            ):
                tensor.copy_(part.view_as(tensor))

    def max(self, count: int) -> int:
        """The largest `count` of all ranks."""
        if self.size == 1:
            return count
        largest = torch.tensor(count, device=self.device)
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def broadcast(self, item: Item) -> Item:
        """Returns rank 0's `item` on every rank."""
        if self.size == 1:
            return item
        box: list[Item] = [item]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def on_first(self, action: Callable[[], Item]) -> Item:
        """Runs `action` on rank 0 and returns its result on every rank.

        Raises:
            StorageError: on every rank, if rank 0 cannot read or write a storage.
        """
        found: Item | StorageError | None = None
        if self.rank == 0:
            try:
                found = action()
            except StorageError as error:
                found = error
        found = self.broadcast(found)
        if isinstance(found, StorageError):
            raise found
        return found  # type: ignore[return-value]  # rank 0 has done the action
