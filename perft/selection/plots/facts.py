"""What a plot tells of a trial when the pointer is on it: the exact values, in lines."""

from collections.abc import Collection, Sequence

from perft.files import Json
from perft.selection.interval import format_score
from perft.selection.table import describe_origin
from perft.trial import TrialResult


def varied(results: Sequence[TrialResult]) -> list[str]:
    """The settings that are not the same in all trials, in the order of their configurations."""
    flats = [trial.config.to_flat() for trial in results]
    names = dict.fromkeys(name for flat in flats for name in flat)
    return [name for name in names if len({repr(flat.get(name)) for flat in flats}) > 1]


def facts(trial: TrialResult, settings: Collection[str], pick: str = "") -> list[str]:
    """The lines of a trial, the first its heading; plain text, to be escaped where it is shown.

    Args:
        trial: any trial.
        settings: names of those to tell.
        pick: what it is to be picked as, such as "best".
    """
    ended = "" if trial.outcome == "complete" else f"({trial.outcome})"
    words = ("trial", str(trial.number), describe_origin(trial.origin), ended, pick)
    lines = [" ".join(filter(None, words))]
    if (report := trial.last) is not None:
        lines += [f"accuracy {format_score(report)}"] if report.scored else []
        lines.append(f"validation loss {report.val_loss:.4f} at step {report.step:,}")
    if (size := trial.size) is not None:
        lines.append(f"activated {size.activated:,} ({size.activated_percent:.3g}% of the base)")
        lines.append(f"trainable {size.trainable:,}")
    flat = trial.config.to_flat()
    lines += [f"{name}: {_value(flat[name])}" for name in settings if name in flat]
    lines += [f"error: {trial.error}"] if trial.error else []
    return [*lines, f"run {trial.run_id}"] if trial.run_id else lines


def _value(value: Json) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
