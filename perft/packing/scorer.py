"""Scores adapters on the test splits, and the base alone; keeps their predictions."""

import functools
from collections.abc import Callable, Mapping, Sequence

from perft.base_score import BaseScore
from perft.checkpoint import from_bytes
from perft.config import TrainingConfig
from perft.errors import PerftError, StorageError
from perft.evaluation import Prediction
from perft.evaluation.splits import predictions_parquet
from perft.packing.messages import Scored, ToScore
from perft.packing.states import SavedStates
from perft.ranks import Ranks
from perft.search_folder import adapter_name, predictions_file, predictions_folder, trial_folder
from perft.training.base_alone import predict_base, score_base
from perft.training.pack import Pack
from perft.trial import SplitScores


class GroupScorer:
    """Scores what the search has chosen, the same on every rank.

    Args:
        pack: the base and the trials on it.
        ranks: the group's processes.
        states: the files of the trials.
        give_up: ends the search; called with the first error of this rank.
    """

    def __init__(
        self, pack: Pack, ranks: Ranks, states: SavedStates, give_up: Callable[[PerftError], None]
    ) -> None:
        self._pack = pack
        self._ranks = ranks
        self._states = states
        self._storage = states.storage
        self._give_up = give_up

    def score(self, wanted: ToScore) -> Scored:
        """The scores; all predictions are written by then.

        Raises:
            StorageError: on every rank, if states cannot be read or predictions not written.
        """
        return Scored(
            trials=self._trials(wanted.trials) if wanted.trials else {},
            base=self._base(wanted.base) if wanted.base is not None else None,
        )

    def _trials(self, trials: Sequence[int]) -> dict[int, SplitScores]:
        names = [trial_folder(trial) for trial in trials]
        for trial, name in zip(trials, names, strict=True):
            state = self._ranks.on_first(functools.partial(self._states.last, trial))
            self._pack.release(name)
            self._pack.admit(name, from_bytes(state).config, state)
        predictions = self._pack.predict_tests(names)
        self._write({trial: predictions[trial_folder(trial)] for trial in trials})
        counts = self._pack.count_tests(predictions)
        return {trial: counts[name] for trial, name in zip(trials, names, strict=True)}

    def _base(self, training: TrainingConfig) -> BaseScore:
        predictions = predict_base(self._pack)
        if predictions:
            self._write({None: predictions})
        return score_base(self._pack, training, predictions)

    def _write(self, predictions: Mapping[int | None, Mapping[str, Sequence[Prediction]]]) -> None:
        """Writes this rank's predictions, by trial, where None is the base alone.

        Returns when all ranks have written; if one cannot, all ranks stop.

        Raises:
            StorageError: on every rank.
        """
        # An earlier attempt may have been of more ranks.
        self._ranks.on_first(functools.partial(self._forget, list(predictions)))
        failed = False
        try:
            for trial, by_split in predictions.items():
                splits = [split for split in self._pack.task.splits if split.name in by_split]
                rows = predictions_parquet({adapter_name(trial): by_split}, splits)
                self._storage.write(predictions_file(trial, self._ranks.rank), rows)
        except StorageError as error:
            failed = True
            self._give_up(error)
        if self._ranks.max(int(failed)):
            raise StorageError("the predictions of the test splits cannot be written")

    def _forget(self, trials: Sequence[int | None]) -> None:
        for trial in trials:
            self._storage.delete(predictions_folder(trial))
