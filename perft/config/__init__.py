"""A trial's configuration: that of its adapter and that of its training.

Frozen dataclasses, validated when constructed, free of torch: Ray, Optuna, MLflow and JSON get them
as flat dictionaries (`to_flat`, `from_flat`), and an invalid value is refused before any worker
starts. The variants' configurations are defined in `perft.adapters`; users import them from here.
"""

from perft.adapters import table
from perft.adapters.config import AdapterConfig, Init, LoraWeightConfig
from perft.adapters.experts import ExpertsConfig
from perft.adapters.forms import ExpertForm
from perft.adapters.forms.parallel import Activation
from perft.adapters.table import *  # noqa: F403 - a configuration for each variant
from perft.adapters.table import VARIANTS
from perft.config.flat import adapter_from_flat, config_of, fields_of, training_from_flat
from perft.config.measures import NOTHING_FURTHER, FurtherMeasures
from perft.config.training import TrainingConfig

__all__ = [
    "NOTHING_FURTHER",
    "VARIANTS",
    "Activation",
    "AdapterConfig",
    "ExpertForm",
    "ExpertsConfig",
    "FurtherMeasures",
    "Init",
    "LoraWeightConfig",
    "TrainingConfig",
    "adapter_from_flat",
    "config_of",
    "fields_of",
    "training_from_flat",
]
__all__ += table.__all__
