"""The folder of a search: what is in it, and the one place where its names are spelt.

    <storage>/<name>/               written by, and when
      search.json                   the driver, once it has seen its cluster: the settings. It makes
                                    the folder a search's: with it gone, nothing is written any more
      lock/<id>.json                the process that runs the search, while it does: its claim
      trials/0007.safetensors       a worker, after every round: the state of trial 7
      trials/0007.other.safetensors the same, in turn: one of the two is of the round before
      trials/0007.failed.json       a worker: why trial 7 cannot be trained further
      adapters/0007/                a worker, at full length: the adapter (`perft.adapter_folder`)
      results.json                  the driver, whenever a trial ends: all that have ended
      predictions/0007/             the workers, once the trials to score are chosen: what the
                                    scores are counted from, rank-0.parquet of each rank
      environment.txt               the driver, when the search ends: the installed packages
      space.py                      likewise: the search space as it was
      trials.parquet .csv           likewise: the table of all trials, if one is full-length
      pareto.html .png              likewise: the plot of the front
      scores.json                   the driver, last of all: the test scores. Where it is, nothing
                                    is left to do
      records/search.json           the driver, as the search goes on: what its tracker shows of it,
                                    and records/0007.json of trial 7
      records/sent                  the driver, once its tracker has all of that
      tracked/trials.parquet        the driver, where the tracker is "folder": the table of all
                                    trials, curves.parquet of their reports, run.json of the search
      optuna.journal                the driver, anew whenever it starts: Optuna's study
      tune/                         Ray Tune, likewise: its own record of the trials
      train/                        Ray Train: its own record of the worker groups

A folder with `checksums.json` in it is whole (`perft.storage`): adapters/0007, predictions/0007.
Where the storage is an object store, Optuna's study is in memory, and tune/ and train/ are in a
temporary folder. Files are written atomically. Nothing here touches a disk: these are names.
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
    """Path of the record of a trial for the tracker."""
    return f"{RECORDS}/{trial_folder(trial)}.json"


def is_record(name: str) -> bool:
    """Whether a file of the folder `RECORDS` is a record."""
    return _RECORD_FILE.fullmatch(name) is not None


def tune_trial(trial: int) -> str:
    """Name of a trial in Tune, and of its folder inside `TUNE_FOLDER`."""
    return f"trial-{trial_folder(trial)}"
