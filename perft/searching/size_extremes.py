"""The smallest and largest adapters of a search space, before anything runs."""

from collections.abc import Mapping

from perft.config import AdapterConfig
from perft.searching.paths import all_draws
from perft.searching.space import SearchSpace
from perft.trial import AdapterSize

SizeExtreme = tuple[AdapterConfig, AdapterSize]

_WITHOUT_SIZE = {"alpha", "dropout", "init", "base_balance", "balance"}


def extreme_adapters(space: SearchSpace, builtin: bool) -> tuple[AdapterConfig, ...]:
    """The adapters that a space draws from the ends of its ranges, one per size.

    Of adapters that differ only in settings without effect on size, the first is returned.

    Args:
        space: the search space.
        builtin: whether the base is the built-in one.

    Raises:
        ConfigError: if the space draws an invalid adapter.
    """
    found: dict[tuple[object, ...], AdapterConfig] = {}
    for one in all_draws(lambda trial: space.draw(trial, builtin)):
        if one.is_extreme:
            adapter = one.found.adapter
            found.setdefault(_shape(adapter), adapter)
    return tuple(found.values())


def _shape(adapter: AdapterConfig) -> tuple[object, ...]:
    """The settings on which an adapter's size depends."""
    settings = adapter.to_flat()
    return tuple(value for name, value in settings.items() if name not in _WITHOUT_SIZE)


def size_extremes(
    sizes: Mapping[AdapterConfig, AdapterSize],
) -> dict[str, tuple[SizeExtreme, SizeExtreme]]:
    """The smallest and the largest adapter of every variant, by trainable, then activated."""

    def extent(corner: SizeExtreme) -> tuple[int, int]:
        return corner[1].trainable, corner[1].activated

    by_variant: dict[str, list[SizeExtreme]] = {}
    for config, size in sizes.items():
        by_variant.setdefault(config.variant, []).append((config, size))
    return {
        variant: (min(found, key=extent), max(found, key=extent))
        for variant, found in by_variant.items()
    }
