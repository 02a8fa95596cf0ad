"""Configurations from the flat dictionaries of JSON values that `to_flat` wrote."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from perft.config.adapter import (
    VARIANTS,
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    LoraAttentionConfig,
    LoraExpertsConfig,
    LoraQVConfig,
    LoraRouterConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.config.checks import shown
from perft.config.training import TrainingConfig
from perft.errors import ConfigError, unknown

_CONFIG_OF: Mapping[str, type[AdapterConfig]] = {
    config.variant: config
    for config in (
        RoutedConfig, EmbeddedConfig, DenseConfig, SingleConfig,
        LoraQVConfig, LoraAttentionConfig, LoraRouterConfig, LoraExpertsConfig,
    )
}  # fmt: skip


def adapter_from_flat(flat: Mapping[str, Any]) -> AdapterConfig:
    """Builds the adapter configuration that `AdapterConfig.to_flat` wrote.

    Raises:
        ConfigError: for an unknown variant, an unknown or missing setting, or a bad value.
    """
    settings = dict(flat)
    variant = settings.pop("variant", None)
    if not isinstance(variant, str) or variant not in _CONFIG_OF:
        name = variant if isinstance(variant, str) else shown(variant)
        raise ConfigError(unknown("variant", name, VARIANTS))
    return _build(_CONFIG_OF[variant], settings, f"variant {variant}")


def training_from_flat(flat: Mapping[str, Any]) -> TrainingConfig:
    """Builds the training configuration that `TrainingConfig.to_flat` wrote.

    Raises:
        ConfigError: for an unknown or missing setting, or a bad value.
    """
    return _build(TrainingConfig, dict(flat), "training")


def fields_of(variant: str) -> frozenset[str]:
    """Names of the settings that `variant` takes.

    Raises:
        ConfigError: for an unknown variant.
    """
    if variant not in _CONFIG_OF:
        raise ConfigError(unknown("variant", variant, VARIANTS))
    return frozenset(field.name for field in dataclasses.fields(_CONFIG_OF[variant]))


_Config = TypeVar("_Config", AdapterConfig, TrainingConfig)


def _build(kind: type[_Config], settings: dict[str, Any], owner: str) -> _Config:
    known = {field.name: field for field in dataclasses.fields(kind)}
    for name in settings:
        if name not in known:
            raise ConfigError(f"{owner}: {unknown('setting', str(name), known)}")
    missing = [
        name
        for name, field in known.items()
        if field.default is dataclasses.MISSING and name not in settings
    ]
    if missing:
        raise ConfigError(f"{owner} needs {', '.join(missing)}")
    return kind(**settings)
