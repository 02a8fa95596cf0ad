"""Builds configurations from the flat dictionaries of JSON values that `to_flat` wrote."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from perft.adapters.config import AdapterConfig
from perft.adapters.table import TABLE, VARIANTS
from perft.checks import shown
from perft.config.training import TrainingConfig
from perft.errors import ConfigError, unknown


def adapter_from_flat(flat: Mapping[str, object]) -> AdapterConfig:
    """Builds the adapter configuration that `AdapterConfig.to_flat` wrote.

    Raises:
        ConfigError: for an unknown variant, an unknown or missing setting, or a bad value.
    """
    settings = dict(flat)
    variant = settings.pop("variant", None)
    if not isinstance(variant, str) or variant not in TABLE:
        name = variant if isinstance(variant, str) else shown(variant)
        raise ConfigError(unknown("variant", name, VARIANTS))
    return _build(TABLE[variant].config, settings, f"variant {variant}")


def training_from_flat(flat: Mapping[str, object]) -> TrainingConfig:
    """Builds the training configuration that `TrainingConfig.to_flat` wrote.

    Raises:
        ConfigError: for an unknown or missing setting, or a bad value.
    """
    return _build(TrainingConfig, dict(flat), "training")


def config_of(variant: str) -> type[AdapterConfig]:
    """The class of `variant`'s configurations.

    Raises:
        ConfigError: for an unknown variant.
    """
    if variant not in TABLE:
        raise ConfigError(unknown("variant", variant, VARIANTS))
    return TABLE[variant].config


def fields_of(variant: str) -> frozenset[str]:
    """Names of the settings that `variant` takes.

    Raises:
        ConfigError: for an unknown variant.
    """
    return frozenset(field.name for field in dataclasses.fields(config_of(variant)))


_Config = TypeVar("_Config", AdapterConfig, TrainingConfig)


def _build(kind: type[_Config], settings: Mapping[str, Any], owner: str) -> _Config:
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
