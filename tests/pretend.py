"""Trials made by hand: what tests of choosing, recording and exporting work on."""

from collections.abc import Sequence

from perft.base_score import BaseScore
from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
    TrainingConfig,
)
from perft.storage import Storage
from perft.trial import AdapterSize, AnswerCount, Origin, Outcome, Report, TrialConfig, TrialResult

BASE_ACTIVATED = 2_000_000
SCORED = 400

ADAPTERS: tuple[AdapterConfig, ...] = (
    SingleConfig(rank=4),
    RoutedConfig(rank=8, num_experts=4, top_k=2),
    DenseConfig(rank=8, num_experts=2, form="parallel"),
    LoraQVConfig(rank=8),
    EmbeddedConfig(rank=16, dropout=0.1),
    LoraRouterConfig(rank=2),
)

SETTINGS = {
    "name": "first",
    "space": "arithmetic",
    "base_model": None,
    "base_fingerprint": "b" * 16,
    "task": "arithmetic",
    "data": None,
    "data_fingerprint": "d" * 16,
    "tracking_uri": "http://user:secret@tracking:5000",
    "storage": "/somewhere/searches",
    "seed": 0,
    "validation_size": 400,
    "num_trials": 6,
    "max_steps": 200,
    "rungs": [50, 100, 200],
    "groups": 1,
    "workers_per_group": 1,
    "slots": 4,
    "versions": {"torch": "2.13.0"},
}


BASE = BaseScore(
    objective="sft",
    val_loss=2.5,
    validation=AnswerCount(40, SCORED),
    tests={"addsub": AnswerCount(5, 395)},
)


def report(step: int, correct: int, *, val_loss: float = 1.0, experts: int = 0) -> Report:
    return Report(
        step=step,
        train_loss=val_loss + 0.1,
        val_loss=val_loss,
        correct=correct,
        scored=SCORED,
        lr=1e-3,
        tokens_per_second=1234.5,
        router_load=tuple(1 / experts for _ in range(experts)),
        router_entropy=0.7 if experts else None,
    )


def trial(
    number: int,
    *,
    correct: int = 200,
    activated: int = 1000,
    val_loss: float = 1.0,
    outcome: Outcome = "complete",
    adapter: AdapterConfig | None = None,
    run_id: str | None = None,
    origin: Origin | None = None,
) -> TrialResult:
    adapter = adapter or ADAPTERS[number % len(ADAPTERS)]
    experts = adapter.num_experts if isinstance(adapter, RoutedConfig) else 0
    steps = (50, 200) if outcome == "complete" else (50,)
    return TrialResult(
        number=number,
        config=TrialConfig(adapter, TrainingConfig(lr=5e-3)),
        outcome=outcome,
        reports=tuple(
            report(step, correct * step // 200, val_loss=val_loss, experts=experts)
            for step in steps
        ),
        size=AdapterSize(
            trainable=2 * activated, activated=activated, base_activated=BASE_ACTIVATED
        ),
        run_id=f"{number:032x}" if run_id is None else run_id,
        error="the loss is not finite at step 51" if outcome == "failed" else "",
        origin=origin,
    )


def search_of_six() -> list[TrialResult]:
    """A front of 0, 1 and 3 (the best); 2 is beaten, 4 was pruned, 5 failed."""
    return [
        trial(0, correct=120, activated=1_000),
        trial(1, correct=300, activated=4_000),
        trial(2, correct=240, activated=8_000),
        trial(3, correct=340, activated=40_000),
        trial(4, correct=100, activated=9_000, outcome="pruned"),
        trial(5, correct=4, activated=500, outcome="failed"),
    ]


def confirmations(of: int, activated: int, *correct: int, first: int = 6) -> list[TrialResult]:
    """Trainings of a trial with other seeds, which answer so many examples rightly."""
    origin = Origin(kind="confirm", trial=of)
    return [
        trial(first + i, correct=count, activated=activated, adapter=ADAPTERS[of], origin=origin)
        for i, count in enumerate(correct)
    ]


def search_of_six_confirmed() -> list[TrialResult]:
    """By its means, the best of the six is no better than the smaller trial 1."""
    return [
        *search_of_six(),
        *confirmations(0, 1_000, 116, 120, 124),
        *confirmations(1, 4_000, 296, 304, 306, first=9),
        *confirmations(3, 40_000, 290, 294, 310, first=12),
    ]


def store_adapters(search: Storage, results: Sequence[TrialResult]) -> None:
    """Writes what a worker leaves behind for every full-length trial."""
    for result in results:
        if result.outcome == "complete":
            for name, data in adapter_files(result.number).items():
                search.write(f"adapters/{result.number:04d}/{name}", data)


def adapter_files(number: int) -> dict[str, bytes]:
    return {
        "adapter_model.safetensors": f"weights of {number}".encode(),
        "adapter_config.json": b'{"peft_type": "PERFT"}',
    }
