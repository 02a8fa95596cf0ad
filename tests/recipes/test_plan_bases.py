"""The plans for published bases: their sizes are those of the model cards, and the table's form."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from perft.searching.steering.forecast import Setup

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(REPOSITORY / "docs" / "recipes" / "plan_bases.py"))


@pytest.mark.parametrize(
    ("base", "billions"),
    [
        ("olmoe-1b-7b", 6.92),
        ("qwen3-30b-a3b", 30.5),
        ("mixtral-8x7b", 46.7),
        ("gpt-oss-20b", 20.9),
        ("gpt-oss-120b", 116.8),
    ],
)
def test_a_base_has_as_many_parameters_as_its_card_says(
    base: str, billions: float, script: dict[str, Any]
) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(script["BASES"][base])
    found = sum(parameter.numel() for parameter in model.parameters())
    assert found == pytest.approx(billions * 1e9, rel=0.003)


def test_seconds_of_a_step_by_hand(script: dict[str, Any]) -> None:
    seconds = script["seconds_of_step"]
    found = seconds(10**10, 10**9, rows=16, length=256, slots=4, workers=1)
    assert found == pytest.approx(4 * 10**9 * 4 * 16 * 256 / (0.25 * 757e12))
    shared = seconds(10**10, 10**9, rows=16, length=256, slots=4, workers=4)
    assert shared == pytest.approx(found / 4 + 2 * 2 * 10**10 * 3 / 4 / 300e9)


def test_a_row_has_the_layout_and_the_hours(script: dict[str, Any]) -> None:
    setup = Setup(
        num_trials=64, rungs=(300, 600), groups=2, slots=8, gpus=8, seconds_per_step=0.98765
    )
    row = script["Row"]("olmoe-1b-7b", "8x H100", setup, 4, "perft plan")
    _, _, line = script["to_markdown"]([row]).splitlines()
    # 64 trials of 450 or of 600 steps, 16 at a time
    assert line == "| olmoe-1b-7b | 8x H100 | 4 | 2 | 8 | 0.99 | 0.49 to 0.66 | 4 to 5.3 |"
