"""A search without any engine: one process loads the base once and trains one trial after another.

ASHA's rule is applied by hand, over the same rungs. Run by `search_makespan.py` as a program of its
own, so that its start is counted; it reads its job from a file and writes what it did to another.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from perft.models.load import load_base
from perft.ranks import Ranks
from perft.tasks import TaskSource, load_task
from perft.training.pack import Pack
from perft.trial import Report, TrialConfig

TRIAL = "trial"


def run_sequential(job: Mapping[str, Any]) -> dict[str, Any]:
    """Trains the job's configurations in order.

    Args:
        job: `configs`, `rungs`, `source` (a task source's fields), `base`, `reduction_factor`.

    Returns:
        `reports` of every trial, and `seconds` by phase.
    """
    start = time.monotonic()
    pack = Pack(load_base(job["base"]), load_task(TaskSource(**job["source"])), Ranks())
    loaded = time.monotonic()
    losses: dict[int, list[float]] = {rung: [] for rung in job["rungs"]}
    trials = [_train(pack, TrialConfig.from_flat(flat), job, losses) for flat in job["configs"]]
    return {
        "reports": [[report.to_json() for report in reports] for reports in trials],
        "seconds": {"load base": loaded - start, "train and evaluate": time.monotonic() - loaded},
    }


def _train(
    pack: Pack, config: TrialConfig, job: Mapping[str, Any], losses: dict[int, list[float]]
) -> Sequence[Report]:
    pack.admit(TRIAL, config)
    for rung in job["rungs"]:
        report = pack.advance({TRIAL: rung})[TRIAL]
        if isinstance(report, str) or _is_weak(report.val_loss, losses[rung], job):
            break
    reports = pack.running[TRIAL].reports
    pack.release(TRIAL)
    return reports


def _is_weak(val_loss: float, others: list[float], job: Mapping[str, Any]) -> bool:
    """Whether ASHA stops a trial here: it is not among the best of those that came before."""
    kept = 100 / job["reduction_factor"]
    weak = bool(others) and val_loss > np.percentile(others, kept)
    others.append(val_loss)
    return weak


if __name__ == "__main__":
    source, destination = map(Path, sys.argv[1:])
    destination.write_text(json.dumps(run_sequential(json.loads(source.read_text()))))
