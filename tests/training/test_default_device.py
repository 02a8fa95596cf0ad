"""Nothing of perft relies on torch's default device: "meta" stands for a GPU that is set as such.

`torch.set_default_device("cuda")` is what notebooks do. A tensor that is made there by mistake
meets those of a base on the CPU, and torch refuses.
"""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from contracts.adapters import EVERY, SIX, add_random, with_init
from contracts.bases import save_base, tiny_base
from contracts.packs import SCORER, TEN, advance, copied, tiny_pack, tiny_tokenizer
from perft.checkpoint import load_adapter, save_adapter
from perft.evaluation import Prediction
from perft.evaluation.likelihood import choose
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.models.tiny import tiny_config
from perft.ranks import Ranks
from perft.tasks import Example, Split
from perft.tasks.tokenize import tokenize_choices
from perft.training.memory import StepWorkload, pack_memory
from perft.trial import Report

ELSEWHERE = torch.device("meta")
IDS = torch.tensor([[5, 6, 7, 8]])
STEPS = 3


@contextmanager
def default_device(device: torch.device | None) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize(
    ("variant", "init"), [(v, i) for i in ("lora", "perft") for v in with_init(i)]
)
def test_an_adapter_is_drawn_alike(variant: str, init: str) -> None:
    config = dataclasses.replace(EVERY[variant], init=init)
    host = AdapterHost(tiny_base("olmoe"))
    host.add("a", config)
    with ELSEWHERE:
        host.add("b", config)
    with default_device(ELSEWHERE):
        host.add("c", config)
    for name in "bc":
        found = host.tensors(name)
        for key, tensor in host.tensors("a").items():
            assert torch.equal(found[key], tensor), key


def trained(device: torch.device | None) -> tuple[dict[str, dict[str, Tensor]], list[Report]]:
    """Adapters and reports of a pack that was saved and resumed on the way."""
    first, second = tiny_pack(checkpointing=True), tiny_pack()
    with default_device(device):
        for name, config in TEN.items():
            first.admit(name, config)
        advance(first, dict.fromkeys(TEN, STEPS))
        for name, config in TEN.items():
            second.admit(name, config, first.state(name))
        reports = advance(second, dict.fromkeys(TEN, 2 * STEPS))
        second.count_tests(second.predict_tests(list(TEN)))
    timeless = [dataclasses.replace(r, tokens_per_second=0.0) for r in reports.values()]
    return {name: copied(second, name) for name in TEN}, timeless


def test_a_pack_trains_reports_and_goes_on_alike() -> None:
    (wanted, reports), (found, same_reports) = trained(None), trained(ELSEWHERE)
    assert same_reports == reports
    for name in TEN:
        for key, tensor in wanted[name].items():
            assert torch.equal(found[name][key], tensor), f"{key} of {name}"


@torch.no_grad()
def test_a_base_and_an_adapter_are_loaded_to_where_they_were_asked_for(tmp_path: Path) -> None:
    base = str(save_base(tiny_base("olmoe", torch.float32), tmp_path / "base"))
    host = AdapterHost(load_base(base).model)
    host.add("a", EVERY["perft-r"])
    save_adapter(host, "a", tmp_path / "adapter")
    host.activate("a")
    with default_device(ELSEWHERE):
        model = load_base(base).model
        load_adapter(model, tmp_path / "adapter")
        found = model(IDS).logits
    assert torch.equal(found, host.model(IDS).logits)


def test_choices_are_scored_alike() -> None:
    examples = tuple(Example(f"w{i} w7", " w3", "w3", (" w3", " w4 w9")) for i in range(5, 9))
    split = Split("choices", examples, SCORER)
    rows = tokenize_choices(examples, tiny_tokenizer(), 64)
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "a", EVERY["perft-e"])

    def chosen(device: torch.device | None) -> dict[str, list[Prediction]]:
        with default_device(device):
            return choose(host, ["a"], split, rows=rows, normalized=True, pad=0, ranks=Ranks())

    assert chosen(ELSEWHERE) == chosen(None)


def test_what_a_pack_costs_is_counted_alike() -> None:
    load = StepWorkload(rows=2, length=8, tokens=64, dtype=torch.bfloat16)
    config, adapters = tiny_config("olmoe"), list(SIX.values())
    wanted = pack_memory(config, adapters, load)
    with default_device(ELSEWHERE):
        assert pack_memory(config, adapters, load) == wanted
