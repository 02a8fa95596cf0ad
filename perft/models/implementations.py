"""The implementations of the experts, and checks of what each needs before it is used.

`auto` is ours for frozen experts (`perft.models.experts`). The others are transformers' own. Some
of them download kernels from the hub when they first run; here they are refused until the user has
fetched the kernels, so that no code is downloaded or run without the user's consent.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from huggingface_hub import constants
from transformers import PreTrainedModel

from perft.compat.transformers import (
    KERNELS_MAX_VERSION,
    KERNELS_MIN_VERSION,
    ExpertsInterface,
    is_deepgemm_loadable,
    is_kernels_available,
    is_sonicmoe_loadable,
    kernel_source,
)
from perft.errors import BaseModelError, ConfigError, unknown
from perft.models.experts import OURS, use_frozen_experts
from perft.models.precision import NONE

AUTO = "auto"


@dataclass(frozen=True)
class _Kernel:
    """A kernel from the hub: its name in transformers, and whether it can be loaded here."""

    name: str
    is_loadable: Callable[..., bool]


_KERNELS: Mapping[str, _Kernel] = {
    "deepgemm": _Kernel("deep-gemm", is_deepgemm_loadable),
    "sonicmoe": _Kernel("sonic-moe", is_sonicmoe_loadable),
}
_FORWARD_ONLY = ("deepgemm",)
_IN_FP64 = (AUTO, "eager", "batched_mm")


def implementations() -> tuple[str, ...]:
    """Names of the implementations, ours first: `auto`."""
    own = ExpertsInterface().valid_keys()
    return AUTO, "eager", *sorted(name for name in own if name != OURS)


def require_implementation(name: str, *, training: bool, quantize: str = NONE) -> None:
    """Refuses an implementation that cannot run, before anything is loaded or started.

    Args:
        name: one of `implementations`.
        training: whether a gradient is wanted.
        quantize: the precision of the base's large weights.

    Raises:
        ConfigError: if there is no such implementation, it has no gradient, it does not read
            packed weights, or its kernels are not there; says what to install.
    """
    if name not in implementations():
        raise ConfigError(unknown("implementation of the experts", name, implementations()))
    if training and name in _FORWARD_ONLY:
        raise ConfigError(
            f"--experts {name} computes no gradients (transformers' kernels have no backward "
            "pass), so nothing can be trained with it; it is for jobs/evaluate.py"
        )
    if name not in _KERNELS:
        return
    if quantize != NONE:
        raise ConfigError(
            f"--experts {name} reads the experts' memory, which --quantize {quantize} packs; leave "
            "one of them out"
        )
    if not is_kernels_available():
        raise ConfigError(
            f"--experts {name} needs the package kernels; install it: "
            f"pip install 'kernels>={KERNELS_MIN_VERSION},<{KERNELS_MAX_VERSION}'"
        )
    _require_fetched(name)
    if torch.cuda.is_available():
        _require_loadable(name)


def use_experts(model: PreTrainedModel, name: str) -> None:
    """Makes a base, on its device, compute its experts with an implementation.

    Raises:
        ConfigError: if they do not run in the base's dtype.
        BaseModelError: if their kernels cannot be loaded on this machine.
    """
    if model.dtype == torch.float64 and name not in _IN_FP64:
        raise ConfigError(f"--experts {name} does not run in float64; {' or '.join(_IN_FP64)} do")
    if name in _KERNELS and model.dtype != torch.bfloat16:
        raise ConfigError(f"--experts {name} runs in bfloat16 alone; say --dtype bfloat16")
    if name == AUTO:
        use_frozen_experts(model)
        return
    if name in _KERNELS:
        _require_loadable(name)
    model.set_experts_implementation(name)


def use_rehearsable(model: PreTrainedModel, name: str) -> None:
    """As `use_experts`, for a model on fake tensors, on which no kernel of the hub runs.

    Ours takes their place, since it keeps as much memory.
    """
    if name in _KERNELS or name == AUTO:
        use_frozen_experts(model)
    else:
        model.set_experts_implementation(name)


def _require_fetched(name: str) -> None:
    source = kernel_source(_KERNELS[name].name)
    repository = source["repo_id"]
    cache = Path(os.environ.get("KERNELS_CACHE") or constants.HF_HUB_CACHE)
    below = repository.replace("/", "--")  # as the hub's cache is documented
    folders = [cache / f"{kind}s--{below}" for kind in ("kernel", "model")]
    if not any((folder / "snapshots").is_dir() for folder in folders):
        which = ", ".join(f"{k}={v!r}" for k, v in source.items() if k != "repo_id")
        raise ConfigError(
            f"--experts {name} needs the kernels {repository} of the hub, which are not in {cache};"
            f' fetch them on every machine: python -c "import kernels; '
            f'kernels.get_kernel({repository!r}, {which})"'
        )


def _require_loadable(name: str) -> None:
    try:
        _KERNELS[name].is_loadable(raise_error=True)
    except ImportError as error:
        raise BaseModelError(f"--experts {name} cannot run here: {error}") from error
