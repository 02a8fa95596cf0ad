"""perft: search for the best parameter-efficient fine-tuning of a Mixture-of-Experts model.

Every name below is importable from here: `perft.search`, `perft.RoutedConfig`. Importing this
package imports neither torch nor Ray: a name is imported on first use, so processes that only pass
configurations around (the search driver, the thin Tune trials) stay small.
"""

from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

from perft.adapters import table as _table
from perft.adapters.table import *  # noqa: F403 - a configuration for each variant

if TYPE_CHECKING:
    from perft.api.callbacks import ReportedTrial, SearchCallback
    from perft.api.results import Results, results
    from perft.api.search import search
    from perft.checkpoint import load_adapter, save_adapter
    from perft.config import AdapterConfig, TrainingConfig
    from perft.injection import AdapterHost
    from perft.models.load import Base, load_base
    from perft.searching.space import SearchSpace
    from perft.tasks import OwnTask
    from perft.trial import Report, TrialConfig, TrialResult

__version__ = "0.2.0.dev0"

__all__ = [
    "AdapterConfig",
    "AdapterHost",
    "Base",
    "OwnTask",
    "Report",
    "ReportedTrial",
    "Results",
    "SearchCallback",
    "SearchSpace",
    "TrainingConfig",
    "TrialConfig",
    "TrialResult",
    "load_adapter",
    "load_base",
    "results",
    "save_adapter",
    "search",
]
__all__ += _table.__all__

_HOME = {
    "AdapterConfig": "perft.config",
    "AdapterHost": "perft.injection",
    "Base": "perft.models.load",
    "OwnTask": "perft.tasks",
    "Report": "perft.trial",
    "ReportedTrial": "perft.api.callbacks",
    "Results": "perft.api.results",
    "SearchCallback": "perft.api.callbacks",
    "SearchSpace": "perft.searching.space",
    "TrainingConfig": "perft.config",
    "TrialConfig": "perft.trial",
    "TrialResult": "perft.trial",
    "load_adapter": "perft.checkpoint",
    "load_base": "perft.models.load",
    "results": "perft.api.results",
    "save_adapter": "perft.checkpoint",
    "search": "perft.api.search",
}


_NEAR_A_MODEL = {"AdapterHost", "Base", "load_adapter", "load_base", "save_adapter"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'perft' has no attribute {name!r}")
    if name in _NEAR_A_MODEL:
        _teach_peft()
    return getattr(import_module(_HOME[name]), name)


def _teach_peft() -> None:
    """Lets HF PEFT load perft's adapters: it finds no plug-ins, so its types must be added first.

    Where PEFT is missing, or another version, only an explicit `import perft.hf_peft` fails.
    """
    with suppress(ImportError):
        import_module("perft.hf_peft")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
