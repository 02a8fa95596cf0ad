"""A pack: the trials that share one base, trained together.

A trial alone is a pack of one. Trials join and leave between calls, differ in variant, size,
learning rate and progress, and none sees another's rows.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from perft.checkpoint import TrialState, adapter_files, from_bytes, to_bytes
from perft.config import NOTHING_FURTHER, FurtherMeasures
from perft.errors import ConfigError, StorageError
from perft.evaluation import Prediction, count_correct
from perft.injection import AdapterHost
from perft.models.load import Base
from perft.ranks import Ranks
from perft.tasks import Split, Task, TaskSource, code_files, to_record
from perft.tasks.vocabulary import require_embeddings
from perft.training.data import TokenizedTask
from perft.training.evaluator import Evaluator
from perft.training.further import Further
from perft.training.guard import fault_of
from perft.training.objective import require_readable
from perft.training.optimizer import AdapterOptimizer
from perft.training.running import RunningTrial
from perft.training.shapes import row_capacity
from perft.training.stepper import Stepper
from perft.trial import AdapterSize, AnswerCount, Report, TrialConfig

RUNG_EXAMPLES = 100
"""Validation examples at a rung; at full length all are used. ASHA compares their loss, which ranks
trials as well as the loss of four times as many (`benchmarks/rung_metric.py`)."""

ReportOrFailure = Report | str
"""A report, or why the trial failed."""


class Pack:
    """Trials on one base.

    Args:
        base: loaded; already sharded over several ranks.
        task: the task to train and validate on.
        ranks: the processes that share the base.
        slots: largest number of trials in the pack; if micro-batches have fixed shapes
            (`perft.training.shapes`), results depend on it.
        checkpointing: whether the base's layers are recomputed in the backward pass, which takes a
            third more time and far less memory.
        rung_accuracy: whether trials generate answers at every rung; at full length they always do.
        further: what else is measured of a trial at full length.
        say: called with a sentence that the user should see.

    Raises:
        ConfigError: if a rank would have no validation example, or answers do not fit the base's
            positions.
        DataError: if a text has a token that the base does not know.
        BaseModelError: if tokenizer and base do not belong together.
    """

    def __init__(
        self,
        base: Base,
        task: Task,
        ranks: Ranks,
        *,
        slots: int = 1,
        checkpointing: bool = False,
        rung_accuracy: bool = True,
        further: FurtherMeasures = NOTHING_FURTHER,
        say: Callable[[str], None] = print,
    ) -> None:
        require_embeddings(task.splits, base.tokenizer, base.embeddings)
        self.base = base
        self.task = task
        self.ranks = ranks
        self.host = AdapterHost(base.model)
        self._say = say
        self.rows = TokenizedTask(task, base.tokenizer, base.positions)
        self.running: dict[str, RunningTrial] = {}
        pad: int = base.tokenizer.pad_token_id
        self._stepper = Stepper(
            self.host, ranks, pad=pad, slots=slots, checkpointing=checkpointing, say=say
        )
        self._evaluator = Evaluator(self.host, self.rows, ranks, lambda: self._stepper.fixed)
        self._further = Further(self._evaluator, further)
        self._rung_accuracy = rung_accuracy
        self._trained = 0
        if len(task.validation.examples) < ranks.size:
            raise ConfigError(
                f"{ranks.size} workers per group need at least as many validation examples, "
                f"found {len(task.validation.examples)}"
            )
        for split in (task.validation, *task.tests):
            self.rows.prompts(split)

    def admit(
        self,
        name: str,
        config: TrialConfig,
        state: bytes | None = None,
        adapter: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Adds a trial, at its first step or from `state`.

        Args:
            name: the trial's.
            config: its configuration.
            state: of `state`; None for a new trial.
            adapter: tensors by key with which a new trial starts; None for those of its seed.

        Raises:
            ConfigError: if its batch is smaller than the number of ranks, or the task lacks what
                its objective reads.
            StorageError: if the state is damaged.
            AdapterError: if the state does not fit the base.
        """
        training = config.training
        if training.batch_size < self.ranks.size:
            raise ConfigError(
                f"batch_size {training.batch_size} is smaller than the {self.ranks.size} workers "
                "of the group; every worker needs a row"
            )
        saved = from_bytes(state) if state is not None else None
        if saved is not None and saved.config != config:
            raise StorageError(
                f"the saved state of trial {name} was made with another configuration; "
                "start a search under a new name instead of resuming this one"
            )
        require_readable(training.objective, self.task)
        rows = self.rows.read_by(training)
        if rows.truncated:
            self._say(
                f"{rows.truncated:,} of {len(rows):,} training rows are longer than max_length = "
                f"{training.max_length} tokens and lose the beginning of their prompt; raise it in "
                "the space's training"
            )
        start = adapter if saved is None else saved.adapter
        if start is None:
            self.host.add(name, config.adapter, seed=training.seed)
        else:
            self.host.load(name, config.adapter, start)
        optimizer = AdapterOptimizer(self.host.tensors(name), training)
        trial = RunningTrial(config, rows, optimizer, row_capacity(rows))
        if saved is not None:
            optimizer.load_state(saved.moments, saved.step)
            trial.step, trial.reports = saved.step, list(saved.reports)
            trial.progress = saved.progress
        self.running[name] = trial

    def release(self, name: str) -> None:
        """Removes a trial and frees its memory."""
        if name in self.running:
            del self.running[name]
            self.host.remove(name)

    def advance(
        self, targets: Mapping[str, int], on_step: Callable[[], None] | None = None
    ) -> dict[str, ReportOrFailure]:
        """Trains each trial to its target step, then evaluates all: `train`, then `report`."""
        self.train(targets, on_step)
        return self.report(list(targets))

    def train(self, targets: Mapping[str, int], on_step: Callable[[], None] | None = None) -> None:
        """Trains each trial to its target step, or until its loss is not finite.

        Args:
            targets: by trial, the step to reach.
            on_step: called after every step of the pack, for progress.
        """
        while going := [
            name
            for name, target in targets.items()
            if self.running[name].step < target and not self.running[name].failure
        ]:
            self._step(going)
            if on_step is not None:
                on_step()

    def report(self, names: Sequence[str]) -> dict[str, ReportOrFailure]:
        """Evaluates trials together.

        Returns:
            By trial, its report; or, if its loss is not finite, why it failed.
        """
        alive = [name for name in names if not self.running[name].failure]
        reports = self._evaluate(alive) if alive else {}
        return {name: reports.get(name) or self.running[name].failure for name in names}

    @property
    def scored_tests(self) -> list[Split]:
        """The test splits that have an accuracy."""
        return [split for split in self.task.tests if split.scorer.has_accuracy]

    def predict_tests(self, names: Sequence[str]) -> dict[str, dict[str, list[Prediction]]]:
        """This rank's predictions on `scored_tests`, by trial and split."""
        found: dict[str, dict[str, list[Prediction]]] = {name: {} for name in names}
        for split in self.scored_tests:
            for name, rows in self._evaluator.predict(names, split).items():
                found[name][split.name] = rows
        return found

    def count_tests(
        self, predictions: Mapping[str, Mapping[str, Sequence[Prediction]]]
    ) -> dict[str, dict[str, AnswerCount]]:
        """Correct and scored examples, by trial and split, of all ranks' predictions."""
        scores: dict[str, dict[str, AnswerCount]] = {name: {} for name in predictions}
        for split in self.scored_tests:
            rows = {name: by_split[split.name] for name, by_split in predictions.items()}
            for name, correct in count_correct(rows, self.ranks).items():
                scores[name][split.name] = AnswerCount(correct, len(split.examples))
        return scores

    def state(self, name: str) -> bytes:
        """The bytes from which `admit` resumes exactly here."""
        trial = self.running[name]
        return to_bytes(
            TrialState(
                trial.config,
                trial.step,
                tuple(trial.reports),
                self.host.tensors(name),
                trial.optimizer.state(),
                trial.progress,
            )
        )

    def adapter(self, name: str, trained_on: TaskSource) -> dict[str, bytes]:
        """The files of the adapter's folder, by name; `trained_on` is where the task came from."""
        files = adapter_files(
            self.running[name].config.adapter,
            self.host.tensors(name),
            base=self.base.name,
            fingerprint=self.base.fingerprint,
            quantize=self.base.quantize,
            trained_on=to_record(trained_on, self.task.fingerprint),
        )
        return files | code_files(trained_on)

    def size(self, name: str) -> AdapterSize:
        """Parameter counts of a trial's adapter."""
        return self.host.size(self.running[name].config.adapter)

    @property
    def has_fixed_shapes(self) -> bool:
        """Whether micro-batches have fixed shapes: no trial then affects another's rounding."""
        return self._stepper.fixed is not None

    @property
    def padding(self) -> float:
        """Share of padding in all tokens that went through the base in training, in [0, 1)."""
        padded = self._stepper.padded
        return 1.0 - self._trained / padded if padded else 0.0

    @property
    def max_tokens_per_microbatch(self) -> int:
        """Tokens of one micro-batch on each rank; fewer once memory has run out."""
        return self._stepper.max_tokens_per_microbatch

    @max_tokens_per_microbatch.setter
    def max_tokens_per_microbatch(self, tokens: int) -> None:
        self._stepper.max_tokens_per_microbatch = tokens

    def _step(self, names: Sequence[str]) -> None:
        start = time.perf_counter()
        batches = {name: self.running[name].batch() for name in names}
        losses, sums = self._stepper.gradients(batches)
        seconds = time.perf_counter() - start
        for name in names:
            batch, trial = batches[name], self.running[name]
            fault = "" if trial.can_learn else fault_of(self.host, name, trial.optimizer)
            trial.take_step(losses[name], batch.tokens, seconds, sums.get(name), fault=fault)
            self._trained += batch.tokens * batch.copies

    def _evaluate(self, names: Sequence[str]) -> dict[str, Report | None]:
        """Evaluates trials at full length on all validation examples, others on fewer."""
        everything = len(self.task.validation.examples)
        fewer = min(max(RUNG_EXAMPLES, self.ranks.size), everything)
        full = [name for name in names if self.running[name].is_full_length]
        rest = [name for name in names if name not in full]
        reports: dict[str, Report | None] = {}
        for some, examples, scored in (
            (full, everything, True),
            (rest, fewer, self._rung_accuracy),
        ):
            trials = {name: self.running[name].config.training for name in some}
            found = self._evaluator.validate(trials, examples, scored=scored)
            if some is full:
                found = self._further.added_to(found, trials)
            for name, measured in found.items():
                reports[name] = self.running[name].report(measured)
        return reports
