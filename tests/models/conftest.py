"""A base on disk that tests may damage."""

import shutil
from pathlib import Path

import pytest
import torch

from contracts.bases import save_base, tiny_base


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_base(tiny_base("mixtral", torch.float32), tmp_path_factory.mktemp("saved") / "b")


@pytest.fixture
def base(saved: Path, tmp_path: Path) -> Path:
    """A good base, to be damaged or declared something else."""
    return Path(shutil.copytree(saved, tmp_path / "base"))
