"""One training step of trials on a device, as a pack takes it, and how alike two such steps are.

A step is told apart by its loss and by AdamW's first moment, which after one step is the gradient,
clipped; not by the adapter, whose first step is that of the gradient's signs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from contracts.adapters import EVERY, possible, randomize
from contracts.packs import advance, loaded_base, tiny_task, trial
from perft.checkpoint import from_bytes
from perft.ranks import Ranks
from perft.training.pack import Pack
from perft.trial import TrialConfig

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FAMILIES = ("olmoe", "gpt_oss", "deepseek_v3")
"""Of different blocks: a plain softmax router and experts; experts with biases and a gate of their
own, attention with sinks; a router by groups with a correction, shared experts, a dense layer."""


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
gradients of a batch of four rows differ by up to 0.4."""


@dataclass(frozen=True)
class Step:
    """What one step of a trial gave.

    Attributes:
        loss: in training, nats per predicted token.
        val_loss: after it.
        gradients: the adapter's, clipped, by key.
    """

    loss: float
    val_loss: float
    gradients: Mapping[str, Tensor]


def pack_on(device: torch.device, family: str, dtype: torch.dtype) -> Pack:
    """An empty pack on a tiny base, whose weights are the same on every device."""
    base = loaded_base(family, dtype)
    base.model.to(device)
    return Pack(base, tiny_task(), Ranks(device=device))


def trials_of(pack: Pack) -> dict[str, TrialConfig]:
    """Every variant and form that the base has places for; their rows are the same."""
    return {name: trial(config) for name, config in possible(pack.host, EVERY).items()}


def steps_of(pack: Pack, trials: Mapping[str, TrialConfig]) -> dict[str, Step]:
    """Takes one step of fresh trials together, and lets them go."""
    for name, config in trials.items():
        pack.admit(name, config)
        randomize(pack.host, name)  # fresh adapters add nothing, and would hide what differs
    reports = advance(pack, dict.fromkeys(trials, 1))
    found = {}
    for name, report in reports.items():
        moments = sorted(from_bytes(pack.state(name)).moments.items())
        gradients = {key: m.cpu() for key, m in moments if key.startswith("exp_avg:")}
        found[name] = Step(report.train_loss, report.val_loss, gradients)
        pack.release(name)
    return found


def alone(pack: Pack, trials: Mapping[str, TrialConfig]) -> dict[str, Step]:
    """The same of each trial by itself."""
    return {name: steps_of(pack, {name: config})[name] for name, config in trials.items()}


def assert_alike(found: Mapping[str, Step], wanted: Mapping[str, Step], dtype: torch.dtype) -> None:
    """Holds every trial's losses and gradients to `BOUNDS`."""
    apart = {name: _differences(found[name], wanted[name]) for name in wanted}
    of_losses, of_gradients = ({name: each[i] for name, each in apart.items()} for i in range(2))
    bounds = BOUNDS[dtype]
    assert max(of_losses.values()) <= bounds.loss, of_losses
    assert max(of_gradients.values()) <= bounds.gradient, of_gradients
    assert median(of_gradients.values()) <= bounds.usual_gradient, of_gradients


def _differences(found: Step, wanted: Step) -> tuple[float, float]:
    """Of the losses, in parts of the loss; of the gradients, in parts of their norm."""
    losses = [(found.loss, wanted.loss), (found.val_loss, wanted.val_loss)]
    loss = max(abs(one - other) / other for one, other in losses)
    one, other = (
        torch.cat([tensor.double().flatten() for tensor in step.gradients.values()])
        for step in (found, wanted)
    )
    return loss, float((one - other).norm() / other.norm())
