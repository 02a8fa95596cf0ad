"""Commands to a search, from any process that sees its folder; a running search need not answer.

A command is checked, then left in the folder (`event_log.py`). The search acts on it before its
next report; one that is not running, when it is resumed.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from perft.adapters import shapes
from perft.adapters.declaration import Attach
from perft.adapters.geometry import BlockGeometry, FusedGeometry, FusedWeight, Geometry
from perft.adapters.table import variant_of
from perft.adapters.tensors import Shapes
from perft.checks import shown
from perft.config import AdapterConfig
from perft.errors import BaseModelError, ConfigError, SearchError
from perft.models.source import layer_count
from perft.searching.settings import SearchSettings
from perft.searching.steering.budget import Budget
from perft.searching.steering.event_log import recorded, send, waiting
from perft.searching.steering.events import AddTrial, SetBudget, SetNumTrials, StopTrial
from perft.storage import Storage
from perft.tracking.records import Records, SearchRecord, TrialRecord
from perft.trial import TrialConfig

_SAMPLES: Mapping[Attach, Geometry] = {
    "moe block": BlockGeometry(hidden_size=4093, num_experts=61, top_k=3),
    "base experts": FusedGeometry((FusedWeight("weight", 61, 4093, 1021),), top_k=3),
    "attention": (4093, 1021),
    "router": (61, 4093),
}
"""A place of each kind: adapters that have equal shapes there have them on every base."""


def trials_of(search: Storage) -> dict[int, TrialRecord]:
    """The trials of a search so far, by number.

    Raises:
        StorageError: if the folder cannot be read.
    """
    nothing = SearchRecord(name="", place="", params={})
    return dict(sorted(Records.read(search, nothing).trials.items()))


def stop_trial(search: Storage, trial: int) -> None:
    """Stops a trial at its next rung.

    Args:
        search: the search's folder.
        trial: the trial's number.

    Raises:
        SearchError: if there is no such trial, or it has ended.
        StorageError: if the folder cannot be read or written.
    """
    record = _require_trial(search, trial)
    if record.outcome is not None:
        raise SearchError(f"trial {trial} has ended already: {record.outcome}")
    send(search, StopTrial(trial=trial))


def add_trial(search: Storage, settings: Mapping[str, object]) -> TrialConfig:
    """Adds a trial.

    Args:
        search: the search's folder.
        settings: of its adapter, and of its training; the latter are those of the search's first
            trial where they are not given, but for the learning rate.

    Returns:
        Its configuration.

    Raises:
        ConfigError: if it is none, or cannot be compared with the search's other trials.
        AdapterError: if the base lacks its layers.
        SearchError: if the search has no trial yet.
        StorageError: if the folder cannot be read or written.
    """
    of_search, trials = SearchSettings.read(search), trials_of(search)
    if not trials:
        raise SearchError(
            f"search {of_search.name!r} has no trial yet, whose training settings this one would "
            "share; wait until its first has started"
        )
    if "lr" not in settings:
        raise ConfigError("the learning rate of the trial is missing; give lr")
    training = next(iter(trials.values())).config.training.to_flat()
    config = TrialConfig.from_flat({**training, **settings})
    _require_comparable(of_search, config, training)
    send(search, AddTrial(settings=config.to_flat()))
    return config


def clone_trial(search: Storage, trial: int, changes: Mapping[str, object]) -> TrialConfig:
    """Adds a trial that starts from another's adapter, at step 0 of a changed configuration.

    Args:
        search: the search's folder.
        trial: number of the other trial, running or ended.
        changes: settings that differ; the adapter's tensors must keep their shapes.

    Returns:
        The clone's configuration.

    Raises:
        ConfigError: if nothing or too much changes, or a setting is wrong.
        SearchError: if there is no such trial, or it has no adapter.
        StorageError: if the folder cannot be read or written.
    """
    record = _require_trial(search, trial)
    if not record.reports:
        state = "has failed" if record.outcome else "has not come to a rung yet"
        raise SearchError(f"trial {trial} {state}, so there is no adapter to start from")
    source = record.config
    config = TrialConfig.from_flat({**source.to_flat(), **changes})
    if config == source:
        raise ConfigError(f"the clone of trial {trial} changes nothing; give a setting, such as lr")
    if _tensors(config.adapter) != _tensors(source.adapter):
        raise ConfigError(
            f"the clone of trial {trial} would have an adapter of other tensors, found "
            f"{_changes(source, config)}; change other settings, or add a new trial"
        )
    _require_comparable(SearchSettings.read(search), config, source.training.to_flat())
    send(search, AddTrial(settings=config.to_flat(), clone_of=trial))
    return config


def set_num_trials(search: Storage, count: int) -> None:
    """Changes how many trials the search draws in all.

    Raises:
        ConfigError: if `count` is no number of trials.
        StorageError: if the folder cannot be written.
    """
    send(search, SetNumTrials(count=count))


def set_budget(search: Storage, **bounds: float | None) -> Budget:
    """Changes bounds of the search's budget.

    Args:
        search: the search's folder.
        bounds: by field of `Budget`; None removes one, and those not named stay.

    Returns:
        The budget.

    Raises:
        ConfigError: if a bound cannot be, or allows no full-length trial.
        StorageError: if the folder cannot be read or written.
    """
    budget = changed_budget(search, SearchSettings.read(search), bounds)
    send(search, SetBudget(budget=budget))
    return budget


def changed_budget(
    search: Storage, settings: SearchSettings, bounds: Mapping[str, float | None]
) -> Budget:
    """The budget that a search would have with these bounds; errors as of `set_budget`."""
    budgets = (each.budget for each in _commanded(search) if isinstance(each, SetBudget))
    changes: dict[str, Any] = dict(bounds)
    budget = dataclasses.replace([settings.budget, *budgets][-1], **changes)
    return dataclasses.replace(settings, budget=budget).budget


def num_trials_of(search: Storage, settings: SearchSettings) -> int | None:
    """Trials that a search draws in all, with the commands that wait."""
    counts = (each.count for each in _commanded(search) if isinstance(each, SetNumTrials))
    return [settings.num_trials, *counts][-1]


def _commanded(search: Storage) -> list[object]:
    """What was commanded so far, in its order."""
    return [*(event.action for event in recorded(search)), *waiting(search).values()]


def _require_trial(search: Storage, trial: int) -> TrialRecord:
    trials = trials_of(search)
    if trial not in trials:
        there = f"it has {min(trials)} to {max(trials)}" if trials else "it has none yet"
        raise SearchError(f"there is no trial {shown(trial)} in {search.shown}: {there}")
    return trials[trial]


def _require_comparable(
    settings: SearchSettings, config: TrialConfig, others: Mapping[str, object]
) -> None:
    """Refuses a trial that cannot run on the search's base, or be compared with its trials."""
    training = config.training
    for name in ("max_steps", "objective"):
        if getattr(training, name) != others[name]:
            raise ConfigError(
                f"trials of one search must have the same {name} to be compared at rungs, found "
                f"{getattr(training, name)} and in the search {others[name]}; leave it out"
            )
    if training.batch_size < settings.workers_per_group:
        raise ConfigError(
            f"{settings.workers_per_group} workers per group cannot share batches of "
            f"{training.batch_size} examples; raise batch_size"
        )
    with contextlib.suppress(BaseModelError):  # the base may be on other machines only
        if (layers := layer_count(settings.base_model)) is not None:
            config.adapter.chosen_layers(layers)


def _tensors(config: AdapterConfig) -> tuple[str, str, Shapes]:
    """What decides the shapes of an adapter's tensors on a base."""
    place = _SAMPLES[variant_of(config).attach]
    return config.variant, config.layers, dict(shapes(config, place))


def _changes(source: TrialConfig, config: TrialConfig) -> str:
    was, now = source.to_flat(), config.to_flat()
    return ", ".join(
        f"{name} {shown(now.get(name))}" for name in now if now.get(name) != was.get(name)
    )
