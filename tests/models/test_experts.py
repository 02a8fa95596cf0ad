"""Our experts of a frozen base give what the family's own give, and keep less for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, OlmoeConfig, PreTrainedModel

from contracts.adapters import token_ids
from contracts.bases import answer, every_family, tiny_base
from perft.models.blocks import MoEBlock, find_moe_blocks
from perft.models.experts import OURS, experts_forward, is_computable, use_frozen_experts
from perft.training.live_bytes import LiveBytes

# Where what differs between families is all there is: gate, biases, layout, activation.
FORMS = ("olmoe", "gpt_oss", "aria_text", "nemotron_h", "inkling2_text")


class Case:
    """What a block's experts are given, and the gradient of what they give."""

    def __init__(self, block: MoEBlock, dtype: torch.dtype, tokens: int = 13) -> None:
        draw = torch.Generator().manual_seed(1)
        shape = (tokens, block.hidden_size)
        chosen = torch.rand(tokens, block.num_experts, generator=draw).topk(block.top_k)
        self.index_TK = chosen.indices
        self.x_TD, self.weight_TK, self.grad_TD = (
            tensor.double().to(dtype)  # the same numbers in every dtype
            for tensor in (
                torch.randn(shape, generator=draw).bfloat16(),
                chosen.values.bfloat16(),
                torch.randn(shape, generator=draw).bfloat16(),
            )
        )

    def run(self, experts: Callable[..., Tensor]) -> list[Tensor]:
        """The output, and the gradients of hidden states and routing weights."""
        x_TD, weight_TK = (t.clone().requires_grad_() for t in (self.x_TD, self.weight_TK))
        y_TD = experts(x_TD, self.index_TK, weight_TK)
        y_TD.backward(self.grad_TD)
        assert x_TD.grad is not None
        assert weight_TK.grad is not None
        return [y_TD.detach(), x_TD.grad, weight_TK.grad]


def frozen(family: str, dtype: torch.dtype = torch.float32, **sizes: int) -> PreTrainedModel:
    return tiny_base(family, dtype, **sizes).requires_grad_(False)


def ours(family: str, dtype: torch.dtype = torch.float32, **sizes: int) -> PreTrainedModel:
    model = frozen(family, dtype, **sizes)
    use_frozen_experts(model)
    return model


def computable(model: PreTrainedModel) -> list[MoEBlock]:
    return [block for block in find_moe_blocks(model) if is_computable(block.experts)]


def assert_near(found: list[Tensor], wanted: list[Tensor], tolerance: float) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        scale = float(theirs.double().abs().max())
        assert scale > 0
        error = float((mine.double() - theirs.double()).abs().max())
        assert error <= tolerance * scale


@every_family
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        # Some families activate in fp32, whatever the base's dtype.
        (torch.float64, 1e-6),
        (torch.float32, 1e-5),
        (torch.bfloat16, 0.03),
    ],
    ids=str,
)
def test_ours_equal_the_family_s_own_loop_over_experts(family, dtype, tolerance):
    exact, model = frozen(family, torch.float64), ours(family, dtype)
    exact.set_experts_implementation("eager")
    if not computable(model):
        assert model.config._experts_implementation == "eager"
    for theirs, mine in zip(computable(exact), computable(model), strict=True):
        assert mine.experts.config._experts_implementation == OURS
        wide = Case(theirs, torch.float64)
        # In bf16 the weights are rounded, too: these are what the loop is to use.
        theirs.experts.load_state_dict(mine.experts.state_dict())
        assert_near(Case(mine, dtype).run(mine.experts), wide.run(theirs.experts), tolerance)


@every_family
@torch.no_grad()
def test_a_base_answers_as_it_did(family: str):
    model, ids = frozen(family), token_ids(2)
    wanted = answer(model, ids)
    use_frozen_experts(model)
    torch.testing.assert_close(answer(model, ids), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", FORMS)
def test_sizes_that_no_grouped_product_takes_are_computed_all_the_same(family: str):
    sizes = {"moe_intermediate_size": 6, "intermediate_size": 6}
    block = computable(ours(family, torch.bfloat16, **sizes))[0]
    wide = computable(frozen(family, torch.float64, **sizes))[0]
    wide.experts.load_state_dict(block.experts.state_dict())
    found = Case(block, torch.bfloat16).run(block.experts)
    assert_near(found, Case(wide, torch.float64).run(wide.experts), 0.03)


@pytest.mark.parametrize("tokens", [0, 1])
def test_hardly_any_tokens(tokens: int):
    block = computable(ours("olmoe"))[0]
    found = Case(block, torch.float32, tokens).run(block.experts)
    assert [len(tensor) for tensor in found] == [tokens] * 3


def test_only_what_learns_gets_a_gradient():
    block = computable(ours("olmoe"))[0]
    case = Case(block, torch.float32)
    _, grad_x, grad_weight = case.run(block.experts)
    x_TD, weight_TK = case.x_TD.clone().requires_grad_(), case.weight_TK.clone().requires_grad_()
    block.experts(x_TD, case.index_TK, case.weight_TK).backward(case.grad_TD)
    block.experts(case.x_TD, case.index_TK, weight_TK).backward(case.grad_TD)
    assert torch.equal(x_TD.grad, grad_x)
    assert torch.equal(weight_TK.grad, grad_weight)
    assert all(parameter.grad is None for parameter in block.experts.parameters())


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss"])
def test_weights_that_do_learn_get_their_gradients(family: str):
    block, wide = computable(ours(family))[0], computable(frozen(family, torch.float64))[0]
    for experts in (block.experts, wide.experts):
        experts.requires_grad_(True)
    Case(block, torch.float32).run(block.experts)
    Case(wide, torch.float64).run(wide.experts)
    found, wanted = (
        [parameter.grad for parameter in experts.parameters()]
        for experts in (block.experts, wide.experts)
    )
    assert_near(found, wanted, 1e-5)


def test_recomputed_experts_learn_the_same():
    block = computable(ours("olmoe"))[0]
    case = Case(block, torch.float32)
    wanted = case.run(block.experts)
    found = case.run(lambda *args: checkpoint(block.experts, *args, use_reentrant=False))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(found, wanted, strict=True))


def test_under_autocast_the_output_has_the_dtype_of_the_hidden_states():
    experts = computable(ours("olmoe"))[0].experts
    case = Case(computable(ours("olmoe"))[0], torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        y_TD, *_ = case.run(experts)
    assert y_TD.dtype == torch.bfloat16


def one_layer(dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    config = OlmoeConfig(
        hidden_size=64, intermediate_size=32, num_experts=8, num_experts_per_tok=2, vocab_size=8,
        num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=4, pad_token_id=0,
        bos_token_id=0, eos_token_id=0, dtype=dtype,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()


def test_what_is_kept_is_the_first_product_and_where_the_pairs_are():
    (block,) = find_moe_blocks(one_layer())
    case = Case(block, torch.float32, tokens=100)
    experts: nn.Module = block.experts
    x_TD = case.x_TD.requires_grad_()
    weight_TK = case.weight_TK.requires_grad_()
    known = [*experts.parameters(), x_TD, case.index_TK, weight_TK]
    with LiveBytes(known) as live:
        y_TD = experts_forward(experts, x_TD, case.index_TK, weight_TK)
        pairs, wide = 100 * 2, 2 * 32
        indices = 8 * pairs * 2 + 8 * 4  # token and place of each pair, end of each expert
        assert live.now == y_TD.nbytes + pairs * (4 * wide + 4) + indices


def test_nothing_waits_for_the_values_of_a_tensor():
    """A fake tensor has none, so that whoever asked for one would fail: as in a CUDA graph."""
    with FakeTensorMode():
        model = one_layer(dtype=torch.bfloat16)
        use_frozen_experts(model)
        (block,) = find_moe_blocks(model)
        x_TD, weight_TK = (
            torch.empty(9, width, dtype=torch.bfloat16, requires_grad=True) for width in (64, 2)
        )
        y_TD = block.experts(x_TD, torch.empty(9, 2, dtype=torch.long), weight_TK)
        y_TD.sum().backward()
        assert x_TD.grad is not None
        assert x_TD.grad.shape == (9, 64)


@pytest.mark.slow
@pytest.mark.parametrize("family", FORMS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03)], ids=str
)
def test_compiled_in_one_graph_they_equal_the_eager_ones(family, dtype, tolerance):
    torch._dynamo.reset()  # all families share the code that calls their experts
    block = computable(ours(family, dtype))[0]
    compiled = torch.compile(block.experts.forward, fullgraph=True)
    for tokens in (12, 20, 33):
        case = Case(block, dtype, tokens)
        assert_near(case.run(compiled), case.run(block.experts), tolerance)
