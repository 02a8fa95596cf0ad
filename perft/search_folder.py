"""The folder of a search: what is in it, and the one place where its names are spelt.

    <storage>/<name>/
      search.json              the settings; the driver, once it has seen its cluster. Makes the
                               folder a search's: with it gone, nothing is written any more
      lock/<id>.json           the claim of the process that runs the search; renewed while it runs
      trials/0007.safetensors  the state of trial 7, and trials/0007.other.safetensors its state of
                               the round before; a worker, after every round, in turn
      trials/0007.failed.json  why trial 7 cannot be trained further; a worker
      adapters/0007/           the adapter of a full-length trial (`perft.adapter_folder`); a worker
      results.json             every ended trial; the driver, at every end of one
      predictions/0007/        what test scores are counted from, rank-0.parquet of each rank; the
                               workers, once the search has chosen the trials to score
      environment.txt          installed packages; the driver, when the search ends
      space.py                 the search space as it was; likewise
      trials.parquet .csv      the table of all trials; likewise, where one is full-length
      pareto.html .png         the plot of the front; likewise
      scores.json              test scores of the chosen trials; the driver, last of all: where it
                               is, nothing is left to do
      records/search.json      what MLflow is to hold of the search, and records/0007.json of trial
                               7; the driver, as they go on
      records/sent             is there once MLflow has all of it
      optuna.journal           Optuna's study; written anew by every run of the driver. In memory
                               where the storage is an object store
      tune/                    Ray Tune's own record, likewise. Of an object store it and train/ are
      train/                   in a temporary folder; Ray Train's own record of the worker groups

A folder that has `checksums.json` (`perft.storage`) is whole: adapters/0007 and predictions/0007.
Files are written atomically. Nothing here touches a disk: these are names.
"""

import re

SEARCH_FILE = "search.json"
RESULTS_FILE = "results.json"
SCORES_FILE = "scores.json"
ENVIRONMENT_FILE = "environment.txt"
SPACE_FILE = "space.py"
OPTUNA_FILE = "optuna.journal"
TABLE_PARQUET, TABLE_CSV = "trials.parquet", "trials.csv"
PLOT_HTML, PLOT_PNG = "pareto.html", "pareto.png"

LOCK = "lock"
STATES = "trials"
ADAPTERS = "adapters"
PREDICTIONS = "predictions"
RECORDS = "records"
TUNE_FOLDER, TRAIN_FOLDER = "tune", "train"

SEARCH_RECORD = f"{RECORDS}/{SEARCH_FILE}"
SENT = f"{RECORDS}/sent"

_STATE_FILE = re.compile(r"(\d{4,})(?:\.other\.safetensors|\.safetensors|\.failed\.json)")
_RECORD_FILE = re.compile(r"(?:search|\d{4,})\.json")


def trial_folder(trial: int) -> str:
    """Name of a trial in folders and on the base, such as "0007"."""
    return f"{trial:04d}"


def claim_file(claim: str) -> str:
    """Path of the claim of a process on the search."""
    return f"{LOCK}/{claim}.json"


def trial_file(trial: int, turn: int = 0) -> str:
    """Path of a trial's state; there are two, which take turns."""
    return f"{STATES}/{trial_folder(trial)}{'.other' if turn else ''}.safetensors"


def failure_file(trial: int) -> str:
    """Path of the note that a trial's loss was not finite."""
    return f"{STATES}/{trial_folder(trial)}.failed.json"


def trial_of(name: str) -> int | None:
    """The trial that a file of the folder `STATES` is of; None if it is none's."""
    found = _STATE_FILE.fullmatch(name)
    return int(found[1]) if found else None


def adapter_folder(trial: int) -> str:
    """Path of a full-length trial's adapter."""
    return f"{ADAPTERS}/{trial_folder(trial)}"


def predictions_folder(trial: int) -> str:
    """Path of what a trial's adapter answered on the test splits."""
    return f"{PREDICTIONS}/{trial_folder(trial)}"


def predictions_file(trial: int, rank: int) -> str:
    """Path of the part of `predictions_folder` that one rank of the worker group writes."""
    return f"{predictions_folder(trial)}/rank-{rank}.parquet"


def trial_record(trial: int) -> str:
    """Path of the record of a trial for MLflow."""
    return f"{RECORDS}/{trial_folder(trial)}.json"


def is_record(name: str) -> bool:
    """Whether a file of the folder `RECORDS` is a record."""
    return _RECORD_FILE.fullmatch(name) is not None


def tune_trial(trial: int) -> str:
    """Name of a trial in Tune, and of its folder inside `TUNE_FOLDER`."""
    return f"trial-{trial_folder(trial)}"
