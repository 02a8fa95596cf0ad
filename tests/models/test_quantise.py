"""A quantised base computes, to the bit, what a plain base of the same numbers does."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from contracts.adapters import (
    ONE_OF_EACH,
    add_random,
    next_token_loss,
    possible,
    take_gradients,
    token_ids,
)
from contracts.bases import answer, every_family, tiny_base
from perft.errors import BaseModelError, ConfigError
from perft.injection import AdapterHost
from perft.injection.merging import merge_into_base
from perft.models import quantise as module
from perft.models.blocks import activated_parameters, find_moe_blocks
from perft.models.experts import use_frozen_experts
from perft.models.formats import FORMATS
from perft.models.load import load_base
from perft.models.precision import NONE, PRECISIONS
from perft.models.quantise import quantise, stored_bytes, tensors_in
from perft.models.quantised_weight import QuantisedWeight
from perft.options import Precision
from perft.training.live_bytes import LiveBytes

ERRORS = {"nf4": 0.11, "mxfp4": 0.13, "int8": 0.012, "fp8": 0.03}
"""By format, the error of normal numbers, relative to their size."""

each_format = pytest.mark.parametrize("precision", FORMATS)


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of tiny bases are quantised, too."""
    monkeypatch.setattr(module, "SMALLEST", 8)


def test_option_settings_and_formats_name_the_same_precisions() -> None:
    assert get_args(Precision) == PRECISIONS == (NONE, *FORMATS)


def frozen(family: str, precision: str = "none", dtype: torch.dtype = torch.float32):
    model = tiny_base(family, dtype).requires_grad_(False)
    use_frozen_experts(model)
    quantise(model, precision)
    return model


def plain_of(model: PreTrainedModel) -> PreTrainedModel:
    """A base with the numbers of a quantised one, in place of that."""
    for owner in model.modules():
        for name, weight in list(owner.named_parameters(recurse=False)):
            if isinstance(weight, QuantisedWeight):
                setattr(owner, name, nn.Parameter(weight.dequantise(), requires_grad=False))
    return model


def packed(model: nn.Module) -> dict[str, QuantisedWeight]:
    return {n: w for n, w in model.named_parameters() if isinstance(w, QuantisedWeight)}


@contextmanager
def counted(model: nn.Module) -> Iterator[LiveBytes]:
    known = [part for weight in model.parameters() for part in tensors_in(weight)]
    with LiveBytes([*known, *model.buffers()]) as live:
        yield live


def trained(model: PreTrainedModel, name: str) -> tuple[Tensor, dict[str, Tensor], int]:
    """Loss and gradients of an adapter, and the bytes that live between both passes."""
    host, ids = AdapterHost(model), token_ids(3)
    add_random(host, name, ONE_OF_EACH[name])
    host.activate(name)
    with counted(model) as live:
        loss = next_token_loss(answer(model, ids), ids)
        kept = live.now
        loss.backward()
    found = take_gradients(host, name)
    host.remove(name)
    return loss.detach(), found, kept


@every_family
@each_format
def test_every_family_computes_what_its_numbers_do_and_keeps_no_more(
    family: str, precision: str
) -> None:
    packed_base, plain = frozen(family, precision), plain_of(frozen(family, precision))
    assert packed(packed_base)
    assert not packed(plain)
    ids = token_ids(2)
    with torch.no_grad():
        assert torch.equal(answer(packed_base, ids), answer(plain, ids))
    for name in possible(AdapterHost(plain), {n: ONE_OF_EACH[n] for n in ("perft-e", "perft-g")}):
        found, wanted = trained(packed_base, name), trained(plain, name)
        assert torch.equal(found[0], wanted[0])
        for key, gradient in wanted[1].items():
            assert torch.equal(found[1][key], gradient), key
        assert found[2] == wanted[2], "no numbers are kept for the backward pass"


@each_format
@pytest.mark.parametrize("family", ["olmoe", "gpt_oss"])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_every_variant_gets_the_gradients_of_the_plain_base(
    name: str, family: str, precision: str
) -> None:
    packed_base, plain = frozen(family, precision), plain_of(frozen(family, precision))
    found, wanted = trained(packed_base, name), trained(plain, name)
    assert torch.equal(found[0], wanted[0])
    assert found[1].keys() == wanted[1].keys()
    for key, gradient in wanted[1].items():
        assert torch.equal(found[1][key], gradient), key
    assert found[2] == wanted[2]


@each_format
@pytest.mark.parametrize("experts", ["eager", "grouped_mm", "batched_mm"])
def test_every_implementation_of_the_experts_reads_them(experts: str, precision: str) -> None:
    packed_base, plain = frozen("olmoe", precision), plain_of(frozen("olmoe", precision))
    for model in (packed_base, plain):
        model.set_experts_implementation(experts)
    found, wanted = trained(packed_base, "perft-e"), trained(plain, "perft-e")
    assert torch.equal(found[0], wanted[0])
    assert all(torch.equal(found[1][key], wanted[1][key]) for key in wanted[1])


@each_format
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(96, 64), (70, 90), (3, 96, 64), (3, 9, 11)])
@pytest.mark.parametrize("inputs", [-1, -2])
def test_numbers_are_near_what_they_stand_for(
    precision: str, dtype: torch.dtype, shape: tuple[int, ...], inputs: int
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    weight[0] = 0.0
    found = QuantisedWeight.of(weight, precision, inputs)
    assert (found.shape, found.dtype, found.device) == (weight.shape, dtype, weight.device)
    numbers = found.dequantise()
    assert numbers.dtype == dtype
    assert not numbers[0].any()
    error = (numbers - weight).double().norm() / weight.double().norm()
    assert 0.0 < error < ERRORS[precision]


def test_a_row_of_outputs_has_a_scale_of_its_own_however_experts_are_stored() -> None:
    weight_EIO = torch.ones(2, 8, 16)
    weight_EIO[..., 3] = 1e-4
    numbers = QuantisedWeight.of(weight_EIO, "int8", inputs=-2).dequantise()
    torch.testing.assert_close(numbers, weight_EIO)
    transposed = frozen("gpt_oss", "int8")
    weight = find_moe_blocks(transposed)[0].experts.get_parameter("gate_up_proj")
    assert weight.scales.shape == (len(weight), 1, weight.shape[-1])


@each_format
def test_views_stay_packed_and_are_those_of_the_numbers(precision: str) -> None:
    weight = QuantisedWeight.of(torch.randn(4, 64, 64), precision)
    numbers = weight.dequantise()
    views = (
        lambda w: w.transpose(1, 2),
        lambda w: w[2],
        lambda w: w[1:3].mT,
        lambda w: w[3].t()[5],
        lambda w: w.view(8, 32, 64)[5],
        lambda w: w.flatten(0, 1).chunk(4)[1],
        lambda w: w.unbind()[3],
        lambda w: w[0].expand(2, 64, 64),
        lambda w: w.detach(),
    )
    for view in views:
        found, wanted = view(weight), view(numbers)
        assert isinstance(found, QuantisedWeight)
        assert found.stride() == wanted.stride()
        assert torch.equal(found.dequantise(), wanted)
        assert found.dequantise().stride() == wanted.stride()
    assert type(weight + 1) is Tensor
    assert torch.equal(weight.reshape(-1)[::3] + 1, numbers.reshape(-1)[::3] + 1)


@each_format
def test_one_expert_is_unpacked_alone(precision: str) -> None:
    weight = QuantisedWeight.of(torch.randn(16, 64, 64), precision)
    with LiveBytes(tensors_in(weight)) as live:
        _ = weight[7] + 1
    assert live.peak < weight.numel()


@each_format
def test_a_weight_is_moved_packed_and_changed_never(precision: str) -> None:
    model = frozen("olmoe", precision)
    weights = packed(model)
    layer = model.model.layers[0].self_attn.q_proj
    with pytest.raises(BaseModelError, match="packed and cannot be changed; load the base without"):
        layer.weight.zero_()
    model.to("meta")
    assert packed(model).keys() == weights.keys()
    assert all(part.is_meta for w in packed(model).values() for part in tensors_in(w))
    assert f"<{precision} weight (16, 16)" in repr(layer.weight)


@each_format
def test_in_another_dtype_it_stays_packed(precision: str) -> None:
    model, wide = (frozen("olmoe", precision) for _ in range(2))
    wide.double().set_experts_implementation("eager")
    assert packed(wide).keys() == packed(model).keys()
    for name, weight in packed(wide).items():
        assert weight.dtype == torch.float64
        assert torch.equal(weight.mT.dequantise(), packed(model)[name].dequantise().mT.double())
    ids = token_ids(2)
    torch.testing.assert_close(answer(wide, ids).float(), answer(model, ids), rtol=1e-4, atol=1e-4)


@each_format
def test_routers_norms_embeddings_and_head_stay(precision: str) -> None:
    names = packed(frozen("qwen3_moe", precision))
    ends = {name.split("layers.0.")[1] for name in names if "layers.0." in name}
    assert ends == {
        *(f"self_attn.{each}_proj.weight" for each in "qkvo"),
        "mlp.experts.gate_up_proj",
        "mlp.experts.down_proj",
    }
    assert len(names) == 2 * len(ends)


def test_a_weight_that_layers_share_is_packed_once() -> None:
    model = tiny_base("olmoe", torch.float32).requires_grad_(False)
    first, second = (layer.self_attn for layer in model.model.layers)
    second.q_proj.weight = first.q_proj.weight
    count = sum(weight.numel() for weight in model.parameters())
    quantise(model, "int8")
    assert first.q_proj.weight is second.q_proj.weight
    assert sum(weight.numel() for weight in model.parameters()) == count


def test_small_weights_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert not packed(frozen("olmoe", "int8"))


@pytest.mark.parametrize(
    ("precision", "least", "most"), [("nf4", 5.5, 7), ("mxfp4", 6, 7.5), ("int8", 3, 4)]
)
def test_the_builtin_base_takes_less_and_counts_the_same(
    precision: str, least: float, most: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    plain, found = load_base(), load_base(quantize=precision)
    assert (found.activated, found.fingerprint) == (plain.activated, plain.fingerprint)
    assert activated_parameters(found.model) == plain.activated
    assert found.quantize == precision
    assert f"torch.float32 in {precision}, on cpu" in repr(found)
    assert "in none" not in repr(plain)
    layers = [
        sum(map(stored_bytes, base.model.model.layers.parameters())) for base in (plain, found)
    ]
    assert least < layers[0] / layers[1] < most


def test_nothing_is_merged_into_packed_weights() -> None:
    host = AdapterHost(frozen("olmoe", "int8"))
    add_random(host, "a", ONE_OF_EACH["lora-qv"])
    before = copy.copy(host.tensors("a"))
    with pytest.raises(BaseModelError, match="load the base without quantize"):
        merge_into_base(host, "a")
    assert host.tensors("a").keys() == before.keys()


def test_what_cannot_be_is_refused_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match=r"quantize 'nf3'; did you mean 'nf4'"):
        load_base("nowhere", quantize="nf3")
    with pytest.raises(ConfigError, match=r"runs the base uncompiled, .* leave out --compile"):
        load_base("nowhere", quantize="int8", compile=True)
    with pytest.raises(ConfigError, match="--experts sonicmoe reads the experts' memory"):
        load_base("nowhere", quantize="int8", experts="sonicmoe")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"needs bitsandbytes: .*pip install 'perft\[quantize\]'"):
        load_base("nowhere", quantize="nf4")
