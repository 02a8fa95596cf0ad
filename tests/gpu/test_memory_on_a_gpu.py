"""What a pack costs on a GPU is known before it runs: within 15% of its allocator's peak."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from steps import GPU
from transformers import OlmoeConfig, OlmoeForCausalLM

from contracts.packs import trial
from perft.config import (
    AdapterConfig,
    EmbeddedConfig,
    LoraQVConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.injection import AdapterHost
from perft.models.head import has_plain_head
from perft.models.load import make_ready
from perft.ranks import Ranks
from perft.training.memory import StepWorkload, pack_memory
from perft.training.optimizer import AdapterOptimizer
from perft.training.shapes import RowCapacity
from perft.training.step import TrialBatch
from perft.training.stepper import Stepper

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore"),  # torch warns of what it compiles
]

CONFIG = OlmoeConfig(
    hidden_size=1024, intermediate_size=512, num_experts=16, num_experts_per_tok=4,
    num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=8, vocab_size=8192,
    pad_token_id=0, eos_token_id=1,
)  # fmt: skip
ADAPTERS: list[AdapterConfig] = [
    RoutedConfig(rank=16, num_experts=8, top_k=2),
    EmbeddedConfig(rank=8),
    SingleConfig(rank=16),
    LoraQVConfig(rank=16),
]
LOAD = StepWorkload(rows=16, length=256, tokens=16_384, dtype=torch.bfloat16, fixed=True)


def measured(host: AdapterHost, adapters: list[AdapterConfig], load: StepWorkload) -> int:
    """Bytes that a step takes beyond the base and what stays of the adapters, at its peak."""
    batches: dict[str, TrialBatch] = {}
    rows = [(np.arange(3, 3 + load.length, dtype=np.int32), 0)] * load.rows
    for i, adapter in enumerate(adapters):
        host.add(f"a{i}", adapter)
        training = trial(adapter, batch_size=load.rows, max_length=load.length).training
        optimizer = AdapterOptimizer(host.tensors(f"a{i}"), training)
        capacity = RowCapacity(load.length, load.length)
        batches[f"a{i}"] = TrialBatch(training, 0, rows, optimizer, capacity)
    stepper = Stepper(
        host, Ranks(device=GPU), pad=0, slots=len(adapters), checkpointing=load.checkpointing
    )
    stepper.max_tokens_per_microbatch = load.tokens
    stepper.capture = None  # a graph has the same memory, but apart from all other
    stepper.gradients(batches)  # cuBLAS takes its workspace in the first, and regions compile
    _clear(batches)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    stepper.gradients(batches)
    peak: int = torch.cuda.max_memory_allocated() - before
    _clear(batches)
    for name in batches:
        host.remove(name)
    return peak


def _clear(batches: Mapping[str, TrialBatch]) -> None:
    for batch in batches.values():
        batch.optimizer.skip()


@pytest.fixture(scope="module", params=["eager", "compiled"])
def compiled(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "compiled")


@pytest.fixture(scope="module", params=[torch.bfloat16, torch.float32], ids=str)
def host(request: pytest.FixtureRequest, compiled: bool) -> AdapterHost:
    with GPU:
        model = OlmoeForCausalLM._from_config(CONFIG, dtype=request.param)
    make_ready(model, GPU, compile=compiled)
    has_plain_head(model)
    return AdapterHost(model)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointing"])
@pytest.mark.parametrize("adapters", [ADAPTERS[:1], ADAPTERS], ids=["one trial", "four trials"])
def test_a_step_costs_what_was_predicted(
    host: AdapterHost, adapters: list[AdapterConfig], checkpointing: bool
) -> None:
    load = dataclasses.replace(LOAD, dtype=host.model.dtype, checkpointing=checkpointing)
    cost = pack_memory(CONFIG, adapters, load)
    predicted = cost.gradients + cost.activations + cost.transient
    assert predicted == pytest.approx(measured(host, adapters, load), rel=0.15)
