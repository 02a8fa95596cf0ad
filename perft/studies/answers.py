"""What the trials of a study scored, and estimates that no choice flatters.

The rate of an adapter is tuned by leaving one seed out: for each seed, the rate is the best of the
other seeds, and this seed's value at that rate counts. So what is chosen and what is judged are
never the same trainings.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    """

    values: Mapping[Cell, Mapping[int, float]]
    scored: int
    sizes: Mapping[str, AdapterSize]
    rates: Mapping[float, float]
    failed: frozenset[Cell]

    @classmethod
    def of(cls, results: Iterable[TrialResult]) -> "Answers":
        """The answers of trials that were drawn from a design; others are left out."""
        values: dict[Cell, dict[int, float]] = {}
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
            values.setdefault(cell, {})[int(str(trial.params[SEED]))] = objective(trial.last)
            scored = min(scored, trial.last.scored)
        whole = {cell: by_seed for cell, by_seed in values.items() if cell not in failed}
        examples = 0 if math.isinf(scored) else int(scored)
        return cls(whole, examples, sizes, dict(sorted(rates.items())), frozenset(failed))

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
        cells = sorted(cell for cell in self.values if cell.adapter in adapters)
        if not cells or len(self.seeds) < 2:
            return None
        chosen = [self._best(cells, leave_out=seed) for seed in self.seeds]
        judged = [self.values[c][seed] for c, seed in zip(chosen, self.seeds, strict=True)]
        return Tuned(self._found(judged), self._best(cells))

    def tuned_each(self, kinds: Mapping[K, Sequence[str]]) -> dict[K, Tuned]:
        """By kind, the best of its adapters at its best rate, where that is known."""
        found = {kind: self.tuned(adapters) for kind, adapters in kinds.items()}
        return {kind: tuned for kind, tuned in found.items() if tuned is not None}

    def _best(self, cells: Sequence[Cell], leave_out: int | None = None) -> Cell:
        """The cell with the highest mean over the seeds; the first of equal ones."""
        seeds = [seed for seed in self.seeds if seed != leave_out]
        return max(cells, key=lambda cell: fmean(self.values[cell][seed] for seed in seeds))

    def _found(self, values: Sequence[float]) -> Confirmed:
        return Confirmed(trial=0, values=tuple(values), scored=self.scored, seeds=self.seeds)
