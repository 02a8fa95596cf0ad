"""What a search depends on, compared when it resumes: its space, data, base and versions."""

from perft.errors import SearchError
from perft.search_folder import STATES, trial_of
from perft.searching.settings import SearchSettings
from perft.searching.space_code import SPACE
from perft.selection import read_results
from perft.storage import Storage


def require_unchanged(was: SearchSettings, now: SearchSettings) -> None:
    """Checks that a search can resume as it was started.

    Args:
        was: the settings that it was started with.
        now: the same, with current fingerprints.

    Raises:
        SearchError: if space, data or base have changed.
    """
    changed = []
    if was.space_code and (modules := _other_modules(was, now)):
        changed.append(f"the space of search {was.name!r} has changed ({', '.join(modules)})")
    if was.data_fingerprint != now.data_fingerprint:
        changed.append(f"the data of search {was.name!r} have changed")
    if was.base_fingerprint != now.base_fingerprint:
        changed.append(f"the base of search {was.name!r} has changed")
    if changed:
        raise SearchError(
            f"{' and '.join(changed)} since it was started; restore what it was, or start a search "
            "under a new name"
        )


def other_versions(was: SearchSettings, now: SearchSettings) -> list[str]:
    """A line for the user about packages that have changed; empty if none has."""
    others = [
        f"{name} {version}, now {now.versions.get(name, 'none')}"
        for name, version in was.versions.items()
        if version != now.versions.get(name)
    ]
    if not others:
        return []
    return [
        f"note: search {was.name!r} was started with {'; '.join(others)}: what is trained from now "
        "on may differ from what it would have been"
    ]


def started_trials(search: Storage) -> int:
    """How many trials of a search have started, according to its folder."""
    started = (trial_of(name) for name in search.names(STATES))
    numbers = [number for number in started if number is not None]
    numbers += [result.number for result in read_results(search)]
    return max(numbers, default=-1) + 1


def _other_modules(was: SearchSettings, now: SearchSettings) -> list[str]:
    names = sorted(was.space_code.keys() | now.space_code.keys())
    return [
        now.space if name == SPACE else name
        for name in names
        if was.space_code.get(name) != now.space_code.get(name)
    ]
