"""Trials that start from another one: continued as if never stopped, or cloned from its adapter."""

import dataclasses
from pathlib import Path

import pytest
import torch

from packing.test_worker import RUNGS, Meeting, configured, new_worker, without_speed
from perft.packing.messages import Assignment, Failed, Reported
from perft.packing.worker import GroupWorker
from perft.search_folder import trial_file, trial_folder
from perft.trial import Origin, TrialConfig, first_step

STOPPED = RUNGS[0]


def assignment(
    trial: int,
    target: int,
    reached: int = 0,
    origin: Origin | None = None,
    config: TrialConfig | None = None,
) -> Assignment:
    return Assignment(
        trial=trial, config=config or configured(0), reached=reached, target=target, due=True,
        origin=origin,
    )  # fmt: skip


def worker(folder: Path) -> GroupWorker:
    return new_worker(folder, Meeting())


def reports(of: GroupWorker, *assignments: Assignment) -> list[Reported]:
    """The reports of one trial, assigned one after the other."""
    found = [of._train_batch([each])[each.trial] for each in assignments]
    assert all(isinstance(each, Reported) for each in found), found
    return [without_speed(each) for each in found if isinstance(each, Reported)]


CONTINUED = Origin(kind="continue", trial=0, step=STOPPED)


def test_a_continued_trial_equals_one_that_was_never_stopped(tmp_path: Path) -> None:
    whole = reports(
        worker(tmp_path / "whole"),
        *(assignment(0, rung, before) for before, rung in zip((0, *RUNGS), RUNGS, strict=False)),
    )
    stopping = worker(tmp_path / "stopped")
    reports(stopping, assignment(0, STOPPED))
    reports(stopping, assignment(1, STOPPED, config=configured(1)))
    for name, of in (
        ("in the same process", stopping),
        ("in another", worker(tmp_path / "stopped")),
    ):
        trial = 7 if name == "in another" else 8
        assert whole[1:] == reports(
            of,
            assignment(trial, RUNGS[1], STOPPED, CONTINUED),
            assignment(trial, RUNGS[2], RUNGS[1], CONTINUED),
        ), name
    assert whole[1:] == reports(  # answered from its own state
        worker(tmp_path / "stopped"),
        assignment(7, RUNGS[1], STOPPED, CONTINUED),
        assignment(7, RUNGS[2], RUNGS[1], CONTINUED),
    )


def test_a_clone_starts_with_the_adapter_and_nothing_else(tmp_path: Path) -> None:
    of = worker(tmp_path)
    reports(of, assignment(0, STOPPED))
    source = of._pack.host.tensors(trial_folder(0))
    source = {key: tensor.detach().clone() for key, tensor in source.items()}
    faster = dataclasses.replace(configured(0).training, lr=0.5, warmup_steps=2)
    config = TrialConfig(configured(0).adapter, faster)
    clone = assignment(9, STOPPED, 0, Origin(kind="clone", trial=0, step=STOPPED), config)
    of._beginning.begin([clone])
    trial = of._pack.running[trial_folder(9)]
    assert trial.step == 0
    assert trial.reports == []
    for key, tensor in of._pack.host.tensors(trial_folder(9)).items():
        assert torch.equal(tensor, source[key])


def test_a_clone_of_a_trial_that_has_not_begun_starts_from_its_seed(tmp_path: Path) -> None:
    of = worker(tmp_path)
    origin = Origin(kind="clone", trial=3, step=0)
    (cloned,) = reports(of, assignment(9, STOPPED, 0, origin))
    (alone,) = reports(worker(tmp_path / "alone"), assignment(0, STOPPED))
    assert cloned == alone


@pytest.mark.parametrize("kind", ["continue", "clone"])
def test_a_trial_whose_source_is_gone_fails_alone(tmp_path: Path, kind: str) -> None:
    of = worker(tmp_path)
    reports(of, assignment(0, STOPPED))
    (tmp_path / trial_file(0)).unlink()
    origin = Origin(kind=kind, trial=0, step=STOPPED)  # type: ignore[arg-type]
    reached = first_step(origin)
    both = [assignment(7, RUNGS[1], reached, origin), assignment(1, RUNGS[1], config=configured(1))]
    found = of._train_batch(both)
    assert isinstance(found[7], Failed)
    assert "the state of trial 0 after 2 steps is not in" in found[7].reason
    assert isinstance(found[1], Reported)
