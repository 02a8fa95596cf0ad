"""What every variant keeps on every MoE family, on a tiny random base of the family.

A family's verdict in docs/models.md says which variants it can have; those are tried here.
"""

from pathlib import Path

import torch
from torch import Tensor

from contracts.adapters import (
    EVERY,
    ONE_OF_EACH,
    OTHER_FORMS,
    add_random,
    next_token_loss,
    possible,
    randomize,
    take_gradients,
    token_ids,
)
from contracts.bases import answer, every_family, tiny_base
from perft.checkpoint import adapter_files, load_adapter
from perft.config import (
    AdapterConfig,
    DenseConfig,
    EmbeddedConfig,
    GatedConfig,
    RoutedConfig,
    SingleConfig,
)
from perft.injection import AdapterHost, rows_of
from perft.models.experts import use_frozen_experts

# What shares a batch.
SHARING = {**ONE_OF_EACH, **{n: c for n, c in OTHER_FORMS.items() if n.startswith("perft-r-")}}
# Routers and some norms round to fp32 even in a base of fp64, by the shape of the batch.
ROUNDING = {"rtol": 1e-5, "atol": 2e-6}

# Base experts and base experts per token, where they are not 4 and 2.
ROUTED = {"longcat_flash": (6, 2), "switch_transformers": (4, 1), "zaya": (4, 1)}


@every_family
@torch.no_grad()
def test_new_adapter_changes_no_logit_and_a_trained_one_does(family: str):
    model, ids = tiny_base(family), token_ids(2)
    use_frozen_experts(model)  # as for a loaded base: LoRA on the experts adds to it
    before = answer(model, ids)
    host = AdapterHost(model)
    for name, config in possible(host, EVERY).items():
        host.add(name, config, seed=7)
        host.activate(name)
        assert torch.equal(answer(model, ids), before), name
        randomize(host, name)
        assert not torch.equal(answer(model, ids), before), f"{name}: comparison cannot fail"
    host.activate(None)
    assert torch.equal(answer(model, ids), before)


@every_family
def test_gradients_reach_exactly_the_adapter(family: str):
    model, ids = tiny_base(family), token_ids(3)
    host = AdapterHost(model)
    for name, config in possible(host, SHARING).items():
        add_random(host, name, config)
        host.activate(name)
        next_token_loss(answer(model, ids), ids).backward()
        for key, gradient in take_gradients(host, name).items():
            assert gradient.any(), f"{name}: {key}"
        assert [key for key, weight in model.named_parameters() if weight.grad is not None] == []


def by_formula(
    config: AdapterConfig, blocks: int, hidden: int, experts: int, top_k: int
) -> tuple[int, int]:
    """(trainable, activated) parameters, as the table of docs/method.md says."""
    expert = 2 * hidden * config.rank
    if config.to_flat().get("form") == "dora":
        expert += hidden
    match config:
        case RoutedConfig(num_experts=m, top_k=k):
            both = (m * expert + hidden * m, k * expert + hidden * m)
        case GatedConfig():
            both = (expert + hidden, expert + hidden)
        case EmbeddedConfig():
            both = (experts * expert, top_k * expert)
        case DenseConfig(num_experts=m):
            both = (m * expert, m * expert)
        case _:
            both = (expert, expert)
    return blocks * both[0], blocks * both[1]


@every_family
def test_counts_follow_the_formulas_and_the_tensors_that_are_there(family: str):
    model = tiny_base(family)
    host = AdapterHost(model)
    experts, top_k = ROUTED.get(family, (4, 2))
    for name, config in possible(host, EVERY).items():
        size = host.size(config)
        host.add(name, config)
        assert sum(tensor.numel() for tensor in host.tensors(name).values()) == size.trainable
        assert sum(p.numel() for p in model.parameters() if p.requires_grad) == size.trainable
        host.remove(name)
        if name.startswith("perft-"):
            wanted = by_formula(config, len(host.blocks), 16, experts, top_k)
            assert (size.trainable, size.activated) == wanted, name
        elif not name.startswith("lora-experts"):
            assert size.activated == size.trainable, name


def used_by(model: torch.nn.Module, ids: Tensor) -> dict[str, Tensor]:
    """For each weight of base experts, which rows of it got a gradient from one token."""
    model.zero_grad()
    answer(model, ids).square().sum().backward()
    return {
        f"{path}.{name}": weight.grad.reshape(len(weight), -1).any(1)
        if weight.grad is not None
        else torch.zeros(len(weight), dtype=torch.bool)
        for path, module in model.named_modules()
        if type(module).__name__.endswith("Experts") and "shared" not in path
        for name, weight in module.named_parameters()
    }


@every_family
def test_activated_parameters_are_those_that_one_token_uses(family: str):
    """The most that one of some tokens uses: experts without weights are chosen, too."""
    model = tiny_base(family, torch.float32)
    most = 0
    for token in range(3, 40, 4):
        used = used_by(model, torch.tensor([[token]]))
        most = max(most, sum(_counted(model, key, rows) for key, rows in used.items()))
    total = sum(weight.numel() for key, weight in model.named_parameters() if is_of_text(key))
    in_experts = sum(model.get_parameter(key).numel() for key in used)
    assert AdapterHost(model).base_activated == total - in_experts + most


def is_of_text(key: str) -> bool:
    """Whether a weight is neither of what sees or hears nor of what joins it to the text model."""
    others = ("vision", "visual", "audio", "projector", "projection.")
    return not any(part in key for part in others)


def _counted(model: torch.nn.Module, key: str, used_rows: Tensor) -> int:
    weight = model.get_parameter(key)
    if ".expert_" in key:  # a module for each expert
        return weight.numel() if used_rows.any() else 0
    return weight[used_rows].numel()


@every_family
def test_packed_rows_are_answered_as_each_adapter_alone(family: str):
    host = AdapterHost(tiny_base(family))
    configs = possible(host, SHARING)
    for seed, (name, config) in enumerate(configs.items()):
        add_random(host, name, config, seed)
    layout = rows_of({**dict.fromkeys(configs, 2), None: 1})
    ids = token_ids(layout.rows)
    with host.using(layout):
        packed = answer(host.model, ids)
    loss = sum(
        next_token_loss(packed[2 * i : 2 * i + 2], ids[2 * i : 2 * i + 2])
        for i in range(len(configs))
    )
    loss.backward()
    gradients = {name: take_gradients(host, name) for name in configs}
    for segment in layout.segments:
        rows = slice(segment.start, segment.stop)
        host.activate(segment.name)
        alone = answer(host.model, ids[rows])
        torch.testing.assert_close(packed[rows], alone, **ROUNDING, msg=segment.name)
        if segment.name is None:
            continue
        next_token_loss(alone, ids[rows]).backward()
        for key, wanted in take_gradients(host, segment.name).items():
            found = gradients[segment.name][key]
            assert (found - wanted).norm() <= 1e-4 * wanted.norm(), f"{segment.name}: {key}"


@every_family
@torch.no_grad()
def test_saved_adapter_answers_the_same_on_another_base(family: str, tmp_path: Path):
    host, ids = AdapterHost(tiny_base(family)), token_ids(2)
    for name, config in possible(host, SHARING).items():
        add_random(host, name, config)
        host.activate(name)
        folder = tmp_path / name
        folder.mkdir()
        for file, content in adapter_files(config, host.tensors(name), base=family).items():
            (folder / file).write_bytes(content)
        other = tiny_base(family)
        load_adapter(other, folder)
        assert torch.equal(answer(other, ids), answer(host.model, ids)), name
        host.remove(name)


def added_by(host: AdapterHost, name: str | None, ids: Tensor) -> Tensor:
    """What leaves the first MoE block; what enters it no adapter has touched."""
    seen: list[Tensor] = []
    handle = host.blocks[0].entry.register_forward_hook(
        lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    host.activate(name)
    answer(host.model, ids)
    handle.remove()
    return seen[0]


@every_family
@torch.no_grad()
def test_variants_that_the_equations_make_equal_are_equal(family: str):
    """R (1/1) is S; D with M experts is the sum of M S."""
    host, ids = AdapterHost(tiny_base(family)), token_ids(2)
    add_random(host, "r", RoutedConfig(rank=3, num_experts=1, top_k=1))
    experts = {key: t for key, t in host.tensors("r").items() if "router" not in key}
    host.load("s", SingleConfig(rank=3), experts)
    host.activate("r")
    routed = answer(host.model, ids)
    host.activate("s")
    torch.testing.assert_close(answer(host.model, ids), routed, rtol=0, atol=1e-10)
    add_random(host, "d", DenseConfig(rank=3, num_experts=3))
    base = added_by(host, None, ids)
    total = torch.zeros_like(base)
    for j in range(3):
        one = {key: tensor[j : j + 1] for key, tensor in host.tensors("d").items()}
        host.load(f"s{j}", SingleConfig(rank=3), one)
        total += added_by(host, f"s{j}", ids) - base
    added = added_by(host, "d", ids) - base
    assert added.abs().max() > 0.1
    torch.testing.assert_close(added, total, rtol=0, atol=1e-10)
