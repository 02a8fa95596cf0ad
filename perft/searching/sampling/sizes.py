"""Parameters of adapters on a base, before anything is trained."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from perft.config import AdapterConfig
from perft.errors import AdapterError, BaseModelError, SearchError
from perft.searching.paths import all_draws
from perft.searching.space import Draw
from perft.selection import ActivatedLimit
from perft.trial import AdapterSize

if TYPE_CHECKING:
    from perft.injection import AdapterHost


class Sizes:
    """Counts parameters from a base's `config.json` alone.

    Args:
        base_model: None for the built-in base, else a local directory or a hub id.
    """

    def __init__(self, base_model: str | None) -> None:
        self._base_model = base_model
        self._host: AdapterHost | None = None
        self._known: dict[AdapterConfig, AdapterSize | None] = {}

    def __call__(self, adapter: AdapterConfig) -> AdapterSize | None:
        """Parameters of an adapter; None if it does not fit the base."""
        if adapter not in self._known:
            self._known[adapter] = self._count(adapter)
        return self._known[adapter]

    def _count(self, adapter: AdapterConfig) -> AdapterSize | None:
        if self._host is None:
            from perft.injection import AdapterHost  # noqa: PLC0415 - imports torch
            from perft.models.skeleton import skeleton  # noqa: PLC0415 - likewise

            self._host = AdapterHost(skeleton(self._base_model))
        try:
            return self._host.size(adapter)
        except (AdapterError, BaseModelError):
            return None


def within(max_activated: str | None) -> Callable[[AdapterSize | None], bool]:
    """Whether adapters of a size may be proposed: all, if there is no limit.

    Args:
        max_activated: as `ActivatedLimit` reads it; None for no limit.

    Raises:
        ConfigError: if it makes no sense.
    """
    if max_activated is None:
        return lambda _size: True
    limit = ActivatedLimit.parse(max_activated)
    return lambda size: size is not None and limit.allows(size)


def require_within(draw: Draw, base_model: str | None, max_activated: str | None) -> None:
    """Checks that a space has an adapter within the limit on activated parameters.

    Args:
        draw: draws its trials.
        base_model: None for the built-in base, else a local directory or a hub id.
        max_activated: the limit; None for none.

    Raises:
        ConfigError: if the limit makes no sense.
        SearchError: if every adapter is above it; names the smallest.
    """
    allows = within(max_activated)
    if max_activated is None:
        return
    sizes = Sizes(base_model)
    found = [size for one in all_draws(draw) if (size := sizes(one.found.adapter))]
    if any(map(allows, found)):
        return
    shown = "none fits the base"
    if found:
        least = min(found, key=lambda size: size.activated)
        shown = f"the smallest activates {least.activated:,} ({least.activated_percent:.3g}%)"
    limit = ActivatedLimit.parse(max_activated)
    raise SearchError(
        f"no adapter of the space activates at most {limit}: {shown}; raise --max-activated"
    )
