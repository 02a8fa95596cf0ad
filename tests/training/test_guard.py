"""An adapter that a base goes around fails its trial, with the reason; its neighbours go on."""

from collections.abc import Callable
from pathlib import Path
from types import MethodType

import pytest
import torch
from torch import Tensor, nn

from contracts.adapters import SIX
from contracts.bases import save_base, tiny_base
from perft.config import LoraExpertsConfig, RoutedConfig, SingleConfig, TrainingConfig
from perft.errors import AdapterError
from perft.evaluation.splits import predict_split
from perft.models.load import Base, load_base
from perft.ranks import Ranks
from perft.tasks import Example, Scorer, Split, Task
from perft.training import pack as packs
from perft.training.pack import Pack
from perft.trial import TrialConfig

SCORER = Scorer("exact", 2, extract=str, matches=str.__eq__)
EXAMPLES = tuple(Example(f"w{i} w{i + 1}", f"w{i + 2}", "") for i in range(3, 11))
TASK = Task("t", Split("train", EXAMPLES, SCORER), Split("validation", EXAMPLES, SCORER), ())
TRAINING = TrainingConfig(lr=1e-2, batch_size=2, max_length=8, max_steps=4, warmup_steps=0)
CONFIGS = {**SIX, "lora-experts": LoraExpertsConfig(rank=2)}
ROUND = "the base was computed without calling"


@pytest.fixture
def base(tmp_path: Path) -> Base:
    return load_base(str(save_base(tiny_base("qwen3_moe", torch.float32), tmp_path)))


def trained(base: Base, configs, *, hidden: Callable[[Base], None] = lambda _: None) -> Pack:
    """A pack of these after its first step, on a base of which something was hidden before."""
    pack = Pack(base, TASK, Ranks())
    for name, config in configs.items():
        pack.admit(name, TrialConfig(config, TRAINING))
    hidden(base)
    pack.train(dict.fromkeys(configs, 1))
    return pack


def failures(pack: Pack) -> dict[str, str]:
    return {name: trial.failure for name, trial in pack.running.items() if trial.failure}


def whole_block(base: Base) -> None:
    """The last block is computed as by a kernel for all of it: no module in it is called."""
    block = base.model.model.layers[-1].mlp

    def forward(self: nn.Module, x_BSD: Tensor) -> Tensor:
        x_TD = x_BSD.flatten(0, -2)
        _, weight_TK, index_TK = self.gate.forward(x_TD)
        return self.experts.forward(x_TD, index_TK, weight_TK).view(x_BSD.shape)

    block.forward = MethodType(forward, block)


def no_attention_modules(base: Base) -> None:
    """Queries are projected by a kernel that reads the weight and calls no module."""
    linear = base.model.model.layers[0].self_attn.q_proj
    plain = linear.forward
    base.model.model.layers[0].self_attn._modules.pop("q_proj")
    object.__setattr__(base.model.model.layers[0].self_attn, "q_proj", plain)


def test_every_variant_takes_part_and_no_trial_fails(base: Base) -> None:
    pack = trained(base, CONFIGS)
    assert failures(pack) == {}
    assert all(trial.can_learn and trial.step == 1 for trial in pack.running.values())
    for name in CONFIGS:
        assert pack.host.untouched(name, trained=True) == []


def test_a_fresh_adapter_has_taken_part_in_nothing(base: Base) -> None:
    pack = Pack(base, TASK, Ranks())
    pack.admit("s", TrialConfig(SingleConfig(rank=2), TRAINING))
    assert pack.host.untouched("s") == [block.name for block in pack.host.blocks]
    pack.release("s")
    pack.admit("s", TrialConfig(SingleConfig(rank=2), TRAINING))
    assert len(pack.host.untouched("s")) == 2


def test_a_block_computed_as_one_fails_what_goes_by_its_router(base: Base) -> None:
    found = failures(trained(base, CONFIGS, hidden=whole_block))
    assert set(found) == {"perft-e", "lora-router"}
    assert all(f"{ROUND} model.layers.1.mlp" in reason for reason in found.values()), found


def test_what_balances_the_bases_routers_must_hear_them(base: Base) -> None:
    configs = {
        "balanced": SingleConfig(rank=2, base_balance=0.1),
        "plain": SingleConfig(rank=2),
    }
    found = failures(trained(base, configs, hidden=whole_block))
    assert list(found) == ["balanced"]
    assert "model.layers.1.mlp.gate" in found["balanced"]


def test_lora_on_a_projection_that_is_not_called(base: Base) -> None:
    found = failures(trained(base, CONFIGS, hidden=no_attention_modules))
    assert list(found) == ["lora-qv"]
    assert f"{ROUND} model.layers.0.self_attn.q_proj" in found["lora-qv"]


def test_a_tensor_without_a_gradient_fails_its_trial(base: Base) -> None:
    pack = Pack(base, TASK, Ranks())
    pack.admit("r", TrialConfig(RoutedConfig(rank=2, num_experts=2, top_k=1), TRAINING))
    pack.admit("s", TrialConfig(SingleConfig(rank=2), TRAINING))
    key, loose = next(iter(pack.host.tensors("r").items()))
    loose.requires_grad_(False)
    pack.train({"r": 1, "s": 1})
    assert failures(pack) == {
        "r": f"the loss does not depend on {key}, so that it cannot be trained"
    }
    assert pack.running["r"].step == 0


def test_a_gradient_that_is_not_finite_fails_its_trial(base: Base) -> None:
    pack = Pack(base, TASK, Ranks())
    for name in ("one", "other"):
        pack.admit(name, TrialConfig(SingleConfig(rank=2), TRAINING))
    key, tensor = next(iter(pack.host.tensors("one").items()))
    tensor.register_hook(lambda gradient: gradient * float("inf"))
    pack.train({"one": 1, "other": 1})
    assert failures(pack) == {"one": f"the gradient of {key} is not finite at its first step"}


def test_it_is_looked_at_once(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    plain = packs.fault_of
    monkeypatch.setattr(
        packs, "fault_of", lambda host, name, opt: looked.append(name) or plain(host, name, opt)
    )
    pack = Pack(base, TASK, Ranks(), checkpointing=True)
    for name, config in CONFIGS.items():
        pack.admit(name, TrialConfig(config, TRAINING))
    pack.train(dict.fromkeys(CONFIGS, 3))
    assert sorted(looked) == sorted(CONFIGS)
    assert failures(pack) == {}


def test_an_adapter_that_has_no_part_is_not_scored(base: Base) -> None:
    pack = Pack(base, TASK, Ranks())
    for name in ("perft-s", "perft-e"):
        pack.host.add(name, SIX[name])
    whole_block(base)
    split = TASK.validation
    assert len(predict_split(base, pack.host, ["perft-s"], split, "generation")["perft-s"]) == 8
    with pytest.raises(AdapterError, match=r"without calling model\.layers\.1\.mlp, .*'perft-e'"):
        predict_split(base, pack.host, ["perft-s", "perft-e"], split, "generation")
