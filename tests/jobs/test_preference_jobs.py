"""The jobs on pairs of answers: trained by DPO or on the chosen answers, exported, scored again."""

import json
import re
from pathlib import Path

import pyarrow.parquet
import pytest
from calling import call

from perft.errors import ConfigError
from perft.searching.capacity import step_workload
from perft.searching.extent import extent_of
from perft.searching.space import Draw, find_space
from perft.trial import TrialConfig

SPACE = """
from pathlib import Path

from perft.config import SingleConfig, TrainingConfig
from perft.searching.space import SearchSpace
from perft.tasks import OwnTask
from perft.trial import TrialConfig

HERE = Path(__file__).parent
TASK = OwnTask(
    name="kind-answers", train=HERE / "train.jsonl", test=HERE / "test.jsonl", prompt="{prompt}",
    answer="chosen", rejected="rejected", scorer="preference",
)


def training(builtin):
    return TrainingConfig(lr=1e-2, max_steps=6, warmup_steps=1, batch_size=4, objective="dpo")


def suggest(trial, builtin):
    return TrialConfig(SingleConfig(rank=2), training(builtin))


SPACE = SearchSpace(task=TASK, training=training, suggest=suggest)
"""
ALONE = ("--variant", "perft-s", "--rank", "4", "--validation-size", "6")


def write_pairs(file: Path, numbers: range) -> None:
    rows = [
        {
            "prompt": f"What is {i} + 1?",
            "chosen": f"{i} + 1 = {i + 1}.",
            "rejected": f"{i} - 1 = {i - 1}.",
        }
        for i in numbers
    ]
    file.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    write_pairs(folder / "train.jsonl", range(1, 41))
    write_pairs(folder / "test.jsonl", range(50, 60))
    (folder / "space.py").write_text(SPACE)
    return folder / "space.py"


def accuracy_of(lines: str, split: str) -> tuple[str, str]:
    """Correct and scored, as `train` says them."""
    found = re.search(rf"{split}: (\d+)/(\d+), ", lines)
    assert found is not None, lines
    return found[1], found[2]


def test_an_adapter_of_own_pairs_is_trained_exported_and_scored_again(
    space: Path, tmp_path: Path
) -> None:
    adapter, out = tmp_path / "adapter", tmp_path / "scores"
    done = call("train", "--space", str(space), *ALONE, "--beta", "0.5", "--out", str(adapter))
    assert (done.status, done.errors) == (0, "")
    assert accuracy_of(done.output, "test split test")[1] == "10"
    again = call("evaluate", "--adapter", str(adapter), "--json", "--out", str(out))
    assert (again.status, again.errors) == (0, "")
    validation, test = json.loads(again.output)["scores"]
    assert (str(test["correct"]), str(test["scored"])) == accuracy_of(
        done.output, "test split test"
    )
    assert validation["scored"] == 6
    assert f"accuracy {validation['accuracy']:.1%}" in done.output
    assert test["protocol"].startswith("own task kind-answers: preference")
    rows = pyarrow.parquet.read_table(out / "predictions.parquet").to_pylist()
    assert all(row["correct"] == (row["output"] == row["label"]) for row in rows)
    refused = call("evaluate", "--adapter", str(adapter), "--scoring", "generation").refusal
    assert refused == "validation is scored by preference, found generation; leave it out"


def test_the_chosen_answers_alone_can_be_trained_on(space: Path) -> None:
    done = call("train", "--space", str(space), *ALONE, "--objective", "sft")
    assert (done.status, done.errors) == (0, "")
    assert accuracy_of(done.output, "test split test")[1] == "10"
    refused = call("train", "--space", str(space), *ALONE, "--objective", "sft", "--beta", "1")
    assert refused.refusal == (
        "the objective sft has no beta, found --beta 1.0; leave it out, or add --objective dpo"
    )


def test_pairs_are_asked_for_before_anything_is_loaded() -> None:
    done = call("train", "--space", "arithmetic", *ALONE, "--objective", "dpo")
    assert done.refusal.startswith("the objective dpo compares two answers to a prompt, and the ex")
    unknown = call("train", "--space", "arithmetic", *ALONE, "--objective", "ppo")
    assert unknown.refusal.startswith("unknown objective 'ppo'; did you mean ")


def test_a_plan_counts_both_answers_with_and_without_the_adapter() -> None:
    load = step_workload(find_space("preferences"), None)
    plain = step_workload(find_space("arithmetic"), None)
    assert (load.rows, load.objective) == (2 * plain.rows, "dpo")
    assert load.kind.tokens == 4 * plain.kind.tokens


def test_trials_of_two_objectives_are_not_compared() -> None:
    space = find_space("preferences")

    def suggest(trial, builtin: bool) -> TrialConfig:
        drawn = space.suggest(trial, builtin)
        objective = trial.suggest_categorical("objective", ("dpo", "sft"))
        flat = drawn.to_flat() | {"objective": objective}
        return TrialConfig.from_flat(flat)

    mixed = type(space)(task="preferences", training=space.training, suggest=suggest)
    with pytest.raises(ConfigError, match="must have the same objective to be compared at rungs"):
        extent_of(Draw(mixed, True, seed=0))
