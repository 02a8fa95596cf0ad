"""Which worker group trains which trial in the next round: pure, and the same whoever asks when."""

from collections.abc import Mapping, Sequence


def spread(kinds: Sequence[Sequence[int]], groups: int, homes: Mapping[int, int]) -> dict[int, int]:
    """Gives every group as many trials as the others, and as many of each kind.

    A round lasts as long as its slowest group. All trials train equally many steps in it, but some
    are evaluated too, and one group with all of those would keep the others waiting.

    Args:
        kinds: the trials by what they cost beyond their steps, the dearest first.
        groups: number of worker groups.
        homes: the group that each trial was in before; new ones were in none. To move is to read
            the trial's saved state again, so they stay where nothing is gained by moving.

    Returns:
        The group of each trial.
    """
    found: dict[int, int] = {}
    taken = [0] * groups
    for kind in kinds:
        left = list(kind)
        while left:
            trial, group = _next(left, taken, homes)
            left.remove(trial)
            taken[group] += 1
            found[trial] = group
    return found


def _next(left: Sequence[int], taken: Sequence[int], homes: Mapping[int, int]) -> tuple[int, int]:
    """The emptiest group, of several one that has a trial left; that one, or else a new one."""
    wanting = {homes.get(trial) for trial in left}
    group = min(range(len(taken)), key=lambda g: (taken[g], g not in wanting, g))
    return min(left, key=lambda t: (homes.get(t) != group, t in homes, t)), group
