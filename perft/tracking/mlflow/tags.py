"""The tags of MLflow runs: MLflow's own, and perft's."""

import json

from perft.tracking.mlflow.values import LONGEST
from perft.tracking.records import SearchRecord, TrialRecord

PARENT, NOTE = "mlflow.parentRunId", "mlflow.note.content"
SOURCE_NAME, SOURCE_TYPE = "mlflow.source.name", "mlflow.source.type"
USER, COMMIT = "mlflow.user", "mlflow.source.git.commit"
"""MLflow's own: a run's parent, the description on its page, and what started it."""

SEARCH, STORAGE, KEY, TRIAL = "perft.search", "perft.storage", "perft.key", "perft.trial"
VARIANT, OUTCOME, ON_FRONT = "perft.variant", "perft.outcome", "perft.front"
ORIGIN, ORIGIN_TRIAL = "perft.origin", "perft.origin_trial"
CONFIG = "perft.config"
"""Every setting of a trial, as JSON."""
BEST, KNEE = "perft.best", "perft.knee"
"""Numbers of the two trials that `perft export --pick` takes by these names."""


def search_tags(search: SearchRecord) -> dict[str, str]:
    """The tags with which the run of a search is created."""
    tags = {SEARCH: search.name, STORAGE: search.place, KEY: search.key}
    for name in ("space", "base_model"):
        tags[f"perft.{name.removesuffix('_model')}"] = search.params.get(name) or "built-in"
    return tags | source_tags(search)


def trial_tags(trial: TrialRecord, search: SearchRecord, parent: str) -> dict[str, str]:
    """The tags with which the run of a trial is created, below the run `parent`."""
    tags = {
        PARENT: parent,
        TRIAL: str(trial.number),
        VARIANT: trial.config.adapter.variant,
        CONFIG: json.dumps(trial.config.to_flat())[:LONGEST],
    }
    if trial.origin is not None:
        tags[ORIGIN] = trial.origin.kind
        if trial.origin.trial is not None:
            tags[ORIGIN_TRIAL] = str(trial.origin.trial)
    return tags | source_tags(search)


def source_tags(search: SearchRecord) -> dict[str, str]:
    """What started the search, as far as it is known."""
    if (source := search.source) is None:
        return {}
    tags = {SOURCE_NAME: source.program, SOURCE_TYPE: "LOCAL"}
    tags |= {USER: source.user} if source.user else {}
    return tags | ({COMMIT: source.commit} if source.commit else {})
