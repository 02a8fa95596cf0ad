"""What a user commands or a clock decides while a search runs: typed, as JSON, in their order.

All other decisions of a search follow from its seed and its trials' reports. These do not, so each
is recorded with the *moment* at which it was applied; a resumed search applies it there again.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

from perft.checks import require_choice, require_name, require_positive, require_whole
from perft.config.typed import read_fields, typed
from perft.files import Json
from perft.options import MAX_TRIALS
from perft.searching.steering.budget import Budget
from perft.trial import TrialConfig


class Moment(NamedTuple):
    """When an event is applied; moments are in the order of a search.

    Attributes:
        reports: reports and failures that the search has acted on.
        is_running: true just before it acts on the next one; false, and earlier, if all trials have
            ended, so that it ends unless an event gives it more to do.
    """

    reports: int
    is_running: bool


@dataclass(frozen=True, kw_only=True)
class StopTrial:
    """Stops a running trial at its next rung, where it counts as pruned."""

    trial: int

    def __post_init__(self) -> None:
        require_whole("trial", self.trial, 0)


@dataclass(frozen=True, kw_only=True)
class AddTrial:
    """Adds a trial of a given configuration.

    Attributes:
        settings: its configuration, as `TrialConfig.to_flat` writes it.
        clone_of: a trial that has ended, from whose adapter it starts; None for a new adapter.
    """

    settings: Mapping[str, object]
    clone_of: int | None = None

    def __post_init__(self) -> None:
        TrialConfig.from_flat(self.settings)
        if self.clone_of is not None:
            require_whole("clone_of", self.clone_of, 0)

    @property
    def config(self) -> TrialConfig:
        """The trial's configuration."""
        return TrialConfig.from_flat(self.settings)


@dataclass(frozen=True, kw_only=True)
class SetNumTrials:
    """Changes how many trials the search draws in all; never fewer than it has drawn."""

    count: int

    def __post_init__(self) -> None:
        require_positive("count", self.count, MAX_TRIALS)


@dataclass(frozen=True, kw_only=True)
class SetBudget:
    """Replaces the budget; what the last one ended may go on."""

    budget: Budget


@dataclass(frozen=True, kw_only=True)
class NoNewTrials:
    """The time that is left is too short for another full-length trial."""

    reason: str

    def __post_init__(self) -> None:
        require_name("reason", self.reason)


@dataclass(frozen=True, kw_only=True)
class TimeIsUp:
    """The time is used up: every trial is stopped at its next rung."""

    reason: str

    def __post_init__(self) -> None:
        require_name("reason", self.reason)


Command: TypeAlias = StopTrial | AddTrial | SetNumTrials | SetBudget
"""What a user may command."""

ClockDecision: TypeAlias = NoNewTrials | TimeIsUp
"""What the clock may decide."""

_COMMANDS: Mapping[str, type[Command]] = {
    "stop": StopTrial,
    "add": AddTrial,
    "set-num-trials": SetNumTrials,
    "set-budget": SetBudget,
}
_CLOCK_DECISIONS: Mapping[str, type[ClockDecision]] = {
    "no-new-trials": NoNewTrials,
    "time-is-up": TimeIsUp,
}
_WORDS = {kind: word for word, kind in (*_COMMANDS.items(), *_CLOCK_DECISIONS.items())}


_Action = TypeVar("_Action", bound=Command | ClockDecision)


@dataclass(frozen=True, kw_only=True)
class Event:
    """An action that was applied.

    Attributes:
        at: the moment.
        action: what was applied.
        command: name of the file in which it waited; empty for a decision of the clock.
    """

    at: Moment
    action: Command | ClockDecision
    command: str = ""

    def to_json(self) -> dict[str, Json]:
        """The event as a dictionary of JSON values."""
        return {
            "reports": self.at.reports,
            "is_running": self.at.is_running,
            "command": self.command,
            **action_to_json(self.action),
        }

    @classmethod
    def from_json(cls, value: object) -> "Event":
        """Rebuilds what `to_json` wrote.

        Raises:
            ConfigError: for a missing, unknown or wrong field; names it.
        """
        flat = dict(typed(Mapping[str, object], value, ""))
        reports = typed(int, flat.pop("reports", None), "reports")
        require_whole("reports", reports, 0)
        is_running = typed(bool, flat.pop("is_running", None), "is_running")
        command = typed(str, flat.pop("command", None), "command")
        action = _action_from_json(flat, {**_COMMANDS, **_CLOCK_DECISIONS})
        return cls(at=Moment(reports, is_running), action=action, command=command)


def action_to_json(action: Command | ClockDecision) -> dict[str, Json]:
    """An action as a dictionary of JSON values."""
    return {"do": _WORDS[type(action)], **dataclasses.asdict(action)}


def command_from_json(value: object) -> Command:
    """Rebuilds a command that `action_to_json` wrote.

    Raises:
        ConfigError: for a missing, unknown or wrong field; names it.
    """
    return _action_from_json(typed(Mapping[str, object], value, ""), _COMMANDS)


def _action_from_json(value: Mapping[str, object], kinds: Mapping[str, type[_Action]]) -> _Action:
    flat = dict(value)
    word = typed(str, flat.pop("do", None), "do")
    require_choice("do", word, kinds)
    return read_fields(kinds[word], flat)
