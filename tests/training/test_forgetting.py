"""What a trial forgets is its loss on other text over that of the base, however it is measured."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from perft.config import EmbeddedConfig, FurtherMeasures, LoraQVConfig, TrainingConfig
from perft.models.load import load_base
from perft.ranks import Ranks
from perft.tasks import TaskSource, load_task
from perft.tasks.other_text import read_other_text
from perft.tasks.tokenize import TokenizedSplit, tokenize
from perft.training.pack import Pack
from perft.trial import Report, TrialConfig

TEXTS = ("pretraining", "commonsense")
TRAINING = TrainingConfig(lr=2e-2, max_steps=6, warmup_steps=1, batch_size=4, max_length=128)
TRIALS = {
    "e": TrialConfig(EmbeddedConfig(rank=4), TRAINING),
    "lora": TrialConfig(LoraQVConfig(rank=4), TRAINING),
}


def pack_with(texts: tuple[str, ...], dtype: str = "float32") -> Pack:
    task = load_task(TaskSource(name="arithmetic", validation_size=4))
    return Pack(
        load_base(dtype=dtype), task, Ranks(), slots=2, further=FurtherMeasures(other_texts=texts)
    )


def reports(pack: Pack, names: tuple[str, ...], steps: int = 6) -> dict[str, Report]:
    for name in names:
        pack.admit(name, TRIALS[name])
    found = pack.advance(dict.fromkeys(names, steps))
    assert all(isinstance(each, Report) for each in found.values())
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def both() -> tuple[Pack, dict[str, Report]]:
    pack = pack_with(TEXTS)
    return pack, reports(pack, ("e", "lora"))


def test_it_is_the_loss_over_that_of_the_base_alone(both: tuple[Pack, dict[str, Report]]) -> None:
    pack, found = both
    rows = tokenize(read_other_text("pretraining"), pack.base.tokenizer, 1024, "all")
    pack.host.activate("e")
    trained, alone = (mean_loss(base.model, rows) for base in (pack.base, load_base()))
    assert found["e"].measures["forgot_pretraining"] == pytest.approx(trained - alone, abs=1e-5)


@torch.no_grad()
def mean_loss(model: PreTrainedModel, rows: TokenizedSplit) -> float:
    """Row by row, nats per predicted token."""
    total, count = 0.0, 0
    for i in range(len(rows)):
        tokens = torch.tensor(rows.row(i)[0].tolist())
        logits = model(input_ids=tokens[None]).logits[0, :-1]
        total += cross_entropy(logits, tokens[1:], reduction="sum").item()
        count += len(tokens) - 1
    return total / count


def test_packed_it_is_as_alone(both: tuple[Pack, dict[str, Report]]) -> None:
    for name, report in both[1].items():
        (alone,) = reports(pack_with(TEXTS), (name,)).values()
        assert set(alone.measures) == {"forgot_pretraining", "forgot_commonsense"}
        assert report.measures == pytest.approx(alone.measures, abs=1e-4)


def test_it_changes_nothing_else_and_is_measured_at_full_length_alone() -> None:
    packs = pack_with(TEXTS), pack_with(())
    for steps in (3, 6):
        for pack in packs:
            if steps == 3:
                pack.admit("e", TRIALS["e"])
        found, wanted = (pack.advance({"e": steps})["e"] for pack in packs)
        assert isinstance(found, Report)
        assert isinstance(wanted, Report)
        assert bool(found.measures) == (steps == 6)
        same = replace(found, measures={}, tokens_per_second=0.0)
        assert same == replace(wanted, tokens_per_second=0.0)


def test_with_fixed_shapes_too() -> None:
    (found,) = reports(pack_with(TEXTS, "bfloat16"), ("e",)).values()
    (exact,) = reports(pack_with(TEXTS), ("e",)).values()
    assert found.measures == pytest.approx(exact.measures, abs=0.1)


def test_text_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Tom has 5 apples.\n\nTom gets 3 more.\n")
    (found,) = reports(pack_with((str(tmp_path / "notes.txt"),)), ("e",)).values()
    assert set(found.measures) == {"forgot_notes"}
