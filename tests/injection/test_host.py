"""Adapters come onto a base and leave it; the base stays what it was."""

import pytest
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from contracts.adapters import EVERY, SIX, add_random, randomize, token_ids
from contracts.bases import FAMILIES, tiny_base
from perft.config import AdapterConfig, RoutedConfig, SingleConfig
from perft.errors import AdapterError, BaseModelError
from perft.injection import AdapterHost, rows_of


def hooks(model: PreTrainedModel) -> int:
    """Forward hooks on all modules of the model."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()
    )


def keys(model: PreTrainedModel) -> list[str]:
    return list(model.state_dict())


def modules(model: PreTrainedModel) -> list[str]:
    return [f"{name}: {type(module).__name__}" for name, module in model.named_modules()]


def state(host: AdapterHost) -> tuple[list[str], list[str], int, list[str]]:
    return keys(host.model), modules(host.model), hooks(host.model), list(host.configs)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("variant", EVERY)
@torch.no_grad()
def test_tensors_of_one_base_loaded_on_another_give_the_same_answers(variant: str, family: str):
    first, second = (AdapterHost(tiny_base(family)) for _ in range(2))
    add_random(first, "mine", EVERY[variant], seed=3)
    second.load("theirs", EVERY[variant], first.tensors("mine"))
    first.activate("mine")
    second.activate("theirs")
    ids = token_ids(2)
    assert torch.equal(first.model(ids).logits, second.model(ids).logits)
    for key, tensor in first.tensors("mine").items():
        assert torch.equal(second.tensors("theirs")[key], tensor)


def test_loaded_adapter_is_a_trainable_copy():
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "a", SIX["perft-r"])
    tensors = {key: tensor.detach().clone() for key, tensor in host.tensors("a").items()}
    host.load("b", SIX["perft-r"], tensors)
    for key, tensor in host.tensors("b").items():
        assert tensor.requires_grad
        tensor.data.zero_()
        assert tensors[key].any()


def without_first(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return dict(list(tensors.items())[1:])


def with_a_stranger(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "model.layers.9.mlp.adapters.perft_up": torch.zeros(1, 2, 16)}


def with_another_shape(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    *same, last = tensors
    return {**{key: tensors[key] for key in same}, last: tensors[last][..., :-1]}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without_first, "it has no tensor model.layers.0"),
        (with_a_stranger, "it has no place for model.layers.9.mlp.adapters.perft_up"),
        (with_another_shape, "has shape .*, this base needs"),
    ],
)
@pytest.mark.parametrize("variant", SIX)
def test_adapter_that_does_not_fit_is_refused_and_leaves_nothing_behind(variant, damage, message):
    host = AdapterHost(tiny_base("mixtral"))
    before = state(host)
    other = AdapterHost(tiny_base("mixtral"))
    other.add("a", SIX[variant])
    with pytest.raises(AdapterError, match=message):
        host.load("a", SIX[variant], damage(other.tensors("a")))
    assert state(host) == before
    host.load("a", SIX[variant], other.tensors("a"))


def test_adapter_of_another_base_is_refused():
    olmoe, mixtral = (AdapterHost(tiny_base(family)) for family in FAMILIES)
    olmoe.add("a", SIX["lora-router"])
    mixtral.add("a", RoutedConfig(rank=3, num_experts=2, top_k=1))
    with pytest.raises(AdapterError, match="does not fit this base"):
        mixtral.load("b", RoutedConfig(rank=4, num_experts=2, top_k=1), mixtral.tensors("a"))
    with pytest.raises(AdapterError, match="does not fit this base"):
        mixtral.load("b", SIX["perft-s"], olmoe.tensors("a"))
    assert list(mixtral.configs) == ["a"]


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "-a", "a b", "ä"])
def test_name_that_could_not_be_a_key_is_refused(name: str):
    host = AdapterHost(tiny_base("olmoe"))
    with pytest.raises(AdapterError, match="use letters, digits"):
        host.add(name, SingleConfig(rank=2))


@pytest.mark.parametrize("name", ["copy", "keys", "train", "half"])
def test_name_of_an_attribute_of_torch_is_refused(name: str):
    host = AdapterHost(tiny_base("olmoe"))
    before = state(host)
    with pytest.raises(AdapterError, match="choose another"):
        host.add(name, SingleConfig(rank=2))
    assert state(host) == before


def test_name_on_the_base_already_is_refused():
    host = AdapterHost(tiny_base("olmoe"))
    host.add("a", SingleConfig(rank=2))
    with pytest.raises(AdapterError, match="'a' is on the base already; remove it first"):
        host.add("a", SIX["perft-r"])
    with pytest.raises(AdapterError, match="'a' is on the base already"):
        host.load("a", SingleConfig(rank=2), host.tensors("a"))
    assert host.configs == {"a": SingleConfig(rank=2)}


@pytest.mark.parametrize("ask", ["remove", "tensors", "activate"])
def test_unknown_name_is_refused_with_the_nearest_one(ask: str):
    host = AdapterHost(tiny_base("olmoe"))
    host.add("trial-1", SingleConfig(rank=2))
    with pytest.raises(AdapterError, match="unknown adapter 'trial-2'; did you mean 'trial-1'"):
        getattr(host, ask)("trial-2")


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_last_adapter_leaves_the_base_as_it_was(family: str):
    model, ids = tiny_base(family), token_ids(2)
    logits = model(ids).logits
    host = AdapterHost(model)
    before = state(host)
    for name, config in SIX.items():
        add_random(host, name, config)
    host.activate("perft-e")
    assert state(host) != before
    for name in SIX:
        host.remove(name)
    assert state(host) == before
    assert torch.equal(model(ids).logits, logits)
    host.add("perft-e", SIX["perft-e"])  # and the place is free again


@torch.no_grad()
def test_removing_one_adapter_does_not_touch_the_others():
    model, ids = tiny_base("olmoe"), token_ids(2)
    host = AdapterHost(model)
    for name in ("keep", "go"):
        add_random(host, name, SIX["perft-r"], seed=len(name))
    add_random(host, "other-kind", SIX["perft-s"])
    host.activate("keep")
    wanted = model(ids).logits
    held = hooks(model)
    host.remove("go")
    assert torch.equal(model(ids).logits, wanted)
    assert hooks(model) == held
    assert not any("go" in key.split(".") for key in keys(model))


@torch.no_grad()
def test_base_answers_alone_once_the_active_adapter_is_removed():
    model, ids = tiny_base("olmoe"), token_ids(2)
    wanted = model(ids).logits
    host = AdapterHost(model)
    add_random(host, "a", SIX["perft-s"])
    add_random(host, "b", SIX["perft-d"])
    host.activate("a")
    host.remove("a")
    assert torch.equal(model(ids).logits, wanted)
    add_random(host, "a", SIX["perft-s"])
    assert torch.equal(model(ids).logits, wanted), "a new adapter of that name is not active"


@torch.no_grad()
def test_switching_adapters_and_back_gives_the_same_answers():
    model, ids = tiny_base("mixtral"), token_ids(2)
    host = AdapterHost(model)
    for name, config in SIX.items():
        add_random(host, name, config)
    answers = {}
    for name in [*SIX, *reversed(SIX)]:
        host.activate(name)
        logits = model(ids).logits
        assert torch.equal(answers.setdefault(name, logits), logits)
    assert len({float(logits.sum()) for logits in answers.values()}) == len(SIX)


def test_state_dict_gains_the_adapter_s_own_tensors_and_nothing_else():
    model = tiny_base("olmoe")
    own = set(keys(model))
    host = AdapterHost(model)
    for name, config in SIX.items():
        host.add(name, config)
    gained = set(keys(model)) - own
    assert gained == {f"{key}.{name}" for name in SIX for key in host.tensors(name)}
    assert set(keys(model)) > own


def test_keys_name_the_module_of_the_base_and_the_kind_of_tensor():
    host = AdapterHost(tiny_base("olmoe"))
    host.add("r", SIX["perft-r"])
    host.add("q", SIX["lora-qv"])
    host.add("g", SIX["lora-router"])
    layer = "model.layers.1"
    assert [key for key in host.tensors("r") if layer in key] == [
        f"{layer}.mlp.adapters.perft_{kind}" for kind in ("down", "up", "router")
    ]
    assert [key for key in host.tensors("q") if layer in key] == [
        f"{layer}.self_attn.{target}.adapters.lora_{kind}"
        for target in ("q_proj", "v_proj")
        for kind in ("A", "B")
    ]
    assert [key for key in host.tensors("g") if layer in key] == [
        f"{layer}.mlp.gate.adapters.lora_{kind}" for kind in ("A", "B")
    ]


@pytest.mark.parametrize("variant", SIX)
def test_seed_decides_the_initial_tensors(variant: str):
    def drawn(seed: int) -> list[Tensor]:
        host = AdapterHost(tiny_base("olmoe"))
        host.add("a", SIX[variant], seed=seed)
        return [tensor.detach() for tensor in host.tensors("a").values()]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_layers_do_not_start_with_the_same_tensors():
    host = AdapterHost(tiny_base("olmoe"))
    host.add("a", SIX["perft-s"])
    first, second = (
        host.tensors("a")[f"model.layers.{i}.mlp.adapters.perft_down"] for i in range(2)
    )
    assert not torch.equal(first, second)


def dense_base() -> PreTrainedModel:
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=20,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
        )
    )


def test_dense_model_is_refused_with_its_type_and_the_supported_ones():
    with pytest.raises(
        BaseModelError, match=r"of type 'llama', .* not a supported MoE family; .*mixtral, .*olmoe"
    ):
        AdapterHost(dense_base())


def test_refused_model_keeps_its_parameters_trainable():
    model = dense_base()
    with pytest.raises(BaseModelError):
        AdapterHost(model)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("config", SIX.values(), ids=SIX)
@torch.no_grad()
def test_layout_over_no_row_of_an_adapter_leaves_the_others_alone(config: AdapterConfig):
    """A trial may have no row on one of several processes."""
    host = AdapterHost(tiny_base("olmoe"))
    add_random(host, "here", config, seed=1)
    add_random(host, "elsewhere", config, seed=2)
    ids = token_ids(2)
    host.activate("here")
    wanted = host.model(ids).logits
    with host.using(rows_of({"here": 2, "elsewhere": 0})):
        torch.testing.assert_close(host.model(ids).logits, wanted, rtol=1e-12, atol=1e-12)
    randomize(host, "here", seed=9)
    assert not torch.equal(host.model(ids).logits, wanted)
