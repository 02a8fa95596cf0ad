"""What every process of a worker group runs: load the base once, then train whatever is given out.

All ranks get the same work from rank 0 and take the same steps. Everything a trial needs to go on
is in storage before its report is handed in, so a worker may die at any moment.
"""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from perft.checkpoint import from_bytes
from perft.errors import ConfigError, PerftError, StorageError
from perft.evaluation.splits import predictions_parquet
from perft.models.load import load_base
from perft.packing.deaths import DEATHS
from perft.packing.places import ADAPTERS, PREDICTIONS, trial_file, trial_folder
from perft.packing.rounds import Assignment
from perft.packing.settings import GroupSettings
from perft.ranks import Ranks
from perft.storage import Storage
from perft.tasks import TaskSource, load_task
from perft.training.pack import Advanced, Pack
from perft.training.passes import is_out_of_memory
from perft.trial import TrialConfig

NOTE_SECONDS = 0.5
"""How often a watcher may learn where the trials are."""

BEAT_SECONDS = 5.0
"""How often the meeting point hears that the group is at work."""


def work(settings: GroupSettings) -> None:
    """The training function that Ray Train runs on every worker of a group."""
    device = ray.train.torch.get_device()
    torch.set_num_threads(settings.threads)
    ranks = Ranks.current(device)
    try:
        meeting = ray.get_actor(settings.meeting, namespace=settings.namespace)
    except ValueError:
        return  # it has died: the search goes on with another one, and with other groups
    may_start = ray.get(meeting.starting.remote(settings.group)) if ranks.rank == 0 else False
    if not ranks.from_first(may_start):
        return
    first = ranks.rank == 0
    say = meeting.note.remote if first else _nothing
    stage = functools.partial(meeting.stage.remote, settings.group) if first else _nothing
    try:
        pack = _load(settings, ranks, say, stage)
    except PerftError as error:
        ray.get(meeting.give_up.remote(f"worker group {settings.group} cannot start: {error}"))
        return
    limit = ray.get(meeting.pass_limit.remote(settings.group)) if ranks.rank == 0 else None
    pack.tokens_per_pass = ranks.from_first(limit) or pack.tokens_per_pass
    GroupWorker(settings, pack, ranks, meeting).run()


def _nothing(_text: str) -> None:
    """What the other ranks say: all have the same to say."""


def _load(
    settings: GroupSettings, ranks: Ranks, say: Callable[[str], None], stage: Callable[[str], None]
) -> Pack:
    stage("loading the base")
    base = load_base(
        settings.base_model,
        device=ranks.device,
        dtype=settings.dtype,
        experts=settings.experts,
        compile=settings.compile,
        ranks=ranks,
    )
    stage("reading and tokenising the task")
    task = load_task(TaskSource(**settings.task))
    return Pack(
        base,
        task,
        ranks,
        slots=settings.slots,
        checkpointing=settings.checkpointing,
        rung_accuracy=settings.rung_accuracy,
        say=say,
    )


class GroupWorker:
    """One process of a worker group at work.

    Args:
        settings: the group's.
        pack: the base with whatever trials are on it.
        ranks: the group's processes.
        meeting: handle of the meeting point.
    """

    def __init__(self, settings: GroupSettings, pack: Pack, ranks: Ranks, meeting: Any) -> None:
        self._settings = settings
        self._pack = pack
        self._ranks = ranks
        self._meeting = meeting
        self._storage = Storage(settings.storage)
        self._noted = 0.0

    def run(self) -> None:
        """Works until told to stop."""
        outcomes: dict[int, dict[str, Any]] | None = None
        if self._ranks.rank == 0:
            ray.get(self._meeting.attach.remote(self._settings.group))
        with self._beating():
            while True:
                ask = self._ask(outcomes) if self._ranks.rank == 0 else {}
                order = self._ranks.from_first(ask)
                if order["stop"]:
                    return
                outcomes = self._do(order) if order["assignments"] else None
                if order["score"]:
                    self._score(order["score"])

    @contextlib.contextmanager
    def _beating(self) -> Iterator[None]:
        """Lets the meeting point hear of the group, however long a step or an evaluation takes."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(BEAT_SECONDS):
                self._meeting.beat.remote(self._settings.group)

        if self._ranks.rank == 0:
            threading.Thread(target=beat, daemon=True).start()
        try:
            yield
        finally:
            done.set()

    def _ask(self, outcomes: dict[int, dict[str, Any]] | None) -> dict[str, Any]:
        answer = self._meeting.next_work.remote(self._settings.group, outcomes)
        try:
            order: dict[str, Any] = ray.get(answer)
        except DEATHS:
            return {"stop": True}  # as in `work`
        return order

    def _do(self, order: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        reached = {trial_folder(flat["trial"]): flat["reached"] for flat in order["assignments"]}
        for name, running in list(self._pack.running.items()):
            if running.step < reached.get(name, math.inf):  # it has ended, or gone on elsewhere
                self._pack.release(name)
        outcomes: dict[int, dict[str, Any]] = {}
        wanted: list[Assignment] = []
        for flat in order["assignments"]:
            assignment = Assignment(**flat)
            try:
                self._admit(assignment.trial, TrialConfig.from_flat(assignment.config))
            except PerftError as error:
                outcomes[assignment.trial] = {"failure": str(error)}
                continue
            known = self._known(assignment)
            if known is not None:
                outcomes[assignment.trial] = known
            else:
                wanted.append(assignment)
        return outcomes | (self._advance(wanted) if wanted else {})

    def _admit(self, trial: int, config: TrialConfig) -> None:
        name = trial_folder(trial)
        if name not in self._pack.running:
            self._pack.admit(name, config, self._saved(trial))

    def _saved(self, trial: int) -> bytes | None:
        """The trial's state, if there is one. What rank 0 cannot read is an error on every rank."""
        found: bytes | StorageError | None = None
        if self._ranks.rank == 0:
            try:
                file = trial_file(trial)
                found = self._storage.read(file) if self._storage.exists(file) else None
            except StorageError as error:
                found = error
        found = self._ranks.from_first(found)
        if isinstance(found, StorageError):
            raise found
        return found

    def _known(self, wanted: Assignment) -> dict[str, Any] | None:
        """What is wanted of a trial that had come as far before; None if it has not."""
        name = trial_folder(wanted.trial)
        running = self._pack.running[name]
        if not wanted.due:
            return {} if running.step >= wanted.target else None
        for report in running.reports:
            if report.step == wanted.target:
                return self._outcome(name, report)
        return None

    def _advance(self, wanted: Sequence[Assignment]) -> dict[int, dict[str, Any]]:
        """Trains all and has those report that are due; nothing is said of the others."""
        targets = {trial_folder(assignment.trial): assignment.target for assignment in wanted}
        due = [trial_folder(assignment.trial) for assignment in wanted if assignment.due]
        try:
            self._train(targets)
        except ConfigError as error:  # of several trials each will say it when it trains alone
            if len(wanted) > 1:
                raise
            return {wanted[0].trial: {"failure": str(error)}}
        told = self._pack.report(due)
        if self._ranks.rank == 0:
            for assignment in wanted:
                self._keep(assignment.trial)
        told |= {n: failure for n in targets if (failure := self._pack.running[n].failure)}
        return {
            int(name): self._outcome(name, told[name]) if name in told else {} for name in targets
        }

    def _train(self, targets: Mapping[str, int]) -> None:
        """Trains; of several ranks the one that has no memory left says so, and dies of it.

        Raises:
            ConfigError: if a lone rank has no memory for a trial, however small the passes.
        """
        try:
            self._pack.train(targets, self._note_steps)
        except RuntimeError as error:
            if is_out_of_memory(error):
                limit = self._pack.tokens_per_pass
                ray.get(self._meeting.limit_passes.remote(self._settings.group, limit))
            raise

    def _keep(self, trial: int) -> None:
        """Persists a trial's state, and its adapter when it is full-length."""
        name = trial_folder(trial)
        running = self._pack.running[name]
        if running.failure:
            return
        if running.is_full_length:
            source = TaskSource(**self._settings.task)
            for file, data in self._pack.adapter(name, source).items():
                self._storage.write(f"{ADAPTERS}/{name}/{file}", data)
        self._storage.write(trial_file(trial), self._pack.state(name))

    def _outcome(self, name: str, advanced: Advanced) -> dict[str, Any]:
        if isinstance(advanced, str):
            return {"failure": advanced}
        size = self._pack.size(name)
        return {
            "report": advanced.to_json(),
            "size": {
                "trainable": size.trainable,
                "activated": size.activated,
                "base_activated": size.base_activated,
            },
        }

    def _score(self, trials: Sequence[int]) -> None:
        for trial in trials:
            if self._ranks.rank == 0:  # an earlier attempt may have been of more ranks
                self._storage.delete(f"{PREDICTIONS}/{trial_folder(trial)}")
            state = self._ranks.from_first(
                self._storage.read(trial_file(trial)) if self._ranks.rank == 0 else b""
            )
            self._pack.release(trial_folder(trial))
            self._pack.admit(trial_folder(trial), from_bytes(state).config, state)
        predictions = self._pack.predict_tests([trial_folder(trial) for trial in trials])
        for name, by_split in predictions.items():
            rows = predictions_parquet({name: by_split}, self._pack.scored_tests)
            self._storage.write(f"{PREDICTIONS}/{name}/rank-{self._ranks.rank}.parquet", rows)
        counts = self._pack.count_tests(predictions)  # of all ranks, so all have written by then
        if self._ranks.rank == 0:
            scores = {trial: counts[trial_folder(trial)] for trial in trials}
            ray.get(self._meeting.scored.remote(scores))

    def _note_steps(self) -> None:
        now = time.monotonic()
        if self._ranks.rank == 0 and now - self._noted > NOTE_SECONDS:
            self._noted = now
            steps = {int(name): trial.step for name, trial in self._pack.running.items()}
            self._meeting.note_steps.remote(steps)
