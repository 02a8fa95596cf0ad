"""Fused norms give what the base's own do, and norms of another form are left alone."""

import torch

from contracts.bases import answer, every_family, tiny_base
from perft.models.compiling import compile_regions
from perft.models.norms import fuse_norms

IDS = torch.arange(3, 19).view(2, 8)


@every_family
def test_a_base_answers_as_it_did(family: str) -> None:
    model = tiny_base(family, torch.float32)
    for module in model.modules():  # a norm's weight of 1 would hide what is done with it
        weight = getattr(module, "weight", None)
        if type(module).__name__.endswith("RMSNorm") and isinstance(weight, torch.Tensor):
            weight.data.normal_(1.0, 0.3, generator=torch.Generator().manual_seed(len(weight)))
    with torch.no_grad():
        wanted = answer(model, IDS)
        fuse_norms(model)
        torch.testing.assert_close(answer(model, IDS), wanted, rtol=1e-4, atol=1e-5)


def test_every_norm_of_a_plain_form_is_fused_and_no_other() -> None:
    assert fuse_norms(tiny_base("olmoe", torch.bfloat16)) == 9  # two a layer, two heads', the last
    assert fuse_norms(tiny_base("switch_transformers", torch.float32)) == 0


def test_a_norm_that_adds_one_to_its_weight_is_left() -> None:
    class ShiftedRMSNorm(torch.nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.full((8,), 0.5))
            self.eps, self.shift = 1e-6, shift

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (
                x
                * x.square().mean(-1, keepdim=True).add(self.eps).rsqrt()
                * (self.weight + self.shift)
            )

    assert fuse_norms(torch.nn.Sequential(ShiftedRMSNorm(0.0))) == 1
    assert fuse_norms(torch.nn.Sequential(ShiftedRMSNorm(1.0))) == 0


def test_hidden_states_of_another_dtype_go_the_base_s_own_way() -> None:
    model = tiny_base("olmoe", torch.bfloat16)
    norm, x = model.model.norm, torch.randn(2, 16)
    wanted = norm(x)
    fuse_norms(model)
    assert norm(x).dtype == wanted.dtype
    assert torch.equal(norm(x), wanted)


def test_a_compiled_region_is_made_of_the_base_s_own_norm() -> None:
    model = tiny_base("olmoe", torch.float32)
    fuse_norms(model)
    fused = model.model.layers[0].input_layernorm.forward
    compile_regions(model)
    region = model.model.layers[0].input_layernorm.forward
    assert region._eager is fused
    assert region.__wrapped__.__func__ is type(model.model.layers[0].input_layernorm).forward
