"""The adapters' functions compiled say and learn what they do uncompiled: with Inductor, whole.

In fp32 outputs and gradients agree to 1e-5 of the largest entry, in fp64 to 1e-13 (measured: 2e-7
and 4e-16).
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from contracts.adapters import EVERY, SIX, add_random, next_token_loss, take_gradients, token_ids
from contracts.bases import tiny_base
from perft import adapters
from perft.adapters import compiled, lora
from perft.adapters.block import BlockGeometry, BlockInput
from perft.adapters.dropout import DropKey, keyed_drop
from perft.adapters.routing import Routing
from perft.config import AdapterConfig, EmbeddedConfig, LoraQVConfig, RoutedConfig
from perft.injection import AdapterHost, rows_of

# Of what torch itself does when it compiles.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated"),
    pytest.mark.filterwarnings("ignore:<class 'torch.autograd.function.Function'> should not be"),
]

ROWS, LENGTH, WIDTH = 3, 8, 16
BLOCK = BlockGeometry(hidden_size=WIDTH, num_experts=64, top_k=2)
BOUNDS = {torch.float64: 1e-13, torch.float32: 1e-5, torch.bfloat16: 0.03}
PURE = {
    name: dataclasses.replace(config, rank=8)
    for name, config in EVERY.items()
    if name.startswith(("perft-", "lora-qv"))
}
GROUPED = {
    f"grouped-{form}": RoutedConfig(rank=8, num_experts=512, top_k=1, form=form)
    for form in ("lora", "parallel")
}


@pytest.fixture(autouse=True)
def _nothing_compiled_before() -> Iterator[None]:
    torch._dynamo.reset()
    compiled._compiled.cache_clear()
    yield
    torch._dynamo.reset()
    compiled._compiled.cache_clear()


def taken(config: AdapterConfig, dtype: torch.dtype, probability: float, run: Any) -> list[Tensor]:
    """A variant's output and every gradient, of tensors that are the same each time."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        tensor = torch.randn(shape, generator=generator, dtype=torch.float64) / 2
        return tensor.to(dtype).requires_grad_()

    is_lora = isinstance(config, LoraQVConfig)
    shapes = adapters.shapes(config, (WIDTH, WIDTH) if is_lora else BLOCK)
    weights = {kind: drawn(*shape) for kind, shape in shapes.items()}
    x_TD, weight_TK = drawn(ROWS * LENGTH, WIDTH), drawn(ROWS * LENGTH, 2)
    index_TK = torch.randint(64, weight_TK.shape, generator=generator)
    drop = keyed_drop(DropKey.of(1, 2, slice(0, ROWS)), 5, probability)
    leaves = [x_TD, *weights.values()]
    if is_lora:
        y_TD = run(config, weights, x_TD, drop)
    else:
        y_TD, routed = run(config, weights, BlockInput(x_TD, drop, Routing(weight_TK, index_TK)))
        leaves += [weight_TK] if isinstance(config, EmbeddedConfig) else []
        if routed is not None:
            routed.score_TM.square().sum().backward(retain_graph=True)
    y_TD.backward(drawn(*y_TD.shape).detach())
    return [y_TD.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def both(config: AdapterConfig) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The function of a configuration, compiled and not."""
    if isinstance(config, LoraQVConfig):
        return compiled.apply_lora, lora.apply
    return compiled.apply_beside_block, adapters.apply_beside_block


def assert_near(found: list[Tensor], wanted: list[Tensor], bound: float) -> None:
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        assert theirs.any()
        assert float((mine - theirs).abs().max()) <= bound * float(theirs.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("probability", [0.0, 0.3])
@pytest.mark.parametrize("config", [*PURE.values(), *GROUPED.values()], ids=[*PURE, *GROUPED])
def test_compiled_is_uncompiled(config: AdapterConfig, probability: float, dtype: torch.dtype):
    if config in GROUPED.values() and dtype != torch.bfloat16:
        pytest.skip("torch traces a grouped product in bf16 alone")
    run, plain = both(config)
    assert_near(
        taken(config, dtype, probability, run), taken(config, dtype, probability, plain),
        BOUNDS[dtype],
    )  # fmt: skip


def pack(count: int, **changes: Any) -> AdapterHost:
    """Adapters of one shape, which differ in scale and dropout."""
    host = AdapterHost(tiny_base("olmoe"))
    for i in range(count):
        config = dataclasses.replace(
            SIX["perft-r"], alpha=1.0 + i, dropout=0.1 + 0.05 * i, **changes
        )
        add_random(host, f"trial{i}", config, seed=i)
    return host


def answer(host: AdapterHost, *, compiles: bool, step: int = 0) -> list[Tensor]:
    """Logits and gradients of all adapters, two rows each."""
    names = list(host.configs)
    drops = {name: DropKey.of(i, step, slice(0, 2)) for i, name in enumerate(names)}
    ids = token_ids(2 * len(names))
    with host.using(rows_of(dict.fromkeys(names, 2), None, drops, compiled=compiles)):
        logits = host.model(ids).logits
    next_token_loss(logits, ids).backward()
    gradients = [g for name in names for g in take_gradients(host, name).values()]
    return [logits.detach(), *gradients]


@pytest.mark.slow
def test_eight_trials_of_one_shape_on_all_layers_share_one_graph_with_the_steps_that_follow():
    host = pack(8)
    # Below the first adapter nothing has a gradient, and the first layer would be another graph.
    host.model.get_input_embeddings().register_forward_hook(lambda *of: of[-1].requires_grad_())
    counters.clear()
    for step in range(2):
        found = answer(host, compiles=True, step=step)
        assert counters["stats"]["unique_graphs"] == 1
        assert_near(found, answer(host, compiles=False, step=step), 1e-12)


@pytest.mark.slow
def test_a_pack_of_all_variants_answers_and_learns_compiled_as_uncompiled():
    host = AdapterHost(tiny_base("mixtral"))
    for seed, (name, config) in enumerate(SIX.items()):
        add_random(host, name, config, seed)
    assert_near(answer(host, compiles=True), answer(host, compiles=False), 1e-12)


def test_what_does_not_compile_says_so_once_and_runs_as_it_is(monkeypatch: pytest.MonkeyPatch):
    def fails(*_args: Any, **_kwargs: Any) -> Any:
        raise torch._dynamo.exc.TorchDynamoException("no such operation\nand more")

    monkeypatch.setattr(compiled.torch, "compile", lambda *_args, **_kwargs: fails)
    host = pack(2)
    with pytest.warns(
        UserWarning, match=r"perft.adapters.routed runs uncompiled: no such operation and more$"
    ) as w:
        found = answer(host, compiles=True)
    assert len(w) == 1
    assert_near(found, answer(host, compiles=False), 0.0)
