"""The results of a search as tables: a data frame of all trials, the front for a terminal.

A row is a trial; a setting that a trial's variant does not have is missing, never zero.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from perft.base_score import BaseScore
from perft.config import AdapterConfig
from perft.config.training import OBJECTIVE_SETTINGS
from perft.errors import printable
from perft.selection.confirm import (
    Confirmed,
    Gain,
    confirmed,
    confirmed_rows,
    format_confirmed,
    format_gain,
    gains,
)
from perft.selection.front import is_scored, pareto_front, size_and_report
from perft.selection.interval import accuracy_interval, format_base, format_score
from perft.selection.pick import RUN_ID_PREFIX, picked_of, picks
from perft.trial import AdapterSize, Origin, OriginKind, Report, TrialConfig, TrialResult

_HOW_CONFIRMED = (
    "other seeds: mean and standard deviation of trainings that chose nothing; they decide best "
    "and knee once all of the front has some. over smaller: gain in the mean over the row above, "
    "by Welch's test that allows for the number of examples, too; noise where p is 0.05 or more"
)


OPTIONAL_COLUMNS = ("run", "% base")
"""Columns of the front's table that a narrow terminal does without, the first one first."""


def to_frame(results: Sequence[TrialResult], base: BaseScore | None = None) -> pd.DataFrame:
    """One row per trial, by number.

    Columns: `number`, `outcome`, `on_front`; of the last report `step`, `train_loss`, `val_loss`,
    `correct`, `scored`, `accuracy` and its 95% interval `accuracy_low`, `accuracy_high` (all in
    [0, 1]); parameters `trainable`, `activated` and their percentage of the base's activated
    ones; `confirmed_mean` and the others of `confirmed_columns`, if there are confirmations;
    `origin` and `origin_trial`, if a trial was not drawn by the sampler; of the base alone, if that
    was scored, `base_accuracy` and `base_val_loss`, the same in every row; every setting of the
    configurations; `run_id`, `error`. Where nothing was scored, the accuracy is missing.
    """
    on_front = {trial.number for trial in pareto_front(results)}
    again = confirmed_rows(results)
    return frame_of(
        [
            {
                "number": result.number,
                "outcome": result.outcome,
                "on_front": result.number in on_front,
                **columns_of(result.config, result.last, result.size),
                **again.get(result.number, {}),
                **origin_columns(result.origin),
                **base_columns(base),
                "run_id": result.run_id,
                "error": printable(result.error),
            }
            for result in results
        ]
    )


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a table, by `number`; what a row lacks is missing, and whole numbers stay whole."""
    names = dict.fromkeys(name for row in rows for name in row)
    frame = pd.DataFrame({name: _column([row.get(name) for row in rows]) for name in names})
    return frame.sort_values("number", ignore_index=True) if rows else frame


def front_table(results: Sequence[TrialResult], base: BaseScore | None = None) -> Table:
    """The Pareto front for a terminal, smallest adapter first, under the base alone."""
    front = pareto_front(results)
    picked, scored, again = picks(results), is_scored(front), confirmed(results)
    over = gains(results)
    what = "validation accuracy (95% interval)" if scored else "validation loss"
    title = f"Pareto front: {what}, activated PEFT parameters"
    caption = _HOW_CONFIRMED if again else None
    table = Table(
        title=title,
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("trial", "accuracy" if scored else "loss", "activated", "% base"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("other seeds", "over smaller") if again else ():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("config", overflow="fold")
    table.add_column("run", no_wrap=True)
    table.add_column("pick", no_wrap=True)
    if base is not None:
        more = ("", "") if again else ()
        table.add_row("base", format_base(base), "0", "0%", *more, "no adapter", "", "")
    for trial in front:
        size, report = size_and_report(trial)
        table.add_row(
            str(trial.number),
            format_score(report),
            f"{size.activated:,}",
            f"{size.activated_percent:.3g}%",
            *(_confirmed_cells(again.get(trial.number), over.get(trial.number)) if again else ()),
            " ".join(filter(None, (describe(trial.config), describe_origin(trial.origin)))),
            trial.run_id[:RUN_ID_PREFIX],
            picked[trial.number],
        )
    return table


def best_line(results: Sequence[TrialResult]) -> str:
    """The best trial of a front, which is not empty, in a line."""
    picked = picked_of(results)
    assert picked is not None, "the front is not empty"
    size, report = size_and_report(picked.best)
    score = f"accuracy {format_score(report)}" if report.scored else format_score(report)
    return (
        f"best: trial {picked.best.number}, {score}, {size.activated:,} activated parameters, "
        f"{describe(picked.best.config)}"
    )


def describe(config: TrialConfig) -> str:
    """A configuration in short: "perft-r 2/4 r8 lr 5e-03", then settings not at their defaults."""
    training = config.training
    own = [
        f"{name} {getattr(training, name):.2g}" for name in OBJECTIVE_SETTINGS[training.objective]
    ]
    return _describe(config.adapter, [f"lr {training.lr:.2g}", *own])


_ORIGINS: Mapping[OriginKind, str] = {
    "continue": "(continues {})",
    "clone": "(clone of {})",
    "confirm": "(repeats {})",
    "add": "(added)",
}


def describe_origin(origin: Origin | None) -> str:
    """Where a trial comes from that the sampler did not draw, in short; else empty."""
    return "" if origin is None else _ORIGINS[origin.kind].format(origin.trial)


def describe_adapter(adapter: AdapterConfig) -> str:
    """An adapter in short: "perft-r 2/4 r8", then settings not at their defaults."""
    return _describe(adapter, [])


def _describe(adapter: AdapterConfig, between: list[str]) -> str:
    settings = adapter.to_flat()
    words: list[str] = [adapter.variant]
    if "top_k" in settings:
        words.append(f"{settings['top_k']}/{settings['num_experts']}")
    elif "num_experts" in settings:
        words.append(f"x{settings['num_experts']}")
    words += [f"r{adapter.rank}", *between]
    words += [
        f"{field.name}={settings[field.name]}"
        for field in dataclasses.fields(adapter)
        if field.default is not dataclasses.MISSING and settings[field.name] != field.default
    ]
    return " ".join(words)


def columns_of(
    config: TrialConfig, report: Report | None, size: AdapterSize | None
) -> dict[str, Any]:
    """What a row says of a trial's last report, if there is one, its size, and its settings."""
    row: dict[str, Any] = {}
    if report is not None:
        low, high = accuracy_interval(report)
        row |= {
            "step": report.step,
            "train_loss": report.train_loss,
            "val_loss": report.val_loss,
            "correct": report.correct,
            "scored": report.scored,
            "accuracy": report.accuracy if report.scored else None,
            "accuracy_low": low if report.scored else None,
            "accuracy_high": high if report.scored else None,
        }
    if size is not None:
        row |= {
            "trainable": size.trainable,
            "activated": size.activated,
            "base_activated": size.base_activated,
            "trainable_percent": size.trainable_percent,
            "activated_percent": size.activated_percent,
        }
    return row | config.to_flat()


def _confirmed_cells(found: Confirmed | None, over: Gain | None) -> tuple[str, str]:
    """Mean, spread and number of the trainings with other seeds; the gain over the smaller."""
    if found is None:
        return "", ""
    return format_confirmed(found), format_gain(over, scored=bool(found.scored)) if over else ""


def origin_columns(origin: Origin | None) -> dict[str, Any]:
    """Where a trial comes from that the sampler did not draw."""
    return {} if origin is None else {"origin": origin.kind, "origin_trial": origin.trial}


def base_columns(base: BaseScore | None) -> dict[str, Any]:
    """What every row says of the base alone, if that was scored."""
    if base is None:
        return {}
    return {"base_accuracy": base.accuracy, "base_val_loss": base.val_loss}


def _column(values: list[Any]) -> "pd.Series[Any]":
    """A column that keeps whole numbers whole where values are missing."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        return pd.Series(values, dtype="Int64")
    if kinds == {pd.Timestamp}:
        return pd.Series(values, dtype="datetime64[ms, UTC]")
    if kinds <= {int, float}:
        return pd.Series(values, dtype="float64")
    return pd.Series(values, dtype="string")
