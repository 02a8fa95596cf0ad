"""What a terminal shows of a running search: progress, front, variants and trials on one screen.

Pure: a function of a snapshot and of the screen's size. No number is ever cut: a narrow screen
leaves out columns, a low one rows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from perft.searching.ledger import Entry
from perft.selection import describe, describe_origin, format_score, objective, pareto_front, picks
from perft.selection.front import size_and_report
from perft.trial import Report, is_confirmation

_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red"}
_NOTES = 3
_GAP = 2
_FOLDED = "configuration"
"""The column that may take several lines."""
_LEAST_FOLDED = 16
_TEXTS = (_FOLDED, "outcome", "variant", "pick")
_LEAST_ROOM = 10
"""Lines below which the trials alone are shown."""
_BESIDE = 130
"""Columns of a screen on which front and variants stand beside each other."""

Row = Mapping[str, Text]
"""The cells of a row, by column."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A running search at a moment.

    Attributes:
        title: what it is called.
        clock: time since its start.
        stage: what it is doing.
        count: how many of its trials have ended.
        share: share of all its steps that are done, in [0, 1]; None before it is known.
        outlook: what is left of it.
        entries: its trials.
        steps: by running trial, the steps it has done between rungs.
        max_steps: a full-length trial's.
        notes: to the user, the latest last.
    """

    title: str
    clock: str
    stage: str
    count: str
    share: float | None
    outlook: str
    entries: Sequence[Entry]
    steps: Mapping[int, int]
    max_steps: int
    notes: Sequence[str] = ()


def dashboard(now: Snapshot, width: int, height: int) -> RenderableType:
    """The screen of a search.

    Args:
        now: the search.
        width: columns of the screen.
        height: its lines; at least the heading is shown.
    """
    heading = _heading(now, width)
    notes = [Text(note, style="yellow") for note in now.notes[-_NOTES:]]
    room = height - 1 - sum(_lines(part, width) for part in [*heading, *notes]) - bool(notes)
    middle, taken = _middle(now, width, room)
    parts: list[RenderableType] = [heading[0], _bar(now, width), *heading[1:], *middle]
    parts += [trials_table(now, width, room - taken), *([Text("")] if notes else []), *notes]
    return Group(*parts)


def trials_table(now: Snapshot, width: int, height: int) -> Table:
    """The trials that run, and the latest of the others, as many as fit.

    Args:
        now: the search.
        width: columns of the screen.
        height: lines for the table with its heading.
    """
    latest = sorted(now.entries, key=lambda entry: (not _runs(entry), -entry.number))
    rows = [_trial(now, entry) for entry in latest[: max(0, height - 1)]]
    names = ["trial", _FOLDED, "step", "train loss", "val loss", "accuracy", "tokens/s", "outcome"]
    if not any(row["accuracy"] for row in rows):
        names.remove("accuracy")
    names = _fitting(
        rows, names, width, first=("tokens/s", "train loss"), last=("accuracy", "step", "val loss")
    )
    kept = _kept(rows, names, width, height - 1)
    return _table(sorted(kept, key=lambda row: int(row["trial"].plain)), names)


def _heading(now: Snapshot, width: int) -> list[Text]:
    """What the search is doing, how far it is, and what is left."""
    speed = sum(e.reports[-1].tokens_per_second for e in now.entries if _runs(e) and e.reports)
    percent = "" if now.share is None else f"{now.share:.0%}"
    facts = [percent, now.count, now.outlook, f"{speed:,.0f} tokens/s" if speed else ""]
    return [
        Text.assemble((now.title, "bold"), f"  {now.clock}  ", (now.stage, "cyan")),
        Text("  ·  ".join(fact for fact in facts if fact)),
    ]


def _bar(now: Snapshot, width: int) -> RenderableType:
    bar = Table.grid()
    bar.add_row(ProgressBar(total=1.0, completed=now.share or 0.0, width=min(width, 80)))
    return bar


def _middle(now: Snapshot, width: int, room: int) -> tuple[list[RenderableType], int]:
    """Front and variants between empty lines, and the lines that all take; at first one line."""
    front, variants = _front(now), _variants(now)
    if not front or room < _LEAST_ROOM:
        return [Text("")], 1
    is_wide = width >= _BESIDE
    half, most = (width // 2, room // 2) if is_wide else (width, max(1, room // 4))
    names = _fitting(front, list(front[0]), half, last=("activated",))
    rows = _kept(front, names, half, most)
    room_of_variants = most if is_wide or room > 4 * most + 3 else max(0, room - 3 * most - 4)
    others = variants[: min(room_of_variants, most)]
    taken = [_height(rows, names, half) + 1, len(others) + 1 if others else 0]
    tables = [_table(rows, names)] + ([_table(others, list(variants[0]))] if others else [])
    if is_wide:
        beside = Table.grid(padding=(0, 4))
        beside.add_row(*tables)
        return [Text(""), beside, Text("")], max(taken) + 2
    parts: list[RenderableType] = [Text("")]
    for table in tables:
        parts += [table, Text("")]
    return parts, sum(taken) + len(tables) + 1


def _front(now: Snapshot) -> list[Row]:
    """The Pareto front so far, the most accurate trial first."""
    results = [entry.result() for entry in now.entries if entry.outcome == "complete"]
    picked = picks(results)
    rows: list[Row] = []
    for trial in reversed(pareto_front(results)):
        size, report = size_and_report(trial)
        rows.append(
            {
                "front": Text(str(trial.number)),
                "score": Text(format_score(report)),
                "activated": Text(f"{size.activated:,}"),
                _FOLDED: Text(describe(trial.config)),
                "pick": Text(picked[trial.number], style="green"),
            }
        )
    return rows


def _variants(now: Snapshot) -> list[Row]:
    """By variant, how many trials there are, and the best of them; the best variant first."""
    found: list[tuple[float, Row]] = []
    for variant in sorted({entry.config.adapter.variant for entry in now.entries}):
        its = [entry for entry in now.entries if entry.config.adapter.variant == variant]
        complete = [e for e in its if e.outcome == "complete" and not is_confirmation(e.origin)]
        best = max(complete, key=lambda entry: objective(entry.reports[-1]), default=None)
        row = {
            "variant": Text(variant),
            "trials": Text(str(len(its))),
            "best": Text(format_score(best.reports[-1]) if best else ""),
            "trial": Text(str(best.number) if best else ""),
        }
        found.append((objective(best.reports[-1]) if best else -math.inf, row))
    return [row for _, row in sorted(found, key=lambda each: -each[0])]


def _trial(now: Snapshot, entry: Entry) -> Row:
    last = entry.reports[-1] if entry.reports else None
    step = max(now.steps.get(entry.number, 0) if _runs(entry) else 0, last.step if last else 0)
    outcome = entry.outcome or "running"
    return {
        "trial": Text(str(entry.number)),
        _FOLDED: Text(f"{describe(entry.config)} {describe_origin(entry.origin)}".rstrip()),
        "step": Text(f"{step}/{now.max_steps}"),
        "train loss": Text(f"{last.train_loss:.4f}" if last else ""),
        "val loss": Text(f"{last.val_loss:.4f}" if last else ""),
        "accuracy": Text(accuracy(last) if last else ""),
        "tokens/s": Text(f"{last.tokens_per_second:,.0f}" if last and _runs(entry) else ""),
        "outcome": Text(outcome, style=_STYLES.get(outcome, "cyan")),
    }


def _fitting(
    rows: Sequence[Row],
    names: Sequence[str],
    width: int,
    *,
    first: Sequence[str] = (),
    last: Sequence[str] = (),
) -> list[str]:
    """The columns that fit the screen.

    Args:
        rows: of the table.
        names: its columns.
        width: of the screen.
        first: columns that are left out before a configuration takes two lines.
        last: columns that are left out when a configuration takes as many lines as it can.
    """
    kept, widths = list(names), {name: _widest(rows, name) for name in names}
    for name in first:
        if _width(kept, widths) > width:
            kept.remove(name)
    widths[_FOLDED] = min(widths[_FOLDED], _LEAST_FOLDED)
    for name in last:
        if name in kept and _width(kept, widths) > width:
            kept.remove(name)
    return kept


def _kept(rows: Sequence[Row], names: Sequence[str], width: int, height: int) -> list[Row]:
    """The first rows, as many as the lines hold."""
    return [row for i, row in enumerate(rows) if _height(rows[: i + 1], names, width) <= height]


def _height(rows: Sequence[Row], names: Sequence[str], width: int) -> int:
    widths = {name: _widest(rows, name) for name in names if name != _FOLDED}
    room = max(1, width - _width(list(widths), widths) - _GAP)
    return sum(_lines(row[_FOLDED], room) for row in rows)


def _width(names: Sequence[str], widths: Mapping[str, int]) -> int:
    return sum(widths[name] + _GAP for name in names) - _GAP


def _widest(rows: Sequence[Row], name: str) -> int:
    return max(len(name), *(row[name].cell_len for row in rows), 0)


def _table(rows: Sequence[Row], names: Sequence[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
    for name in names:
        table.add_column(
            "" if name == "pick" else name,
            justify="left" if name in _TEXTS else "right",
            no_wrap=name != _FOLDED,
            min_width=None if name == _FOLDED else _widest(rows, name),
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(row[name] for name in names))
    return table


def _lines(text: Text, width: int) -> int:
    """Lines that a text takes, wrapped between words."""
    lines, column = 1, 0
    for word in text.plain.split(" "):
        size = cell_len(word)
        if column and column + 1 + size > width:
            lines, column = lines + 1, 0
        column += size + bool(column)
        if column > width:  # a word that is longer than a line
            lines, column = lines + (column - 1) // width, (column - 1) % width + 1
    return lines


def _runs(entry: Entry) -> bool:
    return entry.outcome is None


def accuracy(report: Report, before: str = "", after: str = "") -> str:
    """The accuracy between two texts; empty for a task without accuracy."""
    return f"{before}{report.accuracy:.1%}{after}" if report.scored else ""
