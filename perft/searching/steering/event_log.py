"""The events of one search in its folder: commands that wait, and the record of what was applied.

A command waits in a file of its own, which any process that sees the storage may write. The search
takes it at its next moment: records it, deletes its file, then acts on it. A search that dies
between two of these finds the record when it resumes, and deletes the file then.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterable, Sequence

from perft.errors import ConfigError, DamagedError, StorageError
from perft.files import RECORD_BYTES, parse_json
from perft.search_folder import COMMANDS, EVENTS_FILE, command_file
from perft.searching.steering.events import (
    ClockDecision,
    Command,
    Event,
    Moment,
    action_to_json,
    command_from_json,
)
from perft.storage import Storage

LOOK_SECONDS = 1.0
"""Least time between two looks for commands."""

LOOK_SHARE = 20
"""A look that took long is not repeated for so many times as long: remote storages may be slow."""

COMMAND_BYTES = 1 << 20
"""Most bytes of a command."""


def send(search: Storage, command: Command) -> None:
    """Leaves a command for the process that runs the search, now or later.

    Args:
        search: the search's folder.
        command: what to do.

    Raises:
        StorageError: if the folder cannot be written.
    """
    name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"  # in the order of sending
    search.write(command_file(name), json.dumps(action_to_json(command)).encode())


def waiting(search: Storage) -> dict[str, Command | ConfigError]:
    """Commands that the search has not taken, by name, the oldest first.

    A command that cannot be read is its error.

    Raises:
        StorageError: if the folder cannot be read.
        DamagedError: if the record is damaged.
    """
    names = [name[:-5] for name in search.names(COMMANDS) if name.endswith(".json")]
    taken = {event.command for event in recorded(search)} if names else set()
    found = {}
    for name in names:
        if name not in taken and (command := _read_command(search, name)) is not None:
            found[name] = command
    return found


def recorded(search: Storage) -> list[Event]:
    """The events that were applied, in their order.

    Raises:
        StorageError: if the record cannot be read.
        DamagedError: if it is damaged; names the line.
    """
    if not search.exists(EVENTS_FILE):
        return []
    lines = search.read(EVENTS_FILE, at_most=RECORD_BYTES).decode(errors="replace").splitlines()
    found: list[Event] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = Event.from_json(parse_json(line))
            if found and event.at < found[-1].at:
                raise ConfigError(f"it is of an earlier moment than line {number - 1}")
        except ValueError as error:
            raise DamagedError(
                f"{search.shown}/{EVENTS_FILE} is damaged in line {number}: {error}; put it back "
                "as it was, since the search cannot repeat its decisions without it"
            ) from error
        found.append(event)
    return found


class EventLog:
    """The events of a search, for the process that runs it.

    Args:
        search: the search's folder.
        reports: reports and failures that earlier processes have acted on; before so many, only
            what is recorded is applied.
        tell: shows the user a line.
        clock: returns steady seconds.

    Raises:
        StorageError: from every method, if the folder cannot be read or written.
    """

    def __init__(
        self,
        search: Storage,
        reports: int,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._search, self._reports = search, reports
        self._tell, self._clock = tell, clock
        self._recorded = recorded(search)
        self._next = 0  # index of the next event to apply
        self._look_at = -float("inf")
        for event in self._recorded:
            if event.command:
                search.delete(command_file(event.command))

    def is_live(self, moment: Moment) -> bool:
        """Whether nothing is repeated any more at this moment."""
        return self._next == len(self._recorded) and moment.reports >= self._reports

    def due(
        self, moment: Moment, decide: Callable[[], Iterable[ClockDecision]] = tuple
    ) -> Sequence[Event]:
        """The events to apply now; ask once at every moment, before it has any other effect.

        Args:
            moment: now; moments ascend.
            decide: returns what the clock decides, asked when nothing is repeated any more.
        """
        found = []
        while self._next < len(self._recorded) and self._recorded[self._next].at <= moment:
            found.append(self._recorded[self._next])
            self._next += 1
        if found or not self.is_live(moment):
            return found
        commands = self._commands(now=not moment.is_running)
        new = [Event(at=moment, action=each, command=name) for name, each in commands.items()]
        new += [Event(at=moment, action=each) for each in decide()]
        self._record(new)
        for name in commands:
            self._search.delete(command_file(name))
        return new

    def _commands(self, *, now: bool) -> dict[str, Command]:
        """The commands that have arrived; looks only now and then, unless `now`."""
        started = self._clock()
        if not now and started < self._look_at:
            return {}
        found = {}
        for name, command in waiting(self._search).items():
            if isinstance(command, ConfigError):
                self._tell(f"ignored a command that is damaged, {command_file(name)}: {command}")
                self._search.delete(command_file(name))
            else:
                found[name] = command
        ended = self._clock()
        self._look_at = ended + max(LOOK_SECONDS, LOOK_SHARE * (ended - started))
        return found

    def _record(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self._recorded += events
        self._next = len(self._recorded)
        lines = (f"{json.dumps(event.to_json())}\n" for event in self._recorded)
        self._search.write(EVENTS_FILE, "".join(lines).encode())


def _read_command(search: Storage, name: str) -> Command | ConfigError | None:
    """A command; None if the search has taken it in the meantime."""
    try:
        return command_from_json(parse_json(search.read(command_file(name), COMMAND_BYTES)))
    except ConfigError as error:
        return error
    except ValueError as error:
        return ConfigError(str(error))
    except StorageError:
        if search.exists(command_file(name)):
            raise
        return None
