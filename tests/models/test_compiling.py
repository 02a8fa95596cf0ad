"""A base that is compiled in regions answers and learns as it does uncompiled, hooks included.

By default with the backend that compiles nothing but traces everything (`aot_eager`): it proves
where hooks act and what is compiled again. The same with Inductor is `slow`. In float32 losses and
gradients agree to 1e-5 of the largest entry (measured: 7e-7).
"""

import functools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from contracts.bases import every_family_but, tiny_base
from contracts.packs import TEN
from perft.errors import ConfigError
from perft.forward import AdapterBatch, TokenizedExample, pack_losses
from perft.injection import AdapterHost
from perft.models import compilers, compiling
from perft.models.compiling import (
    compilation_of,
    compile_regions,
    gradient_from_embeddings,
    uncompiled,
)
from perft.models.load import load_base

pytestmark = pytest.mark.filterwarnings("ignore")  # torch warns of what it traces

BOUND = 1e-5
Found = tuple[dict[str, float], dict[str, Tensor]]

# What of the families does not compile, by kind of module.
# Whose backward pass the tracing backend gets wrong, and Inductor does not.
DELTA_NET = ("qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next", "qwen4_exp", "qwen4_exp_text")
SEQ2SEQ = ("switch_transformers", "nllb-moe")
RUNS_UNCOMPILED = {"dbrx": {"DbrxExperts"}, "longcat_flash": {"LongcatFlashExperts"}}


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Regions are traced and not compiled."""
    real = functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(
        compiling.torch, "compile", lambda *args, options, **kwargs: real(*args, **kwargs)
    )
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture(params=["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def backend(request: pytest.FixtureRequest) -> None:
    """Regions are traced alone, or compiled."""
    torch._dynamo.reset()
    if request.param != "inductor":
        request.getfixturevalue("traced")


def host_of(family: str, *, compiled: bool) -> AdapterHost:
    model = tiny_base(family, torch.float32)
    if compiled:
        compile_regions(model).static = True
    return AdapterHost(model)


def rows(count: int = 3, length: int = 9) -> list[TokenizedExample]:
    rng = np.random.default_rng(0)
    return [(rng.integers(3, 50, length).astype(np.int32), 1) for _ in range(count)]


def step(host: AdapterHost, names: list[str]) -> Found:
    """Losses and gradients of a pass in which each adapter has three rows."""
    with gradient_from_embeddings(host.model):
        found = pack_losses(host, 0, {name: AdapterBatch(rows()) for name in names})
    torch.stack(list(found.loss.values())).sum().backward()
    gradients = {}
    for name in names:
        for key, tensor in host.tensors(name).items():
            assert tensor.grad is not None, f"{name}: {key}"
            gradients[f"{name}: {key}"], tensor.grad = tensor.grad, None
    return {name: float(loss.detach()) for name, loss in found.loss.items()}, gradients


def assert_close(found: Found, wanted: Found) -> None:
    assert found[0] == pytest.approx(wanted[0], rel=BOUND)
    assert found[1].keys() == wanted[1].keys()
    for key, gradient in wanted[1].items():
        scale = float(gradient.abs().max()) or 1.0
        assert float((found[1][key] - gradient).abs().max()) <= BOUND * scale, key


def add(host: AdapterHost, names: list[str]) -> None:
    """Puts adapters of TEN on, drawn so that every tensor has a gradient."""
    for seed, name in enumerate(names):
        host.add(name, TEN[name].adapter, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        for tensor in host.tensors(name).values():
            tensor.data.normal_(0, 0.2, generator=generator)


def graphs() -> int:
    count: int = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    return count


@pytest.mark.parametrize("family", ["olmoe", "mixtral"])
def test_every_variant_learns_as_uncompiled_also_when_it_joins_later(
    family: str, backend: None
) -> None:
    eager, compiled = host_of(family, compiled=False), host_of(family, compiled=True)
    for names in (["s"], list(TEN)[:6], list(TEN)):
        for host in (eager, compiled):
            add(host, [name for name in names if name not in host.configs])
        assert_close(step(compiled, names), step(eager, names))
    compilation = compilation_of(compiled.model)
    assert compilation is not None
    assert compilation.failures == {}


def test_trials_join_and_leave_without_compiling_again(traced: None) -> None:
    host = host_of("olmoe", compiled=True)
    add(host, ["s", "r"])
    torch._dynamo.utils.counters.clear()
    step(host, ["s", "r"])
    first = graphs()
    host.remove("s")
    add(host, ["e", "lora-router"])
    for names in (["r", "e"], ["e", "lora-router"], ["lora-router", "r"]):
        step(host, names)
    assert first > 0
    assert graphs() == first


def test_adapters_inside_a_region_are_heard_and_leave_it_compiled_for_others(backend: None) -> None:
    eager, compiled = host_of("olmoe", compiled=False), host_of("olmoe", compiled=True)
    for host in (eager, compiled):
        add(host, ["s", "lora-qv", "lora-attention"])
    for names in (["lora-qv"], ["s"], ["s", "lora-attention"]):
        assert_close(step(compiled, names), step(eager, names))
    torch._dynamo.utils.counters.clear()
    step(compiled, ["s"])
    assert graphs() == 0


@every_family_but(*SEQ2SEQ, *DELTA_NET)
def test_every_family_compiles_or_says_what_does_not(
    family: str, traced: None, capsys: pytest.CaptureFixture[str]
) -> None:
    eager, compiled = host_of(family, compiled=False), host_of(family, compiled=True)
    for host in (eager, compiled):
        add(host, ["r", "s"])
    assert_close(step(compiled, ["r", "s"]), step(eager, ["r", "s"]))
    compilation = compilation_of(compiled.model)
    assert compilation is not None
    assert len(compilation.regions) > len(compiled.blocks)
    assert compilation.failures.keys() == RUNS_UNCOMPILED.get(family, set())
    said = capsys.readouterr().out
    for kind in compilation.failures:
        assert f"{kind} of this base runs uncompiled: " in said


@pytest.mark.slow
def test_a_base_with_linear_attention_compiles() -> None:
    torch._dynamo.reset()
    eager, compiled = host_of("qwen3_next", compiled=False), host_of("qwen3_next", compiled=True)
    for host in (eager, compiled):
        add(host, ["r", "s"])
    assert_close(step(compiled, ["r", "s"]), step(eager, ["r", "s"]))
    compilation = compilation_of(compiled.model)
    assert compilation is not None
    assert compilation.failures == {}


def test_passes_with_a_cache_and_those_that_are_to_run_uncompiled_do(
    traced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_base("olmoe", torch.float32)
    ids = torch.arange(3, 12).unsqueeze(0)
    wanted = model(ids).logits
    compile_regions(model)
    torch._dynamo.utils.counters.clear()
    with torch.no_grad(), uncompiled(model):
        torch.testing.assert_close(model(ids).logits, wanted)
    assert graphs() == 0
    with torch.no_grad():
        out = model.generate(ids, max_new_tokens=3, do_sample=False)
    assert out.shape == (1, 12)


def test_the_backward_pass_of_a_checkpointed_layer_leaves_the_regions_in_place(
    traced: None,
) -> None:
    from perft.models.blocks import decoder_layers
    from perft.models.checkpointing import recomputed

    host = host_of("deepseek_v3", compiled=True)  # whose first layer is a region as a whole
    add(host, ["s"])
    before = [vars(layer).get("forward") for layer in decoder_layers(host.model)]
    wanted = step(host, ["s"])
    with recomputed(decoder_layers(host.model), host.checkpoint_contexts):
        assert_close(step(host, ["s"]), wanted)
    assert [vars(layer).get("forward") for layer in decoder_layers(host.model)] == before
    assert before[0] is not None


def test_nothing_is_compiled_on_a_cpu_unless_it_is_asked_for() -> None:
    assert compilation_of(load_base().model) is None


def test_what_cannot_be_compiled_with_is_said_before_the_base_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compilers.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, as g\+\+.*--no-compile"):
        load_base("no such base", compile=True)
