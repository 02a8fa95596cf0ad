"""The layout of a search's folder: the only module that names its files.

    <storage>/<name>/               written by, and when
      search.json                   the driver, once it has seen its cluster: the settings. Once it
                                    is deleted, nothing more is written to the folder
      warm-start.json               the driver, when it prepares the search: what the earlier
                                    searches that it starts from have found
      lock/<id>.json                the process that runs the search, while it runs: its claim
      trials/0007.safetensors       a worker, after every round: the state of trial 7
      trials/0007.other.safetensors the same, alternately: one of the two is of the round before
      trials/0007.failed.json       a worker: why trial 7 cannot be trained further
      batches/<id>/000012/          a worker whose machine is about to be taken: the states of its
                                    batch's trials after 12 steps of their round, 0007.safetensors
                                    of trial 7. It is deleted when the round's states are written
      adapters/0007/                a worker, at full length: the adapter (`perft.adapter_folder`)
      results.json                  the driver, whenever a trial ends: all that have ended
      commands/<id>.json            `perft control`: a command, until the driver has taken it
      events.jsonl                  the driver, before it acts on them: the commands that it has
                                    taken, and what its clock has decided
      time.json                     the driver, as the search runs: the hours it has used
      predictions/0007/             the workers, once the trials to score are chosen: their
                                    predictions, rank-0.parquet of each rank
      predictions/base/             likewise: those of the base alone
      environment.txt               the driver, when the search ends: the installed packages
      space.py                      likewise: the search space as it was
      trials.parquet .csv           likewise: the table of all trials, if one is full-length
      pareto.html                   likewise: the page with all plots; pareto.png, the front alone
      importance.png                likewise: how much each parameter mattered, if that can be said
      study.md, study.png           likewise, of a study: its findings, and their picture
      base.json                     the driver, before the last: the score of the base alone
      scores.json                   the driver, last of all: the test scores. A search that has it
                                    is finished
      records/search.json           the driver, as the search runs: its record for the tracker, and
                                    records/0007.json of trial 7
      records/sent                  the driver, once its tracker has all of that
      tracked/trials.parquet        the driver, if the tracker is "folder": the table of all
                                    trials, curves.parquet of their reports, run.json of the search
      optuna.journal                the driver, anew whenever it starts: Optuna's study
      tune/                         Ray Tune, likewise: its own record of the trials
      train/                        Ray Train: its own record of the worker groups

A folder with `checksums.json` is complete (`perft.storage`): adapters/0007, predictions/0007, and
a snapshot's. If the storage is an object store, Optuna's study is in memory, and tune/ and train/
are in a temporary folder. Files are written atomically. This module only computes names.
"""

import re

SEARCH_FILE = "search.json"
RESULTS_FILE = "results.json"
SCORES_FILE = "scores.json"
BASE_FILE = "base.json"
WARM_START_FILE = "warm-start.json"
EVENTS_FILE = "events.jsonl"
TIME_FILE = "time.json"
ENVIRONMENT_FILE = "environment.txt"
SPACE_FILE = "space.py"
OPTUNA_FILE = "optuna.journal"
TABLE_PARQUET, TABLE_CSV = "trials.parquet", "trials.csv"
PLOT_HTML, PLOT_PNG = "pareto.html", "pareto.png"
IMPORTANCE_PNG = "importance.png"
STUDY_PAGE, STUDY_PNG = "study.md", "study.png"

LOCK = "lock"
COMMANDS = "commands"
STATES = "trials"
SNAPSHOTS = "batches"
ADAPTERS = "adapters"
PREDICTIONS = "predictions"
RECORDS = "records"
TUNE_FOLDER, TRAIN_FOLDER = "tune", "train"

SEARCH_RECORD = f"{RECORDS}/{SEARCH_FILE}"
SENT = f"{RECORDS}/sent"
TRACKED = "tracked"
TRACKED_TRIALS, TRACKED_CURVES = f"{TRACKED}/trials.parquet", f"{TRACKED}/curves.parquet"
TRACKED_RUN = f"{TRACKED}/run.json"

_STATE_FILE = re.compile(r"(\d{4,})(?:\.other\.safetensors|\.safetensors|\.failed\.json)")
_RECORD_FILE = re.compile(r"(?:search|\d{4,})\.json")


def trial_folder(trial: int) -> str:
    """Name of a trial in folders and on the base, such as "0007"."""
    return f"{trial:04d}"


def claim_file(claim: str) -> str:
    """Path of the claim of a process on the search."""
    return f"{LOCK}/{claim}.json"


def command_file(command: str) -> str:
    """Path of a command that waits for the search."""
    return f"{COMMANDS}/{command}.json"


def trial_file(trial: int, turn: int = 0) -> str:
    """Path of one of a trial's two states, which are written alternately."""
    return f"{STATES}/{trial_folder(trial)}{'.other' if turn else ''}.safetensors"


def failure_file(trial: int) -> str:
    """Path of the note that a trial has failed."""
    return f"{STATES}/{trial_folder(trial)}.failed.json"


def snapshots_of(batch: str) -> str:
    """Path of the folder of a batch's snapshots."""
    return f"{SNAPSHOTS}/{batch}"


def snapshot_folder(batch: str, steps: int) -> str:
    """Path of a batch's snapshot after some steps of its round; sorted by them."""
    return f"{snapshots_of(batch)}/{steps:06d}"


def trial_of(name: str) -> int | None:
    """The trial of a file in the folder `STATES`; None for another file."""
    found = _STATE_FILE.fullmatch(name)
    return int(found[1]) if found else None


def adapter_folder(trial: int) -> str:
    """Path of a full-length trial's adapter."""
    return f"{ADAPTERS}/{trial_folder(trial)}"


def adapter_name(trial: int | None) -> str:
    """Name of a trial's adapter in predictions, such as "0007"; "base" for the base alone, None."""
    return "base" if trial is None else trial_folder(trial)


def predictions_folder(trial: int | None) -> str:
    """Path of the predictions of a trial's adapter, or of the base alone, None."""
    return f"{PREDICTIONS}/{adapter_name(trial)}"


def predictions_file(trial: int | None, rank: int) -> str:
    """Path of the part of `predictions_folder` that one rank of the worker group writes."""
    return f"{predictions_folder(trial)}/rank-{rank}.parquet"


def trial_record(trial: int) -> str:
    """Path of the record of a trial for the tracker."""
    return f"{RECORDS}/{trial_folder(trial)}.json"


def is_record(name: str) -> bool:
    """Whether a file of the folder `RECORDS` is a record."""
    return _RECORD_FILE.fullmatch(name) is not None


def tune_trial(trial: int) -> str:
    """Name of a trial in Tune, and of its folder inside `TUNE_FOLDER`."""
    return f"trial-{trial_folder(trial)}"
