"""A trial's state as one safetensors blob: adapter, optimiser moments, and every report so far.

Data position, schedule and dropout are functions of the step, so this is all of it: a trial that
goes on from here takes the same steps as one that never stopped.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from perft.errors import StorageError
from perft.trial import Report, TrialConfig

_FORMAT = "perft-trial-state-1"
_DAMAGE = (struct.error, KeyError, ValueError, TypeError, AttributeError, SafetensorError)


@dataclass(frozen=True)
class TrialState:
    """What a trial goes on from.

    Attributes:
        config: the trial's configuration.
        step: optimiser steps done.
        reports: all reports so far, by step.
        adapter: the adapter's tensors by key.
        moments: the optimiser's moments by key.
    """

    config: TrialConfig
    step: int
    reports: tuple[Report, ...]
    adapter: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]


def to_bytes(state: TrialState) -> bytes:
    """The state as a safetensors file."""
    tensors = {
        **{f"adapter:{key}": tensor for key, tensor in state.adapter.items()},
        **{f"moment:{key}": tensor for key, tensor in state.moments.items()},
    }
    metadata = {
        "format": _FORMAT,
        "config": json.dumps(state.config.to_flat()),
        "step": str(state.step),
        "reports": json.dumps([report.to_json() for report in state.reports]),
    }
    return save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, metadata)


def from_bytes(data: bytes) -> TrialState:
    """Rebuilds what `to_bytes` wrote.

    Raises:
        StorageError: if the blob is damaged or of another kind.
    """
    try:
        (size,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + size])["__metadata__"]
        if metadata["format"] != _FORMAT:
            raise StorageError(f"a trial state of format {metadata['format']!r} was found")
        tensors = load(data)
        reports = json.loads(metadata["reports"])
        return TrialState(
            config=TrialConfig.from_flat(json.loads(metadata["config"])),
            step=int(metadata["step"]),
            reports=tuple(Report.from_json(report) for report in reports),
            adapter=_part(tensors, "adapter:"),
            moments=_part(tensors, "moment:"),
        )
    except _DAMAGE as error:
        raise StorageError(f"a trial state is damaged: {error!r}") from error


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
