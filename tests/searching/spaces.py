"""Search spaces that are written into a package of their own, and a small one to draw from."""

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from perft.config import EmbeddedConfig, RoutedConfig, SingleConfig, TrainingConfig
from perft.searching import space
from perft.searching.space import SearchSpace
from perft.trial import TrialConfig


def training(builtin: bool) -> TrainingConfig:
    return TrainingConfig(lr=1e-3, max_steps=40 if builtin else 80, warmup_steps=8, batch_size=4)


def suggest(trial: optuna.Trial, builtin: bool) -> TrialConfig:
    """Two variants of which one has a further choice."""
    lr = trial.suggest_float("lr", 1e-4, 1e-1, log=True)
    kind = trial.suggest_categorical("variant", ("perft-r", "perft-s", "perft-e"))
    rank = trial.suggest_categorical("rank", (2, 4))
    if kind == "perft-r":
        experts = trial.suggest_categorical("experts", (2, 4))
        adapter = RoutedConfig(rank=rank, num_experts=experts, top_k=1)
    else:
        adapter = (SingleConfig if kind == "perft-s" else EmbeddedConfig)(rank=rank)
    return TrialConfig(adapter, dataclasses.replace(training(builtin), lr=lr))


SMALL = SearchSpace(task="arithmetic", training=training, suggest=suggest, num_trials=5)


@contextmanager
def package_of(folder: Path, **modules: str) -> Iterator[None]:
    """Inside, spaces are looked for in a package of `modules`, given by their text."""
    name = f"spaces_of_{abs(hash(folder))}"
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text("")
    for module, text in modules.items():
        (folder / name / f"{module}.py").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setattr(space, "PACKAGE", name)
        yield
    for module in [module for module in sys.modules if module.startswith(name)]:
        del sys.modules[module]
