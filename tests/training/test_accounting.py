"""What is counted before a search is what a trial writes and holds in memory."""

import struct

import pytest
import torch

from contracts.adapters import EVERY
from contracts.bases import tiny_base
from contracts.packs import trial
from perft.adapter_folder import WEIGHTS
from perft.checkpoint import adapter_files
from perft.injection import AdapterHost
from perft.models.skeleton import skeleton_of
from perft.training.optimizer import AdapterOptimizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("variant", EVERY)
def test_bytes_counted_without_weights_are_those_of_file_and_optimiser(
    variant: str, dtype: torch.dtype
) -> None:
    config, base = EVERY[variant], tiny_base("olmoe", dtype)
    size = AdapterHost(skeleton_of(base.config)).size(config)
    host = AdapterHost(base)
    host.add("a", config)
    assert host.size(config) == size
    weights = adapter_files(config, host.tensors("a"), base=None)[WEIGHTS]
    (header,) = struct.unpack("<Q", weights[:8])
    assert len(weights) - 8 - header == size.disk_bytes
    optimizer = AdapterOptimizer(host.tensors("a"), trial(config).training)
    optimizer.gradients()
    optimizer.step(1e-3)
    moments = optimizer.state().values()
    assert sum(moment.nbytes for moment in moments) == size.optimizer_bytes
