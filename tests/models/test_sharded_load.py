"""A base that is divided while it is read answers as the whole one does, in every family."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from contracts.adapters import token_ids
from contracts.bases import answer, save_base, tiny_base
from contracts.ranks import run_ranks
from models import sharded_loads
from perft.models.families import FAMILIES
from perft.models.head import has_plain_head
from perft.models.load import load_base
from perft.models.sharding import sharded_loading
from perft.ranks import Ranks

RANKS = 2
CPU, GPU = torch.device("cpu"), torch.device("cuda")
READ_WHOLE = {"bailing_hybrid", "kimi_linear", "qwen3_vl_moe", "qwen4_exp", "qwen4_exp_text"}
"""What becomes of their weights, when read, depends on more than one rank's part of them."""


def causal(family: str) -> bool:
    return not tiny_base(family).config.is_encoder_decoder


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.device], None]:
    """Makes this machine one that has such devices, whatever it has."""

    def has(device: torch.device) -> None:
        seen = None if device == CPU else device
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: seen)

    return has


@pytest.mark.parametrize("device", [CPU, GPU], ids=str)
@pytest.mark.parametrize("family", sorted(READ_WHOLE | {"olmoe", "mixtral"}))
def test_what_cannot_be_divided_while_it_is_read_is_read_whole(
    family: str, device: torch.device, tmp_path: Path, machine
) -> None:
    machine(device)
    base = str(save_base(tiny_base(family, torch.float32), tmp_path))
    assert sharded_loading(base, Ranks(device=device)) == {}
    assert (sharded_loading(base, Ranks(0, RANKS, device)) == {}) == (family in READ_WHOLE)


def test_ranks_on_cpus_read_the_whole_base_where_torch_sees_a_gpu(tmp_path: Path, machine) -> None:
    machine(GPU)
    base = str(save_base(tiny_base("olmoe", torch.float32), tmp_path))
    assert sharded_loading(base, Ranks(0, RANKS, CPU)) == {}


@pytest.mark.multi_rank
def test_ranks_on_cpus_stay_there_where_torch_sees_a_gpu(tmp_path: Path) -> None:
    place = save_base(tiny_base("olmoe", torch.float32), tmp_path / "bases" / "olmoe")
    with torch.no_grad():
        want = answer(load_base(str(place)).model, token_ids(2))
    run_ranks(sharded_loads.load_beside_a_gpu, RANKS, tmp_path)
    for rank in range(RANKS):
        held = json.loads((tmp_path / f"found-{rank}.json").read_text())["held"]
        assert 0.3 < held["olmoe"] < 0.7
        found = torch.load(tmp_path / f"olmoe-{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, want)


@pytest.mark.families
@pytest.mark.multi_rank
def test_every_family_answers_the_same_on_two_ranks(tmp_path: Path) -> None:
    families = list(filter(causal, FAMILIES))
    want, plain = {}, {}
    for family in families:
        place = save_base(tiny_base(family, torch.float32), tmp_path / "bases" / family)
        model = load_base(str(place)).model
        with torch.no_grad():
            want[family] = answer(model, token_ids(2))
        plain[family] = has_plain_head(model)
    run_ranks(sharded_loads.load_and_answer, RANKS, tmp_path)
    for rank in range(RANKS):
        found = json.loads((tmp_path / f"found-{rank}.json").read_text())
        assert found["plain"] == plain
        assert all(0.3 < share < 0.7 for share in found["held"].values()), found["held"]
        for family in families:
            torch.testing.assert_close(
                torch.load(tmp_path / f"{family}-{rank}.pt", weights_only=True),
                want[family],
                msg=lambda text, family=family: f"{family}: {text}",
            )
