"""A trial's state as one safetensors blob.

It has the adapter, the optimiser's moments, every report so far and the sums since the last. Data
position, schedule and dropout are functions of the step, so this is complete: a resumed trial takes
the same steps as an uninterrupted one.
"""

import hashlib
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from perft.adapters.routing import RouterSums
from perft.checks import require_number, require_whole
from perft.config.typed import read_fields, typed
from perft.errors import DamagedError, StorageError, first_line
from perft.files import parse_json
from perft.trial import Report, TrialConfig

_FORMAT, _WITHOUT_CHECKSUM = "perft-trial-state-3", "perft-trial-state-2"
_NO_CHECKSUM = "0" * 64
_PARTS = ("config", "reports", "progress")
_COUNTS = ("loss", "steps", "tokens", "seconds")
MAX_TOKENS = 10**15
"""More tokens than any trial is trained on."""
_DAMAGE = (struct.error, KeyError, ValueError, TypeError, AttributeError, SafetensorError)


@dataclass
class Progress:
    """Sums over a trial's steps since its last report.

    Attributes:
        loss: of the mean training losses, nats per answer token.
        steps: optimiser steps.
        tokens: the trial's own training tokens.
        seconds: time of those steps.
        routing: sums of its PEFT routers; None without one.
    """

    loss: float = 0.0
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    routing: RouterSums | None = None

    def add(self, loss: float, tokens: int, seconds: float, routing: RouterSums | None) -> None:
        """Counts one step."""
        self.loss += loss
        self.steps += 1
        self.tokens += tokens
        self.seconds += seconds
        if routing is not None:
            self.routing = routing if self.routing is None else self.routing + routing


@dataclass(frozen=True)
class TrialState:
    """The state from which a trial resumes.

    Attributes:
        config: the trial's configuration.
        step: optimiser steps done.
        reports: all reports so far, by step.
        adapter: the adapter's tensors by key.
        moments: the optimiser's moments by key.
        progress: sums since the last report.
    """

    config: TrialConfig
    step: int
    reports: tuple[Report, ...]
    adapter: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    progress: Progress = field(default_factory=Progress)


def to_bytes(state: TrialState) -> bytes:
    """The state as a safetensors file."""
    tensors = {
        **{f"adapter:{key}": tensor for key, tensor in state.adapter.items()},
        **{f"moment:{key}": tensor for key, tensor in state.moments.items()},
        **{f"routing:{key}": tensor for key, tensor in _routing(state.progress).items()},
    }
    metadata = {
        "format": _FORMAT,
        "checksum": _NO_CHECKSUM,
        "config": json.dumps(state.config.to_flat()),
        "step": str(state.step),
        "reports": json.dumps([report.to_json() for report in state.reports]),
        "progress": json.dumps({key: getattr(state.progress, key) for key in _COUNTS}),
    }
    data = save({k: t.detach().cpu().contiguous() for k, t in tensors.items()}, metadata)
    return _with_checksum(data, _NO_CHECKSUM, _checksum(data, _NO_CHECKSUM))


def from_bytes(data: bytes) -> TrialState:
    """Rebuilds what `to_bytes` wrote.

    Raises:
        DamagedError: if the blob is damaged.
        StorageError: if it has another format.
    """
    try:
        metadata = parse_json(_header(data))["__metadata__"]
        if metadata["format"] not in (_FORMAT, _WITHOUT_CHECKSUM):
            raise StorageError(f"a trial state of format {metadata['format']!r} was found")
        written = metadata["checksum"] if metadata["format"] == _FORMAT else None
        written = metadata.get("checksum", written)
        if written is not None and _checksum(data, written) != written:
            raise DamagedError("a trial state is damaged: its checksum is wrong")
        tensors = load(data)
        config, reports, progress = (parse_json(metadata[key]) for key in _PARTS)
        return TrialState(
            config=TrialConfig.from_flat(typed(Mapping[str, Any], config, "config")),
            step=_step(metadata["step"]),
            reports=typed(tuple[Report, ...], reports, "reports"),
            adapter=_part(tensors, "adapter:"),
            moments=_part(tensors, "moment:"),
            progress=_progress(progress, _part(tensors, "routing:")),
        )
    except _DAMAGE as error:
        raise DamagedError(f"a trial state is damaged: {first_line(error)}") from error


def _header(data: bytes) -> bytes:
    (size,) = struct.unpack("<Q", data[:8])
    return data[8 : 8 + size]


def _with_checksum(data: bytes, before: str, after: str) -> bytes:
    header = _header(data)
    return data[:8] + header.replace(before.encode(), after.encode(), 1) + data[8 + len(header) :]


def _checksum(data: bytes, written: str) -> str:
    """SHA-256 of the whole blob, with zeros in place of the checksum `written` in its header."""
    header = _header(data)
    digest = hashlib.sha256(data[:8])
    digest.update(header.replace(written.encode(), _NO_CHECKSUM.encode(), 1))
    digest.update(memoryview(data)[8 + len(header) :])
    return digest.hexdigest()


def _routing(progress: Progress) -> dict[str, Tensor]:
    return vars(progress.routing) if progress.routing is not None else {}


def _step(text: str) -> int:
    step = int(text)
    require_whole("step", step, 0)
    return step


def _progress(counts: Any, routing: Mapping[str, Tensor]) -> Progress:
    sums = read_fields(_Counts, counts, "progress")
    return Progress(**vars(sums), routing=RouterSums(**routing) if routing else None)


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """A `Progress` in the header."""

    loss: float
    steps: int
    tokens: int
    seconds: float

    def __post_init__(self) -> None:
        require_whole("steps", self.steps, 0)
        require_whole("tokens", self.tokens, 0, MAX_TOKENS)
        for name in ("loss", "seconds"):
            require_number(name, getattr(self, name))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
