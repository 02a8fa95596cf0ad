"""What measures packs runs on a small base, so that it runs where there is a GPU."""

from pathlib import Path

import pytest
import torch
from transformers import OlmoeConfig

from perft.errors import ConfigError

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


def test_every_column_is_measured_for_packs_of_every_size() -> None:
    import gpu_pack
    from pack_sides import Size, mixed

    sizes = [Size(mixed(count), rows=2, length=12) for count in (1, 9)]
    model = gpu_pack.random_model(tiny(), CPU)
    rows = list(gpu_pack.measure(model, sizes, 1e9, 1, checkpointing=True))
    assert [row[0] for row in rows] == ["1", "9"]
    assert all(len(row) == len(gpu_pack.COLUMNS) for row in rows)


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


def test_passes_get_smaller_until_they_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    from pack_sides import Size, Step, mixed
    from transformers import OlmoeForCausalLM

    from perft.ranks import Ranks

    step = Step(OlmoeForCausalLM(tiny()).eval(), Size(mixed(8), 2, 12), Ranks())
    train, room = step.packed, 60

    def packed() -> None:
        if step.tokens > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        train()

    monkeypatch.setattr(step, "packed", packed)
    assert step.fit() >= 4
    assert step.tokens <= room


def test_packed_and_sequential_train_alike_and_the_floor_trains_nothing() -> None:
    from pack_sides import Size, Step, mixed
    from transformers import OlmoeForCausalLM

    from perft.ranks import Ranks

    def trained(side: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        step = Step(OlmoeForCausalLM(tiny()).eval(), Size(mixed(8), 2, 12), Ranks())
        step.sides()[side]()
        return {
            f"{name}/{key}": tensor.detach().clone()
            for name in step.batches
            for key, tensor in step.host.tensors(name).items()
        }

    packed, sequential, floor = (trained(side) for side in ("packed", "sequential", "floor"))
    moved = {name for name in packed if not torch.equal(packed[name], floor[name])}
    assert len(moved) >= len(packed) / 2
    for name in packed:
        torch.testing.assert_close(packed[name], sequential[name], rtol=0, atol=2e-5)
