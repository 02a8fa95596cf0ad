"""What measures packs runs on a small base, so that it runs where there is a GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import OlmoeConfig, OlmoeForCausalLM

from contracts.recording import Recording
from perft.errors import ConfigError
from perft.models.load import make_ready
from perft.ranks import Ranks
from perft.training import stepper

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def tiny() -> OlmoeConfig:
    return OlmoeConfig(
        hidden_size=16, intermediate_size=8, num_experts=4, num_experts_per_tok=2,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2, vocab_size=100,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Captures on a CPU too; what each stepper would capture with."""
    made: list[Recording] = []

    def capture(_device: torch.device) -> Recording:
        made.append(Recording())
        return made[-1]

    monkeypatch.setattr(stepper, "capture_for", capture)
    return made


def model_of(dtype: torch.dtype = torch.bfloat16) -> OlmoeForCausalLM:
    torch.manual_seed(0)
    model = OlmoeForCausalLM._from_config(tiny(), dtype=dtype)
    make_ready(model, CPU)
    return model


def test_every_column_is_measured_for_packs_of_every_size() -> None:
    import gpu_pack
    from pack_sides import AS_TRAINED, EAGER, Size, Step, mixed

    model = gpu_pack.random_model(tiny(), CPU, compile=False)
    for count, way in ((1, EAGER), (9, AS_TRAINED)):
        step = Step(model, Size(mixed(count), 2, 12), Ranks(), way=way, checkpointing=True)
        row = gpu_pack.measure(step, 1e9, 1)
        step.close()
        assert len(row) == len(gpu_pack.COLUMNS)
        assert row[0] == str(count)
    assert list(model.state_dict()) == list(OlmoeForCausalLM(tiny()).state_dict())


def test_a_device_runs_in_all_ways_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    import gpu_pack
    from pack_sides import AS_TRAINED, COMPILED, EAGER

    assert gpu_pack.ways_on(CPU, compiles=False) == [EAGER]
    assert gpu_pack.ways_on(CPU, compiles=True) == [EAGER, COMPILED]
    monkeypatch.setattr(gpu_pack, "capture_for", lambda _device: Recording())
    assert gpu_pack.ways_on(CPU, compiles=True) == [EAGER, COMPILED, AS_TRAINED]


def test_a_device_is_described_with_what_runs_on_it() -> None:
    import card

    assert card.matrix_rate(CPU, 32) > 0
    line = card.described(CPU)
    assert all(name in line for name in ("perft 0.", "torch 2.", "transformers 5.", "Python 3."))
    assert card.launches(lambda: torch.ones(2, device=CPU).add(1).view(1, 2), CPU) == 2
    assert card.host_seconds(lambda: None, CPU, 3) < 1
    assert card.device_for(tiny=True) == CPU


def test_without_a_gpu_nothing_but_tiny_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    import card

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"no CUDA device: .*--tiny"):
        card.device_for(tiny=False)


@pytest.mark.parametrize("tokens", [None, 64])
def test_captured_sides_train_as_those_that_run_as_they_are(
    tokens: int | None, graphs: list[Recording]
) -> None:
    from pack_sides import AS_TRAINED, EAGER, Size, Step, mixed

    def trained(way: Any) -> dict[str, torch.Tensor]:
        step = Step(model_of(), Size(mixed(8), 2, 12), Ranks(), way=way, tokens=tokens)
        for _ in range(4):
            for run in step.sides().values():
                run()
        return adapters_of(step)

    found, wanted = trained(AS_TRAINED), trained(EAGER)
    for name in wanted:
        assert torch.equal(found[name], wanted[name]), name
    (used,) = (each for each in graphs if each.captured)
    assert used.replayed == 2 * used.captured
    packed = 2 if tokens is None else 5
    assert used.captured == packed + 8 + packed  # together, one after another, the floor's


def test_floors_have_the_shapes_of_what_they_are_the_floor_of() -> None:
    from pack_sides import Size, Step, mixed

    step = Step(model_of(), Size(mixed(8), 2, 12), Ranks(), tokens=64)
    assert [one.shape.rows for one in step.microbatches() if one.shape] == [4] * 5
    seen: list[tuple[int, ...]] = []
    step.host.model.get_input_embeddings().register_forward_hook(
        lambda _module, args, _y: seen.append(tuple(args[0].shape))
    )
    step.packed()
    packed = list(seen)
    seen.clear()
    step.floor()
    assert seen == packed == [(4, 16)] * 5


def test_memory_counts_what_a_step_makes_and_nothing_that_stays() -> None:
    from pack_sides import Size, Step, mixed

    step = Step(model_of(), Size(mixed(2), 2, 12), Ranks())
    found = step.step_bytes()
    kept = sum(t.numel() * 4 for name in step.batches for t in step.host.tensors(name).values())
    assert found.live == found.held > 0
    assert step.trained_bytes() == pytest.approx(found.live + 3 * kept, rel=0.01)


def test_packed_and_sequential_train_alike_and_the_floor_trains_nothing() -> None:
    from pack_sides import Size, Step, mixed

    def trained(side: str) -> dict[str, torch.Tensor]:
        step = Step(model_of(torch.float32), Size(mixed(8), 2, 12), Ranks())
        step.sides()[side]()
        return adapters_of(step)

    packed, sequential, floor = (trained(side) for side in ("packed", "sequential", "floor"))
    moved = {name for name in packed if not torch.equal(packed[name], floor[name])}
    assert len(moved) >= len(packed) / 2
    for name in packed:
        torch.testing.assert_close(packed[name], sequential[name], rtol=0, atol=2e-5)


def adapters_of(step: Any) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": tensor.detach().clone()
        for name in step.batches
        for key, tensor in step.host.tensors(name).items()
    }
