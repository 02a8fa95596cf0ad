"""What is measured of a trial's router is what happens with another one in its place."""

import pytest
import torch

from perft.config import EmbeddedConfig, FurtherMeasures, RoutedConfig, TrainingConfig
from perft.models.blocks import find_moe_blocks
from perft.models.load import load_base
from perft.ranks import Ranks
from perft.tasks import TaskSource, load_task
from perft.training.pack import Pack
from perft.trial import Report, TrialConfig

TRAINING = TrainingConfig(
    lr=3e-2, max_steps=6, warmup_steps=1, batch_size=4, max_length=128, seed=3
)
TRIALS = {
    "r8": TrialConfig(RoutedConfig(rank=4, num_experts=8, top_k=2), TRAINING),
    "r4": TrialConfig(RoutedConfig(rank=4, num_experts=4, top_k=2), TRAINING),
    "e": TrialConfig(EmbeddedConfig(rank=4), TRAINING),
}


def pack_with(routers: bool) -> Pack:
    task = load_task(TaskSource(name="arithmetic", validation_size=8))
    further = FurtherMeasures(routers=routers)
    return Pack(load_base(), task, Ranks(), slots=3, further=further)


def trained(pack: Pack, *names: str) -> dict[str, Report]:
    for name in names:
        pack.admit(name, TRIALS[name])
    found = pack.advance(dict.fromkeys(names, 6))
    assert all(isinstance(each, Report) for each in found.values())
    return found  # type: ignore[return-value]


@pytest.fixture(scope="module")
def all_three() -> tuple[Pack, dict[str, Report]]:
    pack = pack_with(routers=True)
    return pack, trained(pack, *TRIALS)


Three = tuple[Pack, dict[str, Report]]


def test_a_swap_is_the_loss_of_a_trial_with_that_router(all_three: Three) -> None:
    pack, found = all_three
    tensors = {key: tensor.detach() for key, tensor in pack.host.tensors("r8").items()}
    pack.host.add("fresh", TRIALS["r8"].adapter, seed=TRAINING.seed)
    start = {key: tensor.detach() for key, tensor in pack.host.tensors("fresh").items()}
    pack.host.remove("fresh")
    routers = [block.router.weight for block in find_moe_blocks(pack.base.model)]
    keys = [key for key in tensors if key.endswith("perft_router")]
    assert len(keys) == len(routers) == 3
    others = {
        "start": {**tensors, **{key: start[key] for key in keys}},
        "base": {**tensors, **dict(zip(keys, routers, strict=True))},
    }
    rows = pack.rows.validation(TRAINING.max_length)
    for name, swapped in others.items():
        pack.host.load(name, TRIALS["r8"].adapter, swapped)
        losses = pack._evaluator.losses(["r8", name], rows)
        assert found["r8"].measures[f"swap_{name}"] == pytest.approx(
            losses[name] - losses["r8"], abs=1e-5
        )
        pack.host.remove(name)
    moved = torch.stack([(tensors[k] - start[k]).norm() / start[k].norm() for k in keys]).mean()
    assert found["r8"].measures["router_moved"] == pytest.approx(float(moved), abs=1e-6)
    assert float(moved) > 0


def test_only_routers_of_ones_own_are_measured_and_swapped_where_they_fit(all_three: Three) -> None:
    measures = {name: set(report.measures) for name, report in all_three[1].items()}
    assert measures["e"] == set()
    assert measures["r8"] - measures["r4"] == {"swap_base"}
    shares = ("router_cka", "start_cka", "router_nmi", "start_nmi", "router_entropy")
    for name in ("r4", "r8"):
        found = all_three[1][name].measures
        assert all(0.0 <= found[share] <= 1.0 + 1e-9 for share in shares)
        assert found["router_load"] >= 1.0


def test_packed_they_are_as_alone_and_change_nothing(all_three: Three) -> None:
    (alone,) = trained(pack_with(routers=True), "r8").values()
    (plain,) = trained(pack_with(routers=False), "r8").values()
    assert all_three[1]["r8"].measures == pytest.approx(alone.measures, abs=1e-3)
    assert (plain.val_loss, plain.correct, plain.measures) == (alone.val_loss, alone.correct, {})
    assert all_three[0].host.configs.keys() == set(TRIALS)
