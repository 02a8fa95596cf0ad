"""What MLflow is told in numbers and words: metrics and parameters of its runs."""

import math
from collections.abc import Mapping

from mlflow.entities import Metric, Param

from perft.base_score import BaseScore
from perft.selection import Confirmed, confirmed_columns
from perft.trial import AdapterSize, AnswerCount, Report

SIZE = "activated_parameters"
"""Recorded once per trial: present if the sizes are recorded."""

LOSS = "val_loss"
"""In every report, nearly always finite: has the recorded steps."""

SCORED = "test_scored/"
"""Prefix of a metric of every recorded test split."""

CONFIRMED = "confirmed_mean"
"""On the run of a trial that has been trained with other seeds."""

BASE_LOSS = "base_val_loss"
"""Of the search's run: present if the score of the base is recorded."""

LONGEST = 5000
"""Characters of a tag or parameter; MLflow refuses more than 6000."""

ROUTER_LOAD = "z_router_load/"
"""Prefix of the metrics of single PEFT experts; MLflow sorts metrics by name, and these go last."""


def size_values(size: AdapterSize) -> dict[str, float]:
    """The parameter counts as metrics, so that they can be an axis of a plot."""
    return {
        "trainable_parameters": size.trainable,
        SIZE: size.activated,
        "trainable_percent": size.trainable_percent,
        "activated_percent": size.activated_percent,
    }


def report_values(report: Report) -> dict[str, float]:
    """What a trial reports at a step; losses may not be finite."""
    values = {
        "train_loss": report.train_loss,
        LOSS: report.val_loss,
        "lr": report.lr,
        "tokens_per_second": report.tokens_per_second,
    }
    values |= report.measures
    if report.scored:
        values["accuracy"] = report.accuracy
    if report.router_entropy is not None:
        values["router_entropy"] = report.router_entropy
    if report.router_load:
        values["router_load_max"] = max(report.router_load)
        values["router_load_min"] = min(report.router_load)
        digits = len(str(len(report.router_load) - 1))
        for expert, load in enumerate(report.router_load):
            values[f"{ROUTER_LOAD}{expert:0{max(2, digits)}d}"] = load
    return values


def test_values(split: str, count: AnswerCount) -> dict[str, float]:
    """The score on a test split."""
    correct, scored = count
    return {
        f"test_accuracy/{split}": correct / scored if scored else 0.0,
        f"test_correct/{split}": correct,
        f"{SCORED}{split}": scored,
    }


def confirmed_values(found: Confirmed) -> dict[str, float]:
    """The trainings with other seeds, on the run of the trial that they repeat."""
    return {name: each for name, each in confirmed_columns(found).items() if each is not None}


def base_values(base: BaseScore) -> dict[str, float]:
    """The score of the base alone, on the search's run; names as of a trial, after "base_"."""
    values = {BASE_LOSS: base.val_loss}
    if base.accuracy is not None:
        values["base_accuracy"] = base.accuracy
    for split, count in base.tests.items():
        values |= {f"base_{name}": value for name, value in test_values(split, count).items()}
    return values


def metrics(values: Mapping[str, float], at: int, step: int) -> list[Metric]:
    """The finite values as metrics."""
    return [
        Metric(name, float(value), at, step)
        for name, value in values.items()
        if math.isfinite(value)
    ]


def params(values: Mapping[str, object]) -> list[Param]:
    """The values as parameters, as long as MLflow takes them."""
    return [Param(name, str(value)[:LONGEST]) for name, value in values.items()]
