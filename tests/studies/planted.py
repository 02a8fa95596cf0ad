"""Trials of a design whose scores follow a planted rule."""

from collections.abc import Callable, Mapping

import numpy as np
from optuna.trial import FixedTrial

from perft.config import SingleConfig, TrainingConfig
from perft.searching.space import Draw, SearchSpace
from perft.studies import Curves, Design, Forgets, Methods, Published, Routers, Series
from perft.studies.answers import Cell
from perft.studies.published import Row
from perft.trial import AdapterSize, Report, TrialResult

WIDTHS = (2, 4, 8, 16)
SCORED = 2000
SETTINGS = {
    "space": "planted", "task": "arithmetic", "base_model": None, "data": None, "seed": 7,
    "max_steps": 40, "validation_size": SCORED, "num_trials": 36, "dtype": "auto",
}  # fmt: skip


def usual(builtin: bool) -> TrainingConfig:
    return TrainingConfig(lr=1e-2, max_steps=40, warmup_steps=4)


DESIGN = Design(
    adapters={f"s r{width}": SingleConfig(rank=width) for width in WIDTHS},
    rates=(0.5, 1.0, 2.0),
    usual=usual,
)
CURVES = Curves(
    question="Where does it turn?",
    design=DESIGN,
    number="width",
    series=[Series(name="S", adapters={width: f"s r{width}" for width in WIDTHS})],
)
METHODS = Methods(
    question="Which is best?",
    design=DESIGN,
    methods={"small": ("s r2", "s r4"), "large": ("s r8", "s r16")},
    reference="small",
    fixed={"small": Cell("s r4", 1.0), "large": Cell("s r8", 1.0)},
)
FORGETS = Forgets(
    question="What is forgotten?",
    design=DESIGN,
    other_texts=("pretraining",),
    methods={"small": ("s r2", "s r4"), "large": ("s r8", "s r16")},
    reference="small",
)
ROUTERS = Routers(
    question="Is it another router?",
    design=DESIGN,
    router_measures=True,
    learned=("s r8", "s r16"),
    frozen="s r4",
)
PUBLISHED = Published(
    question="Does it come out again?",
    design=DESIGN,
    rows=[Row("S", Cell(f"s r{width}", 1.0), 50.0 + width) for width in WIDTHS],
    claims=[("s r16", "s r2")],
    source="Published somewhere.",
)

Truth = Callable[[int, float], float]
"""The accuracy that is expected, by width and by factor of the rate."""

NO_MEASURES: Mapping[str, Truth] = {}


def trained(
    truth: Truth,
    seeds: int = 3,
    spread: float = 0.01,
    draw: int = 0,
    measures: Mapping[str, Truth] = NO_MEASURES,
) -> list[TrialResult]:
    """The trials of the design, as a search draws them, with scores of the truth and noise.

    Each has these metrics, with noise.
    """
    random = np.random.default_rng(draw)
    drawn = Draw(SearchSpace.of_study("arithmetic", CURVES), True, 7)
    results = []
    for number, point in enumerate(DESIGN.points[: seeds * DESIGN.cells]):
        config = drawn(FixedTrial(dict(point)))
        width, rate = config.adapter.rank, float(point["rate"])
        share = np.clip(truth(width, rate) + spread * random.standard_normal(), 0, 1)
        metrics = {
            name: of(width, rate) + spread * random.standard_normal()
            for name, of in measures.items()
        }
        report = Report(
            step=40, train_loss=1.0, val_loss=1.0, correct=round(SCORED * share), scored=SCORED,
            lr=0.0, tokens_per_second=1.0, measures=metrics,
        )  # fmt: skip
        results.append(
            TrialResult(
                number=number, config=config, outcome="complete", reports=(report,), params=point,
                size=AdapterSize(
                    trainable=9 * width, activated=9 * width, base_activated=10_000
                ),
            )
        )  # fmt: skip
    return results
