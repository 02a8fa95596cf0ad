"""Commands a search that is running, or will be resumed: shows, stops, adds and clones trials."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar, get_args

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table

from perft.adapter_options import Settings, with_adapter_options
from perft.config.training import MAX_ROWS
from perft.config.typed import typed
from perft.errors import ConfigError, unknown
from perft.files import Json, parse_json, read_file
from perft.options import MAX_STEPS, JsonOption, QuietOption, StorageOption, search_names
from perft.screen import Output
from perft.searches import find_storage, resume_command
from perft.searching.lock import is_locked
from perft.searching.steering.control import (
    add_trial,
    clone_trial,
    set_budget,
    set_num_trials,
    stop_trial,
    trials_of,
)
from perft.searching.steering.event_log import waiting
from perft.searching.steering.events import action_to_json
from perft.selection import describe, describe_origin
from perft.storage import Storage
from perft.tracking.records import TrialRecord

ActionName = Literal["list", "stop", "add", "clone", "set"]
BOUNDS: Mapping[str, Callable[[str], float]] = {
    "max-hours": float,
    "max-gpu-hours": float,
    "max-steps-total": int,
}
"""What `set` sets beside num-trials, and how it is read."""

Number = TypeVar("Number", bound=float)


@with_adapter_options(required=False)
def main(
    *,
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Name of the search.", autocompletion=search_names),
    ],
    action: Annotated[
        str,
        typer.Argument(
            metavar="ACTION",
            help="list, stop, add, clone or set.",
            autocompletion=lambda: list(get_args(ActionName)),
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VALUES",
            help="stop: TRIAL; add: CONFIG, a JSON object or its file; clone: TRIAL and CONFIG; "
            "set: num-trials, max-hours, max-gpu-hours or max-steps-total, and a number.",
            show_default=False,
        ),
    ] = None,
    settings: Settings,
    lr: Annotated[
        float | None,
        typer.Option(min=0, max=10, help="Learning rate (add, clone).", show_default=False),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_ROWS, help="Examples per step.", show_default="the search's"),
    ] = None,
    warmup_steps: Annotated[
        int | None,
        typer.Option(min=0, max=MAX_STEPS, help="Steps of warm-up.", show_default="the search's"),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(min=0, max=1e6, help="Weight decay.", show_default="the search's"),
    ] = None,
    storage: StorageOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the trials of a search, or tell it what to do, while it runs or before it is resumed.

    `list` shows its trials and the commands that wait, `stop` stops a trial at its next rung, `add`
    adds a trial, `clone` one that starts from the adapter of another, `set` changes how many
    trials are drawn in all, or the budget. The search acts before its next report. What was
    commanded is recorded with its moment, so a resumed search repeats it exactly.

    Examples:
      perft control first list
      perft control first stop 7
      perft control first add --variant perft-s --rank 4 --lr 0.003
      perft control first clone 7 --lr 0.001
      perft control first set num-trials 40
    """
    output = Output(as_json=as_json, quiet=quiet)
    training = {
        "lr": lr,
        "batch_size": batch_size,
        "warmup_steps": warmup_steps,
        "weight_decay": weight_decay,
    }
    given = {**settings, **{key: each for key, each in training.items() if each is not None}}
    if action not in get_args(ActionName):
        raise ConfigError(unknown("action", action, get_args(ActionName)))
    if given and action not in ("add", "clone"):
        raise ConfigError(f"{action} takes no settings of a trial, found {', '.join(given)}")
    root = find_storage(name, storage)
    search = root.child(name)
    if action == "list":
        _require_count(action, values or [], 0)
        _list(name, search, output)
        return
    said = _ACTIONS[action](search, values or [], given)
    output.document({"search": name, "action": action, "running": is_locked(search), "said": said})
    if not is_locked(search):
        said += f"; it is not running, and does so when it is resumed, by: {_resume(name, root)}"
    output.last(f"search {name} {said}")


def _resume(name: str, root: Storage) -> str:
    return resume_command(name, root.uri)


def _stop(search: Storage, values: Sequence[str], _given: Mapping[str, object]) -> str:
    _require_count("stop", values, 1)
    trial = _trial(values[0])
    stop_trial(search, trial)
    return f"will stop trial {trial} at its next rung"


def _add(search: Storage, values: Sequence[str], given: Mapping[str, object]) -> str:
    _require_count("add", values, 0, 1)
    config = add_trial(search, {**_read(values), **given})
    return f"will train {describe(config)}"


def _clone(search: Storage, values: Sequence[str], given: Mapping[str, object]) -> str:
    _require_count("clone", values, 1, 2)
    trial = _trial(values[0])
    config = clone_trial(search, trial, {**_read(values[1:]), **given})
    return f"will train {describe(config)}, from the adapter of trial {trial}"


def _set(search: Storage, values: Sequence[str], _given: Mapping[str, object]) -> str:
    _require_count("set", values, 2)
    what, text = values
    if what == "num-trials":
        set_num_trials(search, _number(what, text, int))
        return f"will draw trials until there are {text}"
    if what not in BOUNDS:
        raise ConfigError(unknown("setting", what, ["num-trials", *BOUNDS]))
    set_budget(search, **{what.replace("-", "_"): _number(what, text, BOUNDS[what])})
    return f"will have --{what} {text}"


_ACTIONS: Mapping[str, Callable[[Storage, Sequence[str], Mapping[str, object]], str]] = {
    "stop": _stop,
    "add": _add,
    "clone": _clone,
    "set": _set,
}


def _require_count(action: str, values: Sequence[str], *counts: int) -> None:
    if len(values) not in counts:
        raise ConfigError(
            f"{action} takes {' or '.join(map(str, counts))} values, found {len(values)}: see "
            "control --help"
        )


def _trial(text: str) -> int:
    return _number("the number of a trial", text, int)


def _number(what: str, text: str, kind: Callable[[str], Number]) -> Number:
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"{what} must be a number, found {text!r}") from None


def _read(values: Sequence[str]) -> Mapping[str, object]:
    """The settings of CONFIG, a JSON object or the path of a file with one."""
    if not values:
        return {}
    text = values[0]
    try:
        value = parse_json(text if text.lstrip().startswith("{") else read_file(Path(text)))
    except OSError as error:
        raise ConfigError(f"CONFIG is neither a JSON object nor a file: {text!r}") from error
    except ValueError as error:
        raise ConfigError(f"CONFIG {text!r} is no JSON: {error}") from error
    found: Mapping[str, object] = typed(Mapping[str, object], value, "CONFIG")
    return found


def _list(name: str, search: Storage, output: Output) -> None:
    trials, running = trials_of(search), is_locked(search)
    commands = [
        {"damaged": str(each)} if isinstance(each, ConfigError) else action_to_json(each)
        for each in waiting(search).values()
    ]
    rows = [_to_json(each) for each in trials.values()]
    output.document({"search": name, "running": running, "trials": rows, "waiting": commands})
    output.table(_table(trials, running=running))
    for command in commands:
        output.say(f"waiting: {json.dumps(command)}")
    output.last(f"the search is {'' if running else 'not '}running: {_counts(trials.values())}")


def _counts(trials: Iterable[TrialRecord]) -> str:
    """How many trials there are, and how they ended, such as "3 trials, 2 complete, 1 pruned"."""
    counts = Counter(trial.outcome for trial in trials)
    ended = [f"{count} {outcome}" for outcome, count in counts.items() if outcome]
    return ", ".join([f"{counts.total()} trials", *sorted(ended)])


def _to_json(trial: TrialRecord) -> dict[str, Json]:
    flat = trial.to_json()
    names = ("number", "config", "outcome", "error", "size", "origin")
    last = trial.reports[-1][1].to_json() if trial.reports else None
    return {**{key: flat[key] for key in names if key in flat}, "report": last}


def _table(trials: Mapping[int, TrialRecord], *, running: bool) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("trial", justify="right", no_wrap=True)
    table.add_column("configuration", overflow="fold")
    for heading in ("step", "val loss", "accuracy"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for number, trial in trials.items():
        last = trial.reports[-1][1] if trial.reports else None
        table.add_row(
            str(number),
            f"{describe(trial.config)} {describe_origin(trial.origin)}".rstrip(),
            f"{last.step if last else 0}/{trial.config.training.max_steps}",
            f"{last.val_loss:.4f}" if last else "",
            f"{last.accuracy:.1%}" if last and last.scored else "",
            trial.outcome or ("running" if running else "interrupted"),
        )
    return table
