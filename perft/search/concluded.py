"""Whether a search is finished: `--resume` checks this first."""

from perft.search_folder import adapter_folder, predictions_folder
from perft.selection import is_concluded, read_all_scores, read_results
from perft.storage import Storage, is_whole


def has_nothing_left(search: Storage, num_trials: int) -> bool:
    """Whether all results of a search exist and are undamaged.

    Args:
        search: its folder.
        num_trials: trials in all.

    Raises:
        StorageError: when the storage cannot be read.
    """
    if not is_concluded(search, num_trials):
        return False
    adapters = [
        adapter_folder(result.number)
        for result in read_results(search)
        if result.outcome == "complete"
    ]
    predictions = [predictions_folder(number) for number in read_all_scores(search)]
    return all(is_whole(search, folder) for folder in (*adapters, *predictions))
