"""An adapter's tensors at one place, by kind, and their dtype."""

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def master_dtype(base: torch.dtype) -> torch.dtype:
    """The dtype of adapter weights beside a base of dtype `base`: fp32, or fp64 beside fp64."""
    return torch.promote_types(base, torch.float32)
