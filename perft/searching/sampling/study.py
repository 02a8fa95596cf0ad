"""What Optuna hears of a search: the truth in its folder, and what the sampler looks at.

Trials have the same numbers in both and everywhere else. The sampler hears of every trial whose
result follows from its parameters: not of one trained again with another seed, nor of one that
starts from another's adapter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from optuna.storages import BaseStorage

from perft.files import Json
from perft.packing.messages import Reported
from perft.searching.agenda import Trial
from perft.searching.sampling.points import draft_at
from perft.searching.sampling.record import Record
from perft.searching.sampling.sampler import Draft, Sampler
from perft.searching.space import Draw
from perft.trial import Origin, Outcome, TrialConfig, follows_from_params

Params = Mapping[str, Json]


class OptunaStudy:
    """The study of one search.

    Args:
        draw: draws a trial's configuration from an Optuna trial.
        sampler: proposes trials.
        storage: Optuna's storage; None for memory.
        name: of the study.
        objective: what the search aims at, a name of `OBJECTIVES`.
        points: drafts that are drawn first.
    """

    def __init__(
        self,
        draw: Draw,
        sampler: Sampler,
        storage: BaseStorage | None,
        name: str,
        *,
        objective: str,
        points: Sequence[Draft] = (),
    ) -> None:
        self._draw = draw
        self._sampler = sampler
        self._record = Record(storage, name, objective)
        self.study = self._record.study
        self._points = list(points)
        self._reports: dict[int, list[Reported]] = {}
        self._told: set[int] = set()  # trials that the sampler hears of

    def draw(self) -> Trial:
        """A point that is left, or else the sampler's next trial."""
        number = len(self._reports)
        if self._points:
            draft = self._points.pop(0)
            self._sampler.given(number, draft)
        else:
            draft = self._sampler.draw(number)
        self._told.add(number)
        return self._start(draft, draft.params, None)

    def given(self, config: TrialConfig, params: Params, origin: Origin | None) -> Trial:
        """A trial that the sampler did not draw.

        Args:
            config: its configuration.
            params: the parameters that it would be drawn with; empty if unknown.
            origin: where it comes from.
        """
        number = len(self._reports)
        draft = Draft(config=config, params={}, distributions={})
        if params and follows_from_params(origin, params):
            draft = replace(draft_at(self._draw, params), config=config)
            self._sampler.given(number, draft)
            self._told.add(number)
        return self._start(draft, params, origin)

    def reported(self, number: int, reported: Reported) -> None:
        """Notes a report, at a rung or at full length."""
        self._reports[number].append(reported)
        if number in self._told:
            self._sampler.reported(number, reported.report)

    def ended(self, number: int, outcome: Outcome, last: Reported | None) -> None:
        """Notes how a trial ended, with its last report."""
        if last is not None and last not in self._reports[number]:
            self.reported(number, last)
        self._record.end(number, outcome, self._reports[number])
        if number in self._told:
            self._sampler.ended(number, outcome)

    def _start(self, draft: Draft, params: Params, origin: Origin | None) -> Trial:
        number = self._record.start(draft, origin)
        self._reports[number] = []
        return Trial(number=number, config=draft.config, params=params, origin=origin)
