"""What measures generation runs on a small base, so that it runs where there is a GPU."""

from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_every_side_is_measured_and_the_base_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import gpu_generate

    model = gpu_generate.base_of(gpu_generate.TINY_GEOMETRY, torch.device("cpu"))
    keys = list(model.state_dict())
    row = gpu_generate.measure(model, trials=3, rows=5, prompt=6, steps=3, turns=1)
    assert len(row) == len(gpu_generate.COLUMNS)
    assert row[:2] == ["3", "6"]
    assert row[4] == "-", "nothing is captured on a CPU"
    monkeypatch.setattr(gpu_generate, "capture_for", lambda _device: lambda step: step)
    assert gpu_generate.measure(model, 1, 4, prompt=6, steps=3, turns=1)[4] != "-"
    assert gpu_generate.seconds_of_rung(model, 2, examples=3, prompt=6, room=4) > 0
    assert list(model.state_dict()) == keys


def test_every_row_uses_all_its_room() -> None:
    import gpu_generate

    from perft.evaluation import generate
    from perft.ranks import Ranks

    model = gpu_generate.base_of(gpu_generate.TINY_GEOMETRY, torch.device("cpu"))
    host = gpu_generate.host_of(model, 2)
    openings = gpu_generate.openings_of(host, rows=4, prompt=6, room=5)
    new = generate(host, openings, pad=gpu_generate.PAD, eos=gpu_generate.EOS, ranks=Ranks())
    assert {len(ids) for rows in new.values() for ids in rows} == {5}
