"""The end of a search: writes its results to its folder and to its parent run."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from perft.base_score import BaseScore
from perft.packing.messages import Scored
from perft.search_folder import ENVIRONMENT_FILE, SNAPSHOTS, SPACE_FILE, predictions_folder
from perft.searching.drawing import draw
from perft.searching.ledger import Ledger
from perft.searching.prepare import SearchPlan
from perft.searching.steering.stopwatch import read_spent
from perft.selection import confirmed, pareto_front, write_base, write_scores
from perft.storage import read_folder, seal_folder
from perft.tracking import PATIENCE_SECONDS, Recorder, environment
from perft.trial import TrialResult

STOPPING_SECONDS = 2.0
"""Time to tell the tracker that the user has stopped a search."""


def conclude(
    plan: SearchPlan,
    ledger: Ledger,
    recorder: Recorder,
    scored: Scored,
    end_ray: Callable[[], None],
) -> None:
    """Ends Ray, writes the test scores, the table and the plots, and ends the runs.

    Args:
        plan: the search.
        ledger: its trials.
        recorder: of its records.
        scored: test scores of the chosen trials, and the score of the base.
        end_ray: ends the search's connection to Ray.

    Raises:
        StorageError: if the search's folder cannot be written.
    """
    with ThreadPoolExecutor() as pool:  # ending Ray takes as long, and only waits
        files = pool.submit(_write_files, plan, ledger, recorder, scored.base)
        end_ray()
        names = files.result()
    predictions = {number: predictions_folder(number) for number in scored.trials}
    base_folder = [predictions_folder(None)] if scored.base and scored.base.has_predictions else []
    for folder in (*predictions.values(), *base_folder):
        seal_folder(plan.search, folder, read_folder(plan.search, folder))
    front = front_of(ledger.results())
    spent = read_spent(plan.search)
    recorder.finish(
        "FINISHED" if front else "FAILED",
        front=front,
        files=names,
        scores=scored.trials,
        predictions=predictions,
        base=scored.base,
        confirmed=confirmed(ledger.results()),
        seconds=spent.seconds,
        gpu_seconds=spent.gpu_seconds,
    )
    if scored.base is not None:
        write_base(plan.search, scored.base)
    plan.search.delete(SNAPSHOTS)  # of batches that were then split, or whose group died meanwhile
    if front:  # last: a search that has them is finished
        write_scores(plan.search, scored.trials)


def conclude_failed(
    plan: SearchPlan, ledger: Ledger, recorder: Recorder, error: BaseException
) -> None:
    """Ends the runs of a search that has failed or was stopped, and writes its results so far.

    Args:
        plan: the search.
        ledger: its trials.
        recorder: of its records.
        error: what ended it.

    Raises:
        StorageError: if the search's folder cannot be written.
    """
    is_stopped = isinstance(error, KeyboardInterrupt)
    patience = STOPPING_SECONDS if is_stopped else PATIENCE_SECONDS
    try:
        # First: `ray job stop` kills a job some seconds later.
        recorder.finish("KILLED" if is_stopped else "FAILED")
        if not is_stopped:
            front, files = front_of(ledger.results()), _write_files(plan, ledger, recorder, None)
            recorder.finish("FAILED", front=front or None, files=files)
    finally:
        recorder.close(patience)


def front_of(results: list[TrialResult]) -> set[int]:
    """Numbers of the trials on the Pareto front."""
    return {trial.number for trial in pareto_front(results)}


def _write_files(
    plan: SearchPlan, ledger: Ledger, recorder: Recorder, base: BaseScore | None
) -> list[str]:
    """Writes environment, space, table and plots into the search's folder; returns their names."""
    recorder.wait()
    ledger.complete_runs()
    files = {ENVIRONMENT_FILE: environment().encode(), SPACE_FILE: plan.given.text()}
    for name, data in files.items():
        plan.search.write(name, data)
    study = plan.given.space.study
    return [*files, *draw(plan.search, plan.settings, ledger.results(), base, study)]
