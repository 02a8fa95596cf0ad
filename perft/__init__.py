"""perft: search for the best parameter-efficient fine-tuning of a Mixture-of-Experts model.

Every name below is importable from here: `perft.AdapterHost`, `perft.RoutedConfig`. Importing this
package imports neither torch nor Ray: a name is imported on first use, so processes that only pass
configurations around (the search driver, the thin Tune trials) stay small.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from perft.adapters import table as _table
from perft.adapters.table import *  # noqa: F403 - a configuration for each variant

if TYPE_CHECKING:
    from perft.checkpoint import load_adapter, save_adapter
    from perft.injection import AdapterHost
    from perft.models.load import load_base

__version__ = "0.2.0.dev0"

__all__ = ["AdapterHost", "load_adapter", "load_base", "save_adapter"]
__all__ += _table.__all__

_HOME = {
    "AdapterHost": "perft.injection",
    "load_adapter": "perft.checkpoint",
    "load_base": "perft.models.load",
    "save_adapter": "perft.checkpoint",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'perft' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
