"""Parameters are counted by the formulas of the method, on real geometries too.

L MoE layers, hidden D, rank r: a PEFT expert has 2Dr weights, a PEFT router D*M (docs/method.md,
"Parameter efficiency").
"""

import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM, OlmoeConfig, OlmoeForCausalLM

from contracts.adapters import EVERY
from contracts.bases import FAMILIES, tiny_base
from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    GatedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.injection import AdapterHost

# (L, D, base experts, base experts per token, sum of in+out of q and of v, width of an
# expert) of the tiny bases.
TINY = (2, 16, 4, 2, 64, 16)


def by_formula(
    config: AdapterConfig, geometry: tuple[int, int, int, int, int, int]
) -> tuple[int, int]:
    """(trainable, activated) parameters, as the table of the method says."""
    layers, hidden, experts, top_k, q_and_v, width = geometry
    expert = 2 * hidden * config.rank
    if config.to_flat().get("form") == "dora":
        expert += hidden
    match config:
        case SingleConfig():
            both = (expert, expert)
        case DenseConfig(num_experts=m):
            both = (m * expert, m * expert)
        case RoutedConfig(num_experts=m, top_k=k):
            both = (m * expert + hidden * m, k * expert + hidden * m)
        case GatedConfig():
            both = (expert + hidden, expert + hidden)
        case EmbeddedConfig():
            both = (experts * expert, top_k * expert)
        case LoraQVConfig():
            both = (config.rank * q_and_v, config.rank * q_and_v)
        case LoraAttentionConfig():
            # k and o have the shapes of v and q.
            both = (2 * config.rank * q_and_v, 2 * config.rank * q_and_v)
        case LoraExpertsConfig():
            # Of every expert: D -> 2F (gate and up) and F -> D.
            pairs = config.rank * (hidden + 2 * width + width + hidden)
            both = (experts * pairs, top_k * pairs)
        case LoraRouterConfig():
            both = (config.rank * (hidden + experts), config.rank * (hidden + experts))
        case _:
            raise AssertionError(config)
    return layers * both[0], layers * both[1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", EVERY)
def test_counts_follow_the_formulas_and_the_tensors_that_are_there(variant: str, family: str):
    model = tiny_base(family)
    host = AdapterHost(model)
    size = host.size(EVERY[variant])
    assert (size.trainable, size.activated) == by_formula(EVERY[variant], TINY)
    host.add("a", EVERY[variant])
    assert sum(tensor.numel() for tensor in host.tensors("a").values()) == size.trainable
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == size.trainable


@pytest.fixture(scope="module")
def olmoe_1b_7b() -> AdapterHost:
    """OLMoE-1B-7B without memory for its weights."""
    config = OlmoeConfig(
        vocab_size=50304,
        hidden_size=2048,
        intermediate_size=1024,
        num_hidden_layers=16,
        num_attention_heads=16,
        num_key_value_heads=16,
        num_experts=64,
        num_experts_per_tok=8,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        return AdapterHost(OlmoeForCausalLM(config))


@pytest.fixture(scope="module")
def mixtral_8x7b() -> AdapterHost:
    """Mixtral-8x7B without memory for its weights."""
    config = MixtralConfig(
        vocab_size=32000,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        num_local_experts=8,
        num_experts_per_tok=2,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        return AdapterHost(MixtralForCausalLM(config))


def test_olmoe_1b_7b_has_the_published_size(olmoe_1b_7b: AdapterHost):
    total = sum(parameter.numel() for parameter in olmoe_1b_7b.model.parameters())
    assert total / 1e9 == pytest.approx(6.919, abs=5e-4)
    assert olmoe_1b_7b.base_activated / 1e9 == pytest.approx(1.282, abs=5e-4)


def test_mixtral_8x7b_has_the_published_size(mixtral_8x7b: AdapterHost):
    total = sum(parameter.numel() for parameter in mixtral_8x7b.model.parameters())
    assert total / 1e9 == pytest.approx(46.7, abs=0.05)
    assert mixtral_8x7b.base_activated / 1e9 == pytest.approx(12.88, abs=5e-3)


@pytest.mark.parametrize(
    ("config", "trainable", "activated", "percent"),
    [
        (LoraQVConfig(rank=4), 0.524, 0.524, 0.041),
        (RoutedConfig(rank=8, num_experts=2, top_k=1), 1.114, 0.590, 0.046),
        (RoutedConfig(rank=16, num_experts=8, top_k=2), 8.651, 2.359, 0.184),
        (EmbeddedConfig(rank=16), 67.1, 8.389, 0.654),
        (LoraRouterConfig(rank=4), 0.135, 0.135, 0.011),
    ],
    ids=["lora-qv", "perft-r-1-of-2", "perft-r-2-of-8", "perft-e", "lora-router"],
)
def test_adapters_on_olmoe_1b_7b_have_the_published_sizes(
    olmoe_1b_7b: AdapterHost,
    config: AdapterConfig,
    trainable: float,
    activated: float,
    percent: float,
):
    size = olmoe_1b_7b.size(config)
    assert size.trainable / 1e6 == pytest.approx(trainable, abs=0.01 if trainable > 60 else 5e-4)
    assert size.activated / 1e6 == pytest.approx(activated, abs=5e-4)
    assert size.activated_percent == pytest.approx(percent, abs=5e-4)


@pytest.mark.parametrize("variant", EVERY)
def test_counts_on_real_geometries_follow_the_formulas(
    variant: str, olmoe_1b_7b: AdapterHost, mixtral_8x7b: AdapterHost
):
    olmoe = (16, 2048, 64, 8, 4 * 2048, 1024)
    mixtral = (32, 4096, 8, 2, 3 * 4096 + 1024, 14336)
    for host, geometry in ((olmoe_1b_7b, olmoe), (mixtral_8x7b, mixtral)):
        size = host.size(EVERY[variant])
        assert (size.trainable, size.activated) == by_formula(EVERY[variant], geometry)
