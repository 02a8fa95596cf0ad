"""The metadata of a model card, as the Hugging Face hub reads them.

Its `model-index` holds every score, with its interval in the metric's name: the hub's form has no
field for one.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData, try_to_load_from_cache
from yaml import YAMLError

from perft.adapter_folder import CARD
from perft.adapters.table import variant_of
from perft.errors import ConfigError, printable
from perft.export.extras import Extras
from perft.export.score import Score
from perft.files import read_file
from perft.models.source import BUILTIN
from perft.selection import Confirmed
from perft.trial import TrialResult

HUB_ID = re.compile(r"\w[\w.-]*/[\w.-]+")
"""What the front matter may name as a base: the hub refuses a local path there."""

_LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,63}", re.ASCII)
_NO_ID = re.compile(r"[^\w./-]+")
_LONGEST_ID = 96
_LONGEST_CARD = 1 << 20


def front_matter(
    picked: TrialResult,
    settings: Mapping[str, Any],
    scores: Sequence[Score],
    again: Confirmed | None,
    extras: Extras,
) -> str:
    """The metadata as YAML, without the lines around them."""
    base, adapter = settings.get("base_model"), picked.config.adapter
    is_lora = variant_of(adapter).hf_storage != "PERFT"
    kinds = ["peft", "lora"] if is_lora else []
    results = [
        *(_of_score(score, str(settings["task"])) for score in scores),
        *_of_others(picked, again, str(settings["task"])),
    ]
    on_hub = base and HUB_ID.fullmatch(base)
    data = ModelCardData(
        base_model=base if on_hub else None,
        base_model_relation="adapter" if on_hub else None,
        datasets=list(extras.datasets) or None,
        library_name="peft" if is_lora else "perft",
        license=extras.license,
        metrics=sorted({result.metric_type for result in results}) or None,
        pipeline_tag="text-generation",
        tags=["perft", adapter.variant, *kinds, "mixture-of-experts", "adapter"],
        model_name=name_of(picked, settings),
        eval_results=results,
    )
    matter: str = data.to_yaml()
    return matter.strip()


def name_of(picked: TrialResult, settings: Mapping[str, Any]) -> str:
    """What the card calls the adapter."""
    return f"{printable(settings['name'])}-{picked.number:04d}-{picked.config.adapter.variant}"


def license_of(base: str | None) -> str | None:
    """The licence of a base by its model card, if that is on this machine.

    Args:
        base: None for the built-in one, else a directory or a hub id.
    """
    place = BUILTIN / CARD if base is None else Path(base) / CARD
    if not place.is_file():
        found = try_to_load_from_cache(base, CARD) if base and HUB_ID.fullmatch(base) else None
        if not isinstance(found, str):
            return None
        place = Path(found)
    try:
        text = read_file(place, _LONGEST_CARD).decode()
        known = getattr(ModelCard(text, ignore_metadata_errors=True).data, "license", None)
    except (OSError, ValueError, YAMLError):  # a damaged card says nothing
        return None
    return known if isinstance(known, str) and _LICENSE.fullmatch(known) else None


def require_license(name: str) -> None:
    """Refuses what the hub cannot read as a licence.

    Raises:
        ConfigError: if it is no identifier.
    """
    if not _LICENSE.fullmatch(name):
        raise ConfigError(
            f"the licence is {printable(name)!r}, wanted an identifier of the hub such as "
            "apache-2.0, mit or other; give --license one"
        )


def _slug(name: str) -> str:
    """A name as an id: the hub wants one of a dataset there."""
    return _NO_ID.sub("-", name)[:_LONGEST_ID]


def _of_score(score: Score, task: str) -> EvalResult:
    is_task = score.split in ("validation", "test")
    return EvalResult(
        task_type="text-generation",
        dataset_type=_slug(task if is_task else score.split),
        dataset_name=printable(score.split),
        dataset_split="validation" if score.split == "validation" else "test",
        metric_type="accuracy",
        metric_name=f"accuracy (95% interval {score.low:.4f} to {score.high:.4f})",
        metric_value=score.accuracy,
    )


def _of_others(picked: TrialResult, again: Confirmed | None, task: str) -> list[EvalResult]:
    """The mean over other seeds, and the loss of a task that scores no answers."""
    assert picked.last is not None, "a full-length trial has a report"
    found: list[tuple[str, str, float]] = []
    if not picked.last.scored:
        found.append(("loss", "loss (nats per token)", picked.last.val_loss))
    if again is not None and again.values:
        kind = "accuracy" if again.scored else "loss"
        count = len(again.values)
        ends = sorted(map(abs, again.interval)) if again.interval else []
        interval = f", 95% interval {ends[0]:.4f} to {ends[1]:.4f}" if ends else ""
        seeds = "another seed" if count == 1 else f"{count} other seeds"
        found.append((kind, f"{kind} (mean of {seeds}{interval})", abs(again.mean)))
    return [
        EvalResult(
            task_type="text-generation",
            dataset_type=_slug(task),
            dataset_name="validation",
            dataset_split="validation",
            metric_type=kind,
            metric_name=name,
            metric_value=value,
        )
        for kind, name, value in found
    ]
