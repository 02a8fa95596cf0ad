"""One training step of trials on a device, as a pack takes it, and how alike two such steps are.

A step is told apart by its loss and by AdamW's first moment, which after one step is the gradient,
clipped; not by the adapter, whose first step is that of the gradient's signs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from contracts.adapters import EVERY, possible, randomize
from contracts.packs import advance, copied, loaded_base, tiny_task, trial
from perft.checkpoint import from_bytes
from perft.config import LoraExpertsConfig
from perft.models.capture import Capture, GraphCapture, Step
from perft.models.load import make_ready
from perft.ranks import Ranks
from perft.training.pack import Pack
from perft.trial import TrialConfig

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FAMILIES = ("olmoe", "gpt_oss", "deepseek_v3")
"""Of different blocks: a plain softmax router and experts; experts with biases and a gate of their
own, attention with sinks; a router by groups with a correction, shared experts, a dense layer."""


SLOTS = 4
"""Trials that a micro-batch has room for."""

CONFIGS = {**EVERY, "lora-experts": LoraExpertsConfig(rank=8)}
"""Every variant and form. Of rows of fewer than 8 bf16 numbers there is no grouped product, and
what stands in for it waits for the device, so it is never captured."""


@dataclass(frozen=True)
class Bounds:
    """How far two computations of one step may be apart, over all trials.

    Attributes:
        loss: in parts of the loss.
        gradient: in parts of its norm.
        usual_gradient: the median of that.
    """

    loss: float
    gradient: float
    usual_gradient: float


BOUNDS = {
    torch.float32: Bounds(loss=1e-5, gradient=1e-4, usual_gradient=1e-4),
    torch.bfloat16: Bounds(loss=0.05, gradient=1.0, usual_gradient=0.1),
}
"""On a CPU fp32 differs from fp64 by at most 2e-7 and 3e-6 on these bases, and bf16 from fp32 by
0.01 and usually 0.02; but where rounding has the base's router choose another expert, the
gradients of a batch of four rows differ by up to 0.4. The same holds of what is compiled: it keeps
in fp32 what an operator by itself would round to bf16."""


@dataclass(frozen=True)
class Taken:
    """What one step of a trial gave.

    Attributes:
        loss: in training, nats per predicted token.
        val_loss: after it.
        gradients: the adapter's, clipped, by key.
    """

    loss: float
    val_loss: float
    gradients: Mapping[str, Tensor]


class Watched(GraphCapture):
    """Captures as ever, and lets a test see what became of it."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[Any] = []

    def __call__(self, step: Step) -> Step:
        self._made.append(super().__call__(step))
        return self._made[-1]  # type: ignore[no-any-return]

    @property
    def captured(self) -> list[bool]:
        """Of each function, whether there is a graph of it."""
        return [made._graph is not None for made in self._made]


def pack_on(
    device: torch.device, family: str, dtype: torch.dtype, *, compiled: bool = False
) -> Pack:
    """An empty pack on a tiny base, whose weights are the same on every device."""
    base = loaded_base(family, dtype)
    make_ready(base.model, device, compile=compiled)
    return Pack(base, tiny_task(), Ranks(device=device), slots=SLOTS, rung_accuracy=False)


def trials_of(pack: Pack) -> dict[str, TrialConfig]:
    """Every variant and form that the base has places for; their rows are the same."""
    return {name: trial(config) for name, config in possible(pack.host, CONFIGS).items()}


def steps_of(pack: Pack, trials: Mapping[str, TrialConfig]) -> dict[str, Taken]:
    """Takes one step of fresh trials together, and lets them go."""
    for name, config in trials.items():
        pack.admit(name, config)
        randomize(pack.host, name)  # fresh adapters add nothing, and would hide what differs
    reports = advance(pack, dict.fromkeys(trials, 1))
    found = {}
    for name, report in reports.items():
        moments = sorted(from_bytes(pack.state(name)).moments.items())
        gradients = {key: m.cpu() for key, m in moments if key.startswith("exp_avg:")}
        found[name] = Taken(report.train_loss, report.val_loss, gradients)
        pack.release(name)
    return found


def alone(pack: Pack, trials: Mapping[str, TrialConfig]) -> dict[str, Taken]:
    """The same of each trial by itself."""
    return {name: steps_of(pack, {name: config})[name] for name, config in trials.items()}


def bits_after(
    pack: Pack, trials: Mapping[str, TrialConfig], steps: int, capture: Capture | None
) -> dict[str, bytes]:
    """Trains fresh trials together; what they are then and what they reported, bit for bit."""
    pack._stepper.capture = capture
    for name, config in trials.items():
        pack.admit(name, config)
    reports = advance(pack, dict.fromkeys(trials, steps))
    found = {}
    for name, report in reports.items():
        losses = repr((report.train_loss, report.val_loss, report.router_load)).encode()
        tensors = sorted(copied(pack, name).items())
        found[name] = losses + b"".join(tensor.cpu().numpy().tobytes() for _, tensor in tensors)
        pack.release(name)
    return found


def assert_alike(
    found: Mapping[str, Taken], wanted: Mapping[str, Taken], dtype: torch.dtype
) -> None:
    """Holds every trial's losses and gradients to `BOUNDS`."""
    apart = {name: _differences(found[name], wanted[name]) for name in wanted}
    of_losses, of_gradients = ({name: each[i] for name, each in apart.items()} for i in range(2))
    bounds = BOUNDS[dtype]
    assert max(of_losses.values()) <= bounds.loss, of_losses
    assert max(of_gradients.values()) <= bounds.gradient, of_gradients
    assert median(of_gradients.values()) <= bounds.usual_gradient, of_gradients


def _differences(found: Taken, wanted: Taken) -> tuple[float, float]:
    """Of the losses, in parts of the loss; of the gradients, in parts of their norm."""
    losses = [(found.loss, wanted.loss), (found.val_loss, wanted.val_loss)]
    loss = max(abs(one - other) / other for one, other in losses)
    one, other = (
        torch.cat([tensor.double().flatten() for tensor in step.gradients.values()])
        for step in (found, wanted)
    )
    return loss, float((one - other).norm() / other.norm())
