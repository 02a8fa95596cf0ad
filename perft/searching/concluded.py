"""What an earlier run of a search has left: whether it is finished, and the score of its base."""

from perft.base_score import BaseScore
from perft.config.training import ObjectiveName
from perft.errors import DamagedError
from perft.search_folder import BASE_FILE, adapter_folder, predictions_folder
from perft.searching.settings import SearchSettings
from perft.searching.steering.event_log import recorded, waiting
from perft.searching.steering.events import SetBudget, SetNumTrials
from perft.selection import is_concluded, read_all_scores, read_base, read_results
from perft.storage import Storage, is_whole


def has_nothing_left(search: Storage, settings: SearchSettings) -> bool:
    """Whether all results of a search exist and are undamaged, and no command waits for it.

    Args:
        search: its folder.
        settings: its settings.

    Raises:
        StorageError: when the storage cannot be read.
        DamagedError: when the record of its events is damaged.
    """
    if waiting(search) or not is_concluded(search, _least_trials(search, settings)):
        return False
    adapters = [
        adapter_folder(result.number)
        for result in read_results(search)
        if result.outcome == "complete"
    ]
    predictions = [predictions_folder(number) for number in read_all_scores(search)]
    is_base_whole = _base(search) is not None or not search.exists(BASE_FILE)
    return is_base_whole and all(is_whole(search, name) for name in (*adapters, *predictions))


def known_base(search: Storage, objective: ObjectiveName) -> BaseScore | None:
    """The score of the base alone, if it is known, with its predictions and for this objective.

    Raises:
        StorageError: when the storage cannot be read.
    """
    base = _base(search)
    return base if base is not None and base.objective == objective else None


def _base(search: Storage) -> BaseScore | None:
    """The score of the base; None if it, or a prediction of the base, is missing or damaged."""
    try:
        base = read_base(search)
    except DamagedError:
        return None
    has_predictions = base is not None and base.has_predictions
    return None if has_predictions and not is_whole(search, predictions_folder(None)) else base


def _least_trials(search: Storage, settings: SearchSettings) -> int:
    """Trials that the search has drawn if it has ended; 0 where a budget may have ended it."""
    actions = [event.action for event in recorded(search)]
    if settings.budget.is_bounded or any(isinstance(each, SetBudget) for each in actions):
        return 0
    counts = [each.count for each in actions if isinstance(each, SetNumTrials)]
    return [settings.most_trials, *counts][-1]
