"""An implementation of the experts that cannot run is refused in one line that says what to do."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel
from transformers.integrations.moe import ExpertsInterface

from contracts.adapters import token_ids
from contracts.bases import tiny_base
from perft.errors import BaseModelError, ConfigError
from perft.models import implementations as module
from perft.models.experts import OURS
from perft.models.implementations import implementations, require_implementation, use_experts
from perft.models.load import load_base

KERNELS = ("deepgemm", "sonicmoe")


def frozen(dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    return tiny_base("olmoe", dtype).requires_grad_(False)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and the package that loads kernels."""
    monkeypatch.setattr(module, "is_kernels_available", lambda: True)
    monkeypatch.setenv("KERNELS_CACHE", str(tmp_path))
    return tmp_path


def fetch(hub: Path, name: str) -> None:
    (hub / f"models--kernels-community--{name}" / "snapshots").mkdir(parents=True)


def test_choices_are_those_of_the_installed_transformers():
    own = set(ExpertsInterface().valid_keys()) - {OURS}
    assert {"grouped_mm", "batched_mm"} <= own
    assert set(implementations()) == {"auto", "eager", *own}
    assert implementations()[0] == "auto"


@torch.no_grad()
@pytest.mark.parametrize("name", sorted(set(implementations()) - set(KERNELS)))
def test_every_one_that_needs_no_kernels_answers_the_same(name: str):
    model, ids = frozen(), token_ids(2)
    wanted = model(ids).logits
    require_implementation(name, training=True)
    use_experts(model, name)
    assert model.config._experts_implementation == (OURS if name == "auto" else name)
    torch.testing.assert_close(model(ids).logits, wanted, rtol=1e-4, atol=1e-4)


def test_a_base_is_loaded_with_the_one_that_was_asked_for():
    assert load_base().model.config._experts_implementation == OURS
    assert load_base(experts="eager").model.config._experts_implementation == "eager"


def test_unknown_one():
    with pytest.raises(ConfigError, match=r"'grouped'; did you mean 'grouped_mm'\? \(known: auto,"):
        require_implementation("grouped", training=False)


def test_package_that_loads_kernels_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "is_kernels_available", lambda: False)
    with pytest.raises(ConfigError, match=r"--experts sonicmoe .* pip install 'kernels>=\d"):
        require_implementation("sonicmoe", training=True)


@pytest.mark.parametrize(
    ("name", "repository"), [("sonicmoe", "sonic-moe"), ("deepgemm", "deep-gemm")]
)
def test_nothing_is_fetched_from_the_hub_unasked(hub: Path, name: str, repository: str):
    with pytest.raises(ConfigError, match=r"python -c .*get_kernel\('kernels-community/") as raised:
        require_implementation(name, training=False)
    assert str(hub) in str(raised.value)
    assert "\n" not in str(raised.value)
    fetch(hub, repository)
    require_implementation(name, training=False)


def test_what_computes_no_gradients_trains_nothing(hub: Path):
    fetch(hub, "deep-gemm")
    with pytest.raises(ConfigError, match=r"deepgemm computes no gradients .* jobs/evaluate\.py"):
        require_implementation("deepgemm", training=True)
    require_implementation("deepgemm", training=False)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_that_do_not_load_on_this_machine(name: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(raise_error: bool = False) -> bool:
        raise ImportError("needs a Hopper GPU")

    monkeypatch.setitem(module._KERNELS, name, module._Kernel("sonic-moe", refuse))
    with pytest.raises(BaseModelError, match=f"--experts {name} cannot run here: needs a Hopper"):
        use_experts(frozen(torch.bfloat16), name)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_of_another_dtype(name: str):
    with pytest.raises(ConfigError, match="--dtype bfloat16"):
        use_experts(frozen(), name)


def test_grouped_products_have_no_float64():
    with pytest.raises(ConfigError, match="auto or eager or batched_mm"):
        use_experts(frozen(torch.float64), "grouped_mm")
