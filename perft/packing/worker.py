"""What every process of a worker group runs: loads the base once, then trains batch after batch.

All ranks get the same work from rank 0 and take the same steps. A trial's state is in storage
before its report is handed in, so a worker may die at any moment. A storage error ends the search,
never a trial: an error of rank 0 is raised on every rank.
"""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import ray.train.torch
import torch

from perft.compat.ray_train import warned_nodes
from perft.errors import ConfigError, PerftError, SearchError, StorageError
from perft.models.load import load_base
from perft.packing.beginning import Beginning
from perft.packing.deaths import DEATHS
from perft.packing.handle import CoordinatorHandle
from perft.packing.keeping import Keeper
from perft.packing.machines import address_of
from perft.packing.messages import Assignment, BatchResult, Failed, NotDue, Reported, ToScore, Work
from perft.packing.scorer import GroupScorer
from perft.packing.settings import GroupSettings, WorkSettings
from perft.packing.snapshots import Snapshots
from perft.packing.states import SavedStates
from perft.ranks import Ranks
from perft.search_folder import SEARCH_FILE, trial_folder
from perft.storage import Storage
from perft.tasks import load_task
from perft.training.microbatches import is_out_of_memory
from perft.training.pack import Pack, ReportOrFailure

NOTE_SECONDS = 0.5
"""Shortest time between two progress messages."""

BEAT_SECONDS = 5.0
"""Time between two heartbeats of the group."""


def work(settings: GroupSettings) -> None:
    """The training function that Ray Train runs on every worker of a group."""
    device = ray.train.torch.get_device()
    torch.set_num_threads(settings.threads)
    ranks = Ranks.current(device)
    try:
        coordinator = CoordinatorHandle.find(settings.coordinator, settings.namespace)
    except ValueError:
        return  # it has died: the search continues with a new one and new groups
    first = ranks.rank == 0
    if not ranks.broadcast(coordinator.starting(settings.group) if first else False):
        return
    say = coordinator.note if first else _nothing
    stage = functools.partial(coordinator.stage, settings.group) if first else _nothing
    try:
        pack = _load(settings.work, ranks, say, stage)
        worker = GroupWorker(settings, pack, ranks, coordinator, _warned)
    except PerftError as error:
        coordinator.give_up(f"worker group {settings.group} cannot start: {error}")
        return
    limit = coordinator.microbatch_limit(settings.group) if first else None
    pack.max_tokens_per_microbatch = ranks.broadcast(limit) or pack.max_tokens_per_microbatch
    worker.run()


def _nothing(_text: str) -> None:
    """Stands for the messages of ranks other than 0, which would only repeat."""


def _warned() -> tuple[str, ...]:
    """Addresses of the group's machines that are about to be taken."""
    return tuple(map(address_of, warned_nodes()))


def _unwarned() -> tuple[str, ...]:
    """Where nobody warns."""
    return ()


def _load(
    settings: WorkSettings, ranks: Ranks, say: Callable[[str], None], stage: Callable[[str], None]
) -> Pack:
    stage("loading the base")
    base = load_base(
        settings.base_model,
        device=ranks.device,
        dtype=settings.dtype,
        experts=settings.experts,
        quantize=settings.quantize,
        compile=settings.compile,
        ranks=ranks,
    )
    stage("reading and tokenising the task")
    task = load_task(settings.task)
    return Pack(
        base,
        task,
        ranks,
        slots=settings.slots,
        checkpointing=settings.checkpointing,
        rung_accuracy=settings.rung_accuracy,
        further=settings.further,
        say=say,
    )


class GroupWorker:
    """One process of a worker group.

    Args:
        settings: the group's.
        pack: the base and the trials on it.
        ranks: the group's processes.
        coordinator: the coordinator.
        warned: the machines of the group that are about to be taken.
    """

    def __init__(
        self,
        settings: GroupSettings,
        pack: Pack,
        ranks: Ranks,
        coordinator: CoordinatorHandle,
        warned: Callable[[], Sequence[str]] = _unwarned,
    ) -> None:
        self._group = settings.group
        self._pack = pack
        self._ranks = ranks
        self._coordinator = coordinator
        storage = Storage(settings.work.storage, self._say, is_known=True)
        self._storage = storage.anchored(SEARCH_FILE) if storage.exists(SEARCH_FILE) else storage
        self._states = SavedStates(self._storage, self._say)
        self._beginning = Beginning(pack, ranks, self._states)
        self._keeper = Keeper(pack, ranks, self._states, self._beginning, settings.work.task)
        self._snapshots = Snapshots(pack, ranks, self._states, warned)
        self._scorer = GroupScorer(pack, ranks, self._states, self._give_up)
        self._noted = 0.0

    def run(self) -> None:
        """Works until told to stop; ends the search if the storage or a message is invalid."""
        try:
            self._work()
        except (StorageError, SearchError) as error:
            self._give_up(error)

    def _work(self) -> None:
        results: dict[int, BatchResult] | None = None
        if self._ranks.rank == 0:
            self._coordinator.attach(self._group)
        with self._beating():
            while True:
                asked = self._ask(results) if self._ranks.rank == 0 else Work()
                work = self._ranks.broadcast(asked)
                if work.stop:
                    return
                results = self._train_batch(work.assignments) if work.assignments else None
                if work.to_score:
                    self._score(work.to_score)

    @contextlib.contextmanager
    def _beating(self) -> Iterator[None]:
        """Inside, sends heartbeats, however long a step or an evaluation takes."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                self._coordinator.beat(self._group)

        if self._ranks.rank == 0:
            threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def _ask(self, results: Mapping[int, BatchResult] | None) -> Work:
        try:
            return self._coordinator.next_work(self._group, results)
        except DEATHS:
            return Work(stop=True)  # as in `work`

    def _train_batch(self, batch: Sequence[Assignment]) -> dict[int, BatchResult]:
        reached = {trial_folder(wanted.trial): wanted.reached for wanted in batch}
        for name, running in list(self._pack.running.items()):
            if running.step < reached.get(name, math.inf):  # it has ended, or trained elsewhere
                self._pack.release(name)
        starts, refused = self._beginning.begin(batch)
        results: dict[int, BatchResult] = {n: Failed(why) for n, why in refused.items()}
        wanted: list[Assignment] = []
        for assignment in batch:
            start = starts.get(assignment.trial)
            if start is not None and start.is_answer:
                failure = start.state.failure if start.state else ""
                results[assignment.trial] = self._answer(assignment, failure)
            elif start is not None:
                wanted.append(assignment)
        return results | (self._advance(wanted) if wanted else {})

    def _answer(self, wanted: Assignment, failure: str) -> BatchResult:
        """The result of a trial that was already trained to its target."""
        if failure:
            return Failed(failure)
        if not wanted.due:
            return NotDue(wanted.target)
        name = trial_folder(wanted.trial)
        running = self._pack.running[name]
        if wanted.config.training.is_full_length(wanted.target):
            self._keeper.require_adapter(wanted.trial)
        report = next(each for each in running.reports if each.step == wanted.target)
        return self._result(name, report)

    def _advance(self, wanted: Sequence[Assignment]) -> dict[int, BatchResult]:
        """Trains all to their targets, and evaluates those that are due."""
        targets = {trial_folder(assignment.trial): assignment.target for assignment in wanted}
        due = [trial_folder(assignment.trial) for assignment in wanted if assignment.due]
        self._snapshots.resume(wanted)
        try:
            self._train(targets)
        except ConfigError as error:  # of several trials, each fails when it trains alone
            if len(wanted) > 1:
                raise
            return {wanted[0].trial: Failed(str(error))}
        outcomes = self._pack.report(due)
        self._keeper.commit(wanted)
        self._snapshots.delete()
        outcomes |= {n: failure for n in targets if (failure := self._pack.running[n].failure)}
        return {
            int(name): self._result(name, outcomes[name]) if name in outcomes else NotDue(step)
            for name, step in targets.items()
        }

    def _train(self, targets: Mapping[str, int]) -> None:
        """Trains; a rank of several that runs out of memory bounds micro-batches, then dies.

        Raises:
            ConfigError: if a lone rank has no memory for a trial, however small the micro-batches.
        """
        try:
            self._pack.train(targets, self._between_steps)
        except RuntimeError as error:
            if is_out_of_memory(error):
                limit = self._pack.max_tokens_per_microbatch
                self._coordinator.limit_microbatches(self._group, limit)
            raise

    def _result(self, name: str, advanced: ReportOrFailure) -> BatchResult:
        if isinstance(advanced, str):
            return Failed(advanced)
        return Reported(advanced, self._pack.size(name))

    def _score(self, wanted: ToScore) -> None:
        scored = self._scorer.score(wanted)
        if self._ranks.rank == 0:
            self._coordinator.scored(scored)

    def _give_up(self, error: PerftError) -> None:
        """Ends the search; the user sees the first error."""
        with contextlib.suppress(*DEATHS):
            self._coordinator.give_up(str(error))

    def _say(self, text: str) -> None:
        if self._ranks.rank == 0:
            self._coordinator.note(text)

    def _between_steps(self) -> None:
        if self._snapshots.take_if_warned():
            self._coordinator.kept(self._group)
        self._note_steps()

    def _note_steps(self) -> None:
        now = time.monotonic()
        if self._ranks.rank == 0 and now - self._noted > NOTE_SECONDS:
            self._noted = now
            steps = {int(name): trial.step for name, trial in self._pack.running.items()}
            self._coordinator.note_steps(steps)
