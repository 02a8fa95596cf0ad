"""One AdamW per adapter, with the adapter's own clipping and learning rate."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from perft.config import TrainingConfig

_MOMENTS = ("exp_avg", "exp_avg_sq")


class AdapterOptimizer:
    """AdamW over one adapter's tensors.

    Args:
        tensors: the adapter's parameters by key.
        config: weight decay and clipping.

    Attributes:
        absent: keys of the tensors without a gradient in the last step.
    """

    def __init__(self, tensors: Mapping[str, Tensor], config: TrainingConfig) -> None:
        self._tensors = dict(tensors)
        self.absent: list[str] = []
        self._clip_norm = config.clip_norm
        self._adamw = torch.optim.AdamW(
            self._tensors.values(), lr=config.lr, weight_decay=config.weight_decay, fused=True
        )

    def gradients(self) -> list[Tensor]:
        """All gradients; zeros for a tensor without one."""
        self.absent = [key for key, tensor in self._tensors.items() if tensor.grad is None]
        for key in self.absent:
            self._tensors[key].grad = torch.zeros_like(self._tensors[key])
        return [tensor.grad for tensor in self._tensors.values() if tensor.grad is not None]

    def not_finite(self) -> list[str]:
        """Keys of the tensors whose gradient is not finite. Waits for the device."""
        found = {key: t.grad for key, t in self._tensors.items() if t.grad is not None}
        finite = torch.stack([gradient.isfinite().all() for gradient in found.values()])
        return [key for key, fine in zip(found, finite.tolist(), strict=True) if not fine]

    def step(self, lr: float) -> None:
        """Clips the gradient by norm, takes a step at learning rate `lr`, clears the gradient."""
        nn.utils.clip_grad_norm_(self._tensors.values(), self._clip_norm, foreach=True)
        self._adamw.param_groups[0]["lr"] = lr
        self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)

    def skip(self) -> None:
        """Clears the gradient without a step."""
        self._adamw.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The moments, by `<moment>:<key>`; empty before the first step."""
        return {
            f"{moment}:{key}": self._adamw.state[tensor][moment]
            for key, tensor in self._tensors.items()
            if tensor in self._adamw.state
            for moment in _MOMENTS
        }

    def load_state(self, state: Mapping[str, Tensor], step: int) -> None:
        """Restores what `state` returned after `step` steps."""
        for key, tensor in self._tensors.items():
            if f"{_MOMENTS[0]}:{key}" not in state:
                continue
            moments = {m: state[f"{m}:{key}"].to(tensor).clone() for m in _MOMENTS}
            count = torch.tensor(float(step), dtype=torch.float32, device=tensor.device)
            self._adamw.state[tensor] = {"step": count, **moments}
