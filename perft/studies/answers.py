"""What the trials of a study scored, and estimates that no choice flatters.

The rate of an adapter is tuned by leaving one seed out: for each seed, the rate is the best of the
other seeds, and this seed's value at that rate counts. So what is chosen and what is judged are
never the same trainings.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from perft.selection import Confirmed, objective
from perft.studies.design import ADAPTER, RATE, SEED
from perft.trial import AdapterSize, TrialResult

K = TypeVar("K")


@dataclass(frozen=True, order=True)
class Cell:
    """An adapter at a learning rate.

    Attributes:
        adapter: its name in the design.
        rate: factor of the usual rate.
    """

    adapter: str
    rate: float


@dataclass(frozen=True)
class Tuned:
    """The best of several cells, by seeds that are not judged.

    Attributes:
        found: its values.
        chosen: the cell that all seeds together choose.
    """

    found: Confirmed
    chosen: Cell


@dataclass(frozen=True)
class Answers:
    """What the trials of a design scored.

    Attributes:
        values: by cell and seed, the accuracy in [0, 1], or minus the loss where none is scored.
        scored: validation examples of each accuracy; 0 for losses.
        sizes: of the adapters, by name.
        rates: the learning rates, by their factor.
        failed: cells of which a training failed; they are in no estimate.
        measures: by cell and seed, the other metrics by name.
    """

    values: Mapping[Cell, Mapping[int, float]]
    scored: int
    sizes: Mapping[str, AdapterSize]
    rates: Mapping[float, float]
    failed: frozenset[Cell]
    measures: Mapping[Cell, Mapping[int, Mapping[str, float]]] = field(default_factory=dict)

    @classmethod
    def of(cls, results: Iterable[TrialResult]) -> "Answers":
        """The answers of trials that were drawn from a design; others are left out."""
        values: dict[Cell, dict[int, float]] = {}
        measures: dict[Cell, dict[int, Mapping[str, float]]] = {}
        scored, sizes, rates, failed = math.inf, {}, {}, set()
        for trial in results:
            if trial.origin is not None or not {ADAPTER, RATE, SEED} <= trial.params.keys():
                continue
            cell = Cell(str(trial.params[ADAPTER]), float(str(trial.params[RATE])))
            rates[cell.rate] = trial.config.training.lr
            if trial.outcome != "complete" or trial.last is None or trial.size is None:
                failed.add(cell)
                continue
            sizes[cell.adapter] = trial.size
            seed = int(str(trial.params[SEED]))
            values.setdefault(cell, {})[seed] = objective(trial.last)
            measures.setdefault(cell, {})[seed] = trial.last.measures
            scored = min(scored, trial.last.scored)
        whole = {cell: by_seed for cell, by_seed in values.items() if cell not in failed}
        examples = 0 if math.isinf(scored) else int(scored)
        by_rate = dict(sorted(rates.items()))
        return cls(whole, examples, sizes, by_rate, frozenset(failed), measures)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that every cell has."""
        known = [set(by_seed) for by_seed in self.values.values()]
        return tuple(sorted(set.intersection(*known))) if known else ()

    def at(self, cell: Cell) -> Confirmed | None:
        """The values of a cell; None if it failed or was not trained."""
        if cell not in self.values:
            return None
        return self._found([self.values[cell][seed] for seed in self.seeds])

    def tuned(self, adapters: Sequence[str]) -> Tuned | None:
        """The best of these adapters at its best rate; None without two seeds, or any cell."""
        chosen = self._chosen(adapters)
        if not chosen:
            return None
        judged = [self.values[cell][seed] for seed, cell in chosen.items()]
        return Tuned(self._found(judged), self._best(self._cells(adapters)))

    def measured(self, adapters: Sequence[str], measure: str) -> Confirmed | None:
        """Another metric of these adapters where they are tuned; None if it is not known of all.

        The cells are those of `tuned`, chosen by the score of other seeds.
        """
        found = [
            self._measure(cell, seed, measure) for seed, cell in self._chosen(adapters).items()
        ]
        return _of_metric(found, self.seeds)

    def measured_at(self, cell: Cell, measure: str) -> Confirmed | None:
        """Another metric of a cell; None if it is not known of all seeds."""
        known = self.seeds if cell in self.values else ()
        return _of_metric([self._measure(cell, seed, measure) for seed in known], self.seeds)

    def tuned_each(self, kinds: Mapping[K, Sequence[str]]) -> dict[K, Tuned]:
        """By kind, the best of its adapters at its best rate, where that is known."""
        found = {kind: self.tuned(adapters) for kind, adapters in kinds.items()}
        return {kind: tuned for kind, tuned in found.items() if tuned is not None}

    def _cells(self, adapters: Sequence[str]) -> list[Cell]:
        return sorted(cell for cell in self.values if cell.adapter in adapters)

    def _chosen(self, adapters: Sequence[str]) -> dict[int, Cell]:
        """By seed, the cell that the other seeds choose; empty without two seeds, or any cell."""
        cells = self._cells(adapters)
        if not cells or len(self.seeds) < 2:
            return {}
        return {seed: self._best(cells, leave_out=seed) for seed in self.seeds}

    def _measure(self, cell: Cell, seed: int, measure: str) -> float | None:
        return self.measures.get(cell, {}).get(seed, {}).get(measure)

    def _best(self, cells: Sequence[Cell], leave_out: int | None = None) -> Cell:
        """The cell with the highest mean over the seeds; the first of equal ones."""
        seeds = [seed for seed in self.seeds if seed != leave_out]
        return max(cells, key=lambda cell: fmean(self.values[cell][seed] for seed in seeds))

    def _found(self, values: Sequence[float]) -> Confirmed:
        return Confirmed(trial=0, values=tuple(values), scored=self.scored, seeds=self.seeds)


def _of_metric(found: Sequence[float | None], seeds: tuple[int, ...]) -> Confirmed | None:
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    return Confirmed(trial=0, values=tuple(known), seeds=seeds)
