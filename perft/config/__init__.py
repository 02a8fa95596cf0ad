"""What one trial is made of: the adapter's configuration and the training configuration.

Frozen dataclasses, validated when constructed, free of torch: they travel through Ray, Optuna,
MLflow and JSON as flat dictionaries (`to_flat`, `from_flat`), and a value that does not make
sense is refused before any worker starts. The configurations of the variants are made in the
variants' room, `perft.adapters`; here is where users take them from.
"""

from perft.adapters import table
from perft.adapters.config import AdapterConfig, Init, LoraWeightConfig
from perft.adapters.experts import ExpertsConfig
from perft.adapters.forms import ExpertForm
from perft.adapters.forms.parallel import Activation
from perft.adapters.table import *  # noqa: F403 - a configuration for each variant
from perft.adapters.table import VARIANTS
from perft.config.flat import adapter_from_flat, config_of, fields_of, training_from_flat
from perft.config.training import TrainingConfig

__all__ = [
    "VARIANTS",
    "Activation",
    "AdapterConfig",
    "ExpertForm",
    "ExpertsConfig",
    "Init",
    "LoraWeightConfig",
    "TrainingConfig",
    "adapter_from_flat",
    "config_of",
    "fields_of",
    "training_from_flat",
]
__all__ += table.__all__
