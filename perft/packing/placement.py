"""Which worker group trains which trial in the next round: pure functions."""

from collections.abc import Mapping, Sequence


def spread(kinds: Sequence[Sequence[int]], groups: int, homes: Mapping[int, int]) -> dict[int, int]:
    """Spreads trials evenly over groups, in total and of each kind.

    A round lasts as long as its slowest group. All trials train the same number of steps in it, but
    some are evaluated too, and a group with all of those would keep the others waiting.

    Args:
        kinds: the trials by the cost of their evaluation, the most expensive first.
        groups: number of worker groups.
        homes: by trial, the group it was in before; new trials have none. Moving a trial reads its
            saved state again, so it moves only where that balances the groups.

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
    """The next trial to place and its group: the emptiest, if possible with a trial of its own."""
    wanting = {homes.get(trial) for trial in left}
    group = min(range(len(taken)), key=lambda g: (taken[g], g not in wanting, g))
    return min(left, key=lambda t: (homes.get(t) != group, t in homes, t)), group
