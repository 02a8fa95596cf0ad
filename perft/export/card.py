"""The model card of an exported adapter: what it is, where it comes from, how to load it.

Everything on it is taken from the search's own records; nothing is measured again.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from perft.base_score import BaseScore
from perft.export.extras import LONGEST, Extras
from perft.export.front_matter import HUB_ID, front_matter, name_of
from perft.export.markdown import block, code, text
from perft.export.score import Score
from perft.export.snippets import with_peft, with_perft, with_pipeline
from perft.models.precision import NONE
from perft.selection import Confirmed, describe_origin, format_interval, format_mean, format_share
from perft.tasks import TASKS
from perft.trial import TrialResult

BUILTIN = "the built-in tiny OLMoE base of perft"

_HOW_SCORED = """\
Intervals are 95% Wilson score intervals. The validation split chose this adapter among the
trials of the search, so its score is slightly optimistic; """
_TESTED = "test splits were scored once."
_UNTESTED = "no test split was scored."


def model_card(
    picked: TrialResult,
    settings: Mapping[str, Any],
    scores: Sequence[Score],
    base_score: BaseScore | None = None,
    again: Confirmed | None = None,
    *,
    extras: Extras | None = None,
) -> str:
    """The card as Markdown with YAML front matter.

    Args:
        picked: the exported trial, full-length.
        settings: what its search was started with.
        scores: its accuracies, the validation split's first.
        base_score: the score of the base alone; None if it was not scored.
        again: the trial's trainings with other seeds; None if there are none.
        extras: further facts; None if none is known.
    """
    extras = extras or Extras()
    variant = picked.config.adapter.variant
    base, given = settings.get("base_model"), _given(settings)
    return f"""---
{front_matter(picked, settings, scores, again, extras)}
---

# {text(name_of(picked, settings))}

A {variant} adapter for {code(base) if base else BUILTIN}{_held(settings)},
trial {picked.number} of the perft search {code(settings["name"])}. It holds the adapter alone: the
base stays as it is.

## Scores

{_scores(scores) if scores else _loss(picked)}{_base_alone(base_score)}{_seeds(picked, again)}

## Size

{_size(picked)}

## Prompt

{_prompt(extras)}

## How to use it

With perft:

{block(with_perft(given, extras), "python")}

With peft:

{block(with_peft(picked.config.adapter, _named(base), extras), "python")}

In a pipeline of transformers:

{block(with_pipeline(given, extras), "python")}

{code(_scoring(settings))} scores it again.

## Cost

{_cost(extras)}

## Configuration

{_table("setting", "value", picked.config.to_flat())}

## Provenance

{_table("what", "value", _provenance(picked, settings))}
"""


def _scores(scores: Sequence[Score]) -> str:
    rows = [
        f"| {text(score.split)} | {score.accuracy:.2%} | {score.low:.2%} to {score.high:.2%} "
        f"| {score.correct} of {score.scored} |"
        for score in scores
    ]
    table = ["| split | accuracy | 95% interval | correct |", "|---|---|---|---|", *rows]
    tested = _TESTED if len(scores) > 1 else _UNTESTED
    return "\n".join([*table, "", _HOW_SCORED + tested])


def _loss(picked: TrialResult) -> str:
    assert picked.last is not None, "a full-length trial has a report"
    return (
        f"Validation loss {picked.last.val_loss:.4f} nats per token; the task scores no answers.\n"
        "The same split chose this adapter among the trials of the search."
    )


def _base_alone(base: BaseScore | None) -> str:
    """A paragraph on the base alone; empty if it was not scored."""
    if base is None:
        return ""
    splits = {"validation": base.validation, **base.tests}
    shares = [
        f"{format_share(*count)} of {text(split)}"
        for split, count in splits.items()
        if count.scored
    ]
    if base.is_tie:
        found = (
            f"{base.accuracy:.0%} by definition, since an adapter prefers the answer that it makes "
            "likelier than the base alone does"
        )
    else:
        found = " and ".join(shares) or f"validation loss {base.val_loss:.4f}"
    return f"\n\nThe base alone, without the adapter: {found}."


def _seeds(picked: TrialResult, again: Confirmed | None) -> str:
    """A paragraph on the seed, and on the trainings with other seeds if there are any."""
    trained = f"\n\nTrained with seed {picked.config.training.seed}."
    if again is None or not again.values:
        return trained
    count, what = len(again.values), "accuracy" if again.scored else "loss"
    seeds = "another seed" if count == 1 else f"{count} other seeds"
    noun = "seed" if count == 1 else "seeds"
    listed = f" ({noun} {', '.join(map(str, again.seeds))})" if again.seeds else ""
    interval = (
        f"; the 95% interval of the mean is {found}" if (found := format_interval(again)) else ""
    )
    return (
        f"{trained}\n\nTrained with {seeds}, this configuration reaches a validation "
        f"{what} of {format_mean(again)} (mean and standard deviation{interval}). These trainings"
        f"{listed} chose nothing."
    )


def _prompt(extras: Extras) -> str:
    """The prompt's format with one example, as far as both are known."""
    if (prompt := extras.prompt) is None:
        return (
            "The task's data were not at hand when this card was written, so no example is shown."
        )
    parts = []
    if prompt.template:
        parts.append(
            f"The prompt, with the columns of a row in braces:\n\n{block(prompt.template)}"
        )
    if (example := prompt.example) is not None:
        parts.append(f"One example of the validation split:\n\n{block(example.prompt[:LONGEST])}")
        parts.append(f"and what is to follow it:\n\n{block(example.completion[:LONGEST])}")
    return "\n\n".join([*parts, f"Answers are scored by: {text(prompt.protocol)}."])


def _cost(extras: Extras) -> str:
    """The hours that the whole search took, as it measured them."""
    if not extras.seconds:
        return "The search did not note how long it ran."
    hours, gpu_hours = extras.seconds / 3600, extras.gpu_seconds / 3600
    where = f"{gpu_hours:.3g} GPU hours" if gpu_hours else "on CPUs alone"
    return (
        f"The whole search, all its trials together, took {hours:.3g} hours, {where} (measured, "
        "with loading and scoring). Energy was not measured: what a shared device "
        "draws is not this search's alone."
    )


def _size(picked: TrialResult) -> str:
    assert picked.size is not None, "a full-length trial has a size"
    size = picked.size
    return (
        f"{size.trainable:,} trainable parameters; one token uses {size.activated:,} of them, "
        f"{size.activated_percent:.3g}% of the {size.base_activated:,} base parameters that it "
        "uses (embeddings included)."
    )


def _named(base: str | None) -> str | None:
    """The base as a literal of Python; None for the built-in one."""
    return None if base is None else ascii(base if _is_on_hub(base) else f"path/to/{base}")


def _given(settings: Mapping[str, Any]) -> str | None:
    """The arguments with which `perft.load_base` gives the base that the adapter was trained on."""
    named, quantize = _named(settings.get("base_model")), settings.get("quantize", NONE)
    parts = [named] if named else []
    return ", ".join(parts if quantize == NONE else [*parts, f"quantize={quantize!r}"]) or None


def _held(settings: Mapping[str, Any]) -> str:
    """How the base was held in training; empty if it was not quantised."""
    quantize = settings.get("quantize", NONE)
    return "" if quantize == NONE else f" in {quantize}"


def _scoring(settings: Mapping[str, Any]) -> str:
    """The command that scores the adapter, with placeholders for local paths."""
    base, data, task = settings.get("base_model"), settings.get("data"), settings["task"]
    command = f"perft evaluate --adapter <this folder> --task {shlex.quote(task)}"
    if base and not _is_on_hub(base):
        command += f" --base-model <path of {base}>"
    if data not in (None, "hub"):
        command += f" --data <path of {data}>"
    elif task.lower() not in TASKS:
        command += " --data <folder of the task's files>"
    if (quantize := settings.get("quantize", NONE)) != NONE:
        command += f" --quantize {quantize}"
    return command


def _is_on_hub(base: str) -> bool:
    return HUB_ID.fullmatch(base) is not None


def _provenance(picked: TrialResult, settings: Mapping[str, Any]) -> dict[str, Any]:
    names = ("space", "task", "data", "data_fingerprint", "base_fingerprint", "seed", "versions")
    facts = {name: settings.get(name) for name in names}
    steps = picked.last.step if picked.last else 0
    return {
        "search": settings["name"],
        "trial": f"{picked.number} {describe_origin(picked.origin)}".strip(),
        "MLflow run": picked.run_id,
        "steps": steps,
        "base": (settings.get("base_model") or BUILTIN) + _held(settings),
        **{name.replace("_", " "): value for name, value in facts.items() if value is not None},
    }


def _table(name: str, value: str, rows: Mapping[str, Any]) -> str:
    lines = [f"| {key} | {_cell(entry)} |" for key, entry in rows.items()]
    return "\n".join([f"| {name} | {value} |", "|---|---|", *lines])


def _cell(entry: Any) -> str:
    if entry is None:
        return "default"
    return text(json.dumps(entry) if isinstance(entry, dict) else str(entry))
