"""What one trial is made of: the adapter's configuration and the training configuration.

Frozen dataclasses, validated when constructed, free of torch: they travel through Ray, Optuna,
MLflow and JSON as flat dictionaries (`to_flat`, `from_flat`), and a value that does not make
sense is refused before any worker starts.
"""

from perft.config.adapter import (
    VARIANTS,
    Activation,
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    ExpertForm,
    ExpertsConfig,
    Init,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    LoraWeightConfig,
    RoutedConfig,
    SingleConfig,
    Variant,
)
from perft.config.flat import adapter_from_flat, fields_of, training_from_flat
from perft.config.training import TrainingConfig

__all__ = [
    "VARIANTS",
    "Activation",
    "AdapterConfig",
    "DenseConfig",
    "EmbeddedConfig",
    "ExpertForm",
    "ExpertsConfig",
    "Init",
    "LoraAttentionConfig",
    "LoraExpertsConfig",
    "LoraQVConfig",
    "LoraRouterConfig",
    "LoraWeightConfig",
    "RoutedConfig",
    "SingleConfig",
    "TrainingConfig",
    "Variant",
    "adapter_from_flat",
    "fields_of",
    "training_from_flat",
]
