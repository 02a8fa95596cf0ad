"""What a pack costs is known before it runs: within 15% of what a real step then takes."""

import dataclasses

import pytest
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from contracts.adapters import SIX
from contracts.packs import trial
from perft.config import AdapterConfig, EmbeddedConfig, RoutedConfig, SingleConfig
from perft.errors import BaseModelError
from perft.injection import AdapterHost
from perft.models import quantise as quantising
from perft.models.families import FAMILIES
from perft.models.formats import FORMATS
from perft.models.implementations import use_experts
from perft.models.load import load_base
from perft.models.quantise import quantise, stored_bytes, tensors_in
from perft.models.tiny import tiny_config, tiny_model
from perft.ranks import Ranks
from perft.training.live_bytes import LiveBytes
from perft.training.memory import PackMemory, StepWorkload, pack_memory
from perft.training.microbatches import microbatches
from perft.training.optimizer import AdapterOptimizer
from perft.training.shapes import FixedShapes
from perft.training.step import MicroBatch, TrialBatch, fixed_microbatches_on, gradients_of

LOAD = StepWorkload(rows=4, length=24, tokens=4096, dtype=torch.float32)
VALUES_MATTER = ("dbrx", "jetmoe", "longcat_flash", "qwen4_exp", "qwen4_exp_text")
SAMPLE = ("mixtral", "gpt_oss", "jetmoe")
DECODERS = [name for name, family in FAMILIES.items() if not family.encoder_decoder]


def wide_config() -> OlmoeConfig:
    return OlmoeConfig(
        hidden_size=512, intermediate_size=256, num_experts=8, num_experts_per_tok=2,
        num_hidden_layers=2, num_attention_heads=8, num_key_value_heads=8, vocab_size=1000,
        pad_token_id=0,
    )  # fmt: skip


def measured(model, adapters: list[AdapterConfig], load: StepWorkload) -> int:
    """Bytes of gradients and of everything else that one real step makes."""
    use_experts(model, load.experts)
    host = AdapterHost(model)
    batches = {}
    for i, adapter in enumerate(adapters):
        host.add(f"a{i}", adapter)
        training = trial(
            adapter, batch_size=load.rows, max_length=load.length, objective=load.objective
        ).training
        optimizer = AdapterOptimizer(host.tensors(f"a{i}"), training)
        rows = [
            (torch.arange(load.length).add(3 + r + i * load.rows).numpy() % 40, 0)
            for r in range(load.rows)
        ]
        batches[f"a{i}"] = TrialBatch(training, 0, rows, optimizer)
    together = microbatches_of(host, batches, load)
    known = [part for weight in model.parameters() for part in tensors_in(weight)]
    with LiveBytes([*known, *model.buffers()]) as live:
        gradients_of(host, 0, Ranks(), batches, together, checkpointing=load.checkpointing)
    for name in batches:
        host.remove(name)
    return live.peak


def microbatches_of(
    host: AdapterHost, batches: dict[str, TrialBatch], load: StepWorkload
) -> list[MicroBatch]:
    if not load.fixed:
        together = microbatches({name: batch.shape for name, batch in batches.items()}, load.tokens)
        return [MicroBatch(names) for names in together]
    vocabulary = host.model.config.vocab_size
    fixed = FixedShapes(len(batches), load.tokens, vocabulary, Ranks())
    return fixed_microbatches_on(host, fixed, dict.fromkeys(batches, load.kind))


def of_the_step(cost: PackMemory) -> int:
    return cost.gradients + cost.activations + cost.transient


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_on_the_builtin_base_costs_what_was_foretold(checkpointing: bool) -> None:
    model = load_base().model
    load = dataclasses.replace(LOAD, rows=16, length=56, checkpointing=checkpointing)
    adapters = list(SIX.values())
    predicted = of_the_step(pack_memory(model.config, adapters, load))
    assert predicted == pytest.approx(measured(model, adapters, load), rel=0.15)


@pytest.mark.parametrize("tokens", [2048, 4096])
def test_a_step_of_fixed_shapes_costs_what_was_foretold(tokens: int) -> None:
    model = load_base().model
    load = dataclasses.replace(LOAD, rows=16, length=64, tokens=tokens, fixed=True)
    adapters = list(SIX.values())
    predicted = of_the_step(pack_memory(model.config, adapters, load))
    assert predicted == pytest.approx(measured(model, adapters, load), rel=0.15)
    as_they_are = dataclasses.replace(load, fixed=False, tokens=4096)
    few = adapters[:1] + adapters[4:5]  # they share no pass, and a filled one has room for both
    assert of_the_step(pack_memory(model.config, few, load)) > of_the_step(
        pack_memory(model.config, few, as_they_are)
    )


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_on_a_base_of_hidden_size_512_costs_what_was_foretold(checkpointing: bool) -> None:
    config = wide_config()
    model = OlmoeForCausalLM(config).eval()
    adapters = [RoutedConfig(rank=8, num_experts=4, top_k=2), EmbeddedConfig(rank=8)]
    load = dataclasses.replace(LOAD, length=64, checkpointing=checkpointing)
    predicted = pack_memory(config, adapters, load)
    assert of_the_step(predicted) == pytest.approx(measured(model, adapters, load), rel=0.15)
    assert predicted.base == sum(4 * p.numel() for p in model.parameters())
    host = AdapterHost(model)
    trainable = sum(host.size(adapter).trainable for adapter in adapters)
    assert (predicted.adapters, predicted.gradients) == (4 * trainable, 4 * trainable)
    assert predicted.optimizer == 8 * trainable


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(family, marks=() if family in SAMPLE else pytest.mark.families)
        for family in DECODERS
    ],
)
def test_steps_on_every_family_cost_what_was_foretold(family: str) -> None:
    config = tiny_config(family)
    adapters = [SIX["perft-r"], SIX["perft-s"]]
    if family in VALUES_MATTER:
        with pytest.raises(BaseModelError, match="--slots 1"):
            pack_memory(config, adapters, LOAD)
        return
    predicted = of_the_step(pack_memory(config, adapters, LOAD))
    assert predicted == pytest.approx(measured(tiny_model(family), adapters, LOAD), rel=0.15)


@pytest.mark.parametrize("experts", ["grouped_mm", "batched_mm"])
def test_other_experts_cost_what_was_foretold(experts: str) -> None:
    load = dataclasses.replace(LOAD, length=64, experts=experts)
    ours, adapters = dataclasses.replace(load, experts="auto"), [EmbeddedConfig(rank=8)]
    predicted, auto = (of_the_step(pack_memory(wide_config(), adapters, x)) for x in (load, ours))
    model = OlmoeForCausalLM(wide_config()).eval()
    assert predicted == pytest.approx(measured(model, adapters, load), rel=0.15)
    assert predicted > 1.1 * auto


@pytest.mark.parametrize("precision", FORMATS)
@pytest.mark.parametrize("family", ["mixtral", "gpt_oss", "llama4_text"])
def test_a_quantised_base_takes_the_bytes_that_were_foretold(
    family: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantising, "SMALLEST", 8)
    load = dataclasses.replace(LOAD, quantize=precision)
    predicted = pack_memory(tiny_config(family), [SIX["perft-s"]], load).base
    model = tiny_model(family).requires_grad_(False)
    whole = sum(map(stored_bytes, model.parameters()))
    quantise(model, precision)
    assert predicted == sum(map(stored_bytes, model.parameters())) < whole


@pytest.mark.parametrize("precision", FORMATS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_step_on_a_quantised_base_costs_what_was_foretold(
    precision: str, checkpointing: bool
) -> None:
    base = load_base(quantize=precision)
    load = dataclasses.replace(
        LOAD, rows=16, length=56, quantize=precision, checkpointing=checkpointing
    )
    adapters = list(SIX.values())
    predicted = pack_memory(base.model.config, adapters, load)
    assert predicted.base == sum(map(stored_bytes, base.model.parameters()))
    wanted = measured(base.model, adapters, load)
    assert of_the_step(predicted) == pytest.approx(wanted, rel=0.15)
    plain = pack_memory(base.model.config, adapters, dataclasses.replace(load, quantize="none"))
    assert predicted.activations == plain.activations, "no numbers are kept"


def test_bfloat16_halves_the_base_and_no_adapter() -> None:
    wide, narrow = (
        pack_memory(wide_config(), [SingleConfig(rank=4)], dataclasses.replace(LOAD, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert (narrow.base, narrow.adapters) == (wide.base // 2, wide.adapters)
    assert 0.5 <= narrow.activations / wide.activations < 0.8


def test_the_ranks_share_base_and_rows() -> None:
    config, adapter = wide_config(), [SingleConfig(rank=4)]
    alone = pack_memory(config, adapter, LOAD)
    shared = pack_memory(config, adapter, dataclasses.replace(LOAD, ranks=2))
    layers, root = 4 * 2 * _layer_parameters(config), alone.base
    # Both layers are whole at a time, and so is what is in none of them.
    assert shared.base == alone.base
    assert root > layers
    assert shared.activations == pytest.approx(alone.activations / 2, rel=0.05)
    assert shared.gradients == 2 * alone.gradients
    deep = OlmoeConfig(**{**config.to_dict(), "num_hidden_layers": 6})
    of_one, of_two = (
        pack_memory(deep, adapter, dataclasses.replace(LOAD, ranks=ranks)).base for ranks in (1, 2)
    )
    assert of_one - of_two == 4 * 4 * _layer_parameters(config) // 2


def _layer_parameters(config: OlmoeConfig) -> int:
    with torch.device("meta"):
        layer = OlmoeForCausalLM(config).model.layers[0]
    return sum(p.numel() for p in layer.parameters())


def test_as_many_trials_fit_as_need_no_more_than_the_device_has() -> None:
    config, adapter = wide_config(), EmbeddedConfig(rank=16)
    load = dataclasses.replace(LOAD, tokens=LOAD.rows * LOAD.length)
    alone, five = (pack_memory(config, [adapter] * count, load) for count in (1, 5))
    assert alone.trials_in(five.total) == 5
    assert alone.trials_in(five.total - 1) == 4
    assert alone.trials_in(alone.base) == 0


def test_a_microbatch_takes_no_more_trials_than_its_tokens() -> None:
    config, adapter = wide_config(), SingleConfig(rank=4)
    load = dataclasses.replace(LOAD, tokens=2 * LOAD.rows * LOAD.length)
    assert len(microbatches({str(i): (4, 24) for i in range(8)}, load.tokens)[0]) == 2
    two, eight = (pack_memory(config, [adapter] * count, load) for count in (2, 8))
    assert eight.activations == two.activations
    assert eight.adapters == 4 * two.adapters


def test_live_bytes_count_new_storages_until_they_go() -> None:
    known = torch.ones(100)
    with LiveBytes([known]) as live:
        known.view(10, 10).t()
        assert live.now == live.peak == 0
        first = known + 1
        assert live.now == 400
        second = first[:50]
        del first
        assert live.now == 400
        third = torch.zeros(25, dtype=torch.float64)
        del second
    assert (live.now, live.peak) == (200, 600)
    del third
    assert live.now == 0


@pytest.mark.parametrize("fixed", [False, True])
def test_a_step_of_pairs_costs_what_was_foretold(fixed: bool) -> None:
    model = load_base().model
    plain = dataclasses.replace(LOAD, rows=16, length=48, fixed=fixed)
    load = dataclasses.replace(plain, objective="dpo")
    adapters = [SIX["perft-r"], SIX["perft-s"]]
    predicted = of_the_step(pack_memory(model.config, adapters, load))
    assert predicted == pytest.approx(measured(model, adapters, load), rel=0.15)
    # The base alone sees as many rows as the adapters do.
    assert predicted > 1.7 * of_the_step(pack_memory(model.config, adapters, plain))
