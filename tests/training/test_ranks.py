"""Trials trained on a base sharded over 2 and 4 ranks equal those on one process."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from contracts.packs import advance, apart, tiny_pack, tiny_task
from contracts.ranks import run_ranks
from perft.base_score import BaseScore
from perft.checkpoint import from_bytes
from perft.ranks import Ranks
from training import ranked

pytestmark = pytest.mark.multi_rank

BOUNDS = {torch.float64: 1e-9, torch.float32: 1e-5}


def assert_as_one_process(
    folder: Path, size: int, family: str, dtype: torch.dtype, *, on_pairs: bool = False
) -> None:
    states, scores, base = ranked.train(Ranks(), size, family, dtype, on_pairs=on_pairs)
    bound = BOUNDS[dtype]
    for rank in range(size):
        file = folder / f"{family}-{str(dtype).removeprefix('torch.')}-{rank}"
        tensors = torch.load(f"{file}.pt", weights_only=True)
        found = json.loads(Path(f"{file}.json").read_text())
        assert found["scores"] == json.loads(json.dumps(scores))
        alone = BaseScore.from_json(found["base"])
        assert alone.val_loss == pytest.approx(base.val_loss, abs=bound)
        assert dataclasses.replace(alone, val_loss=base.val_loss) == base
        for name, state in states.items():
            assert apart(tensors[name], {**state.adapter, **state.moments}) <= bound, name
            for report, one in zip(found["reports"][name], state.reports, strict=True):
                for key in ("step", "correct", "scored", "lr"):
                    assert report[key] == getattr(one, key), (name, key)
                for key in ("val_loss", "train_loss", "router_entropy"):
                    assert report[key] == pytest.approx(getattr(one, key), abs=bound), (name, key)
                assert report["router_load"] == pytest.approx(list(one.router_load), abs=bound)


def test_two_ranks_equal_one_process(tmp_path: Path) -> None:
    run_ranks(ranked.float64_then_float32, 2, tmp_path)
    for dtype in BOUNDS:
        assert_as_one_process(tmp_path, 2, "olmoe", dtype)


def test_four_ranks_equal_one_process(tmp_path: Path) -> None:
    run_ranks(ranked.mixtral, 4, tmp_path)
    assert_as_one_process(tmp_path, 4, "mixtral", torch.float64)


def test_two_ranks_with_a_compiled_base_equal_one_process_without(tmp_path: Path) -> None:
    run_ranks(ranked.compiled, 2, tmp_path)
    assert_as_one_process(tmp_path, 2, "olmoe", torch.float64)


@pytest.mark.parametrize("run", [ranked.pairs, ranked.compiled_pairs])
def test_two_ranks_share_pairs_of_answers(run: Callable[..., None], tmp_path: Path) -> None:
    run_ranks(run, 2, tmp_path)
    assert_as_one_process(tmp_path, 2, "olmoe", torch.float64, on_pairs=True)


def test_a_trial_goes_on_on_another_number_of_ranks(tmp_path: Path) -> None:
    pack = tiny_pack(task=tiny_task(validation=5, test=1))
    pack.admit("r", ranked.configs(2)["r"])
    advance(pack, {"r": ranked.RUNGS[0]})
    (tmp_path / "state").write_bytes(pack.state("r"))
    run_ranks(ranked.resumed, 2, tmp_path)
    advance(pack, {"r": ranked.RUNGS[1]})
    after = from_bytes((tmp_path / "after").read_bytes())
    assert apart(after.adapter, pack.host.tensors("r")) <= BOUNDS[torch.float64]


def test_a_rank_that_fails_is_heard_of(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="only here"):
        run_ranks(ranked.one_rank_fails, 2, tmp_path)
