"""Decoding in fixed memory, captured or not, writes what decoding with a growing cache does."""

import numpy as np
import pytest
import torch
from rows_to_write import Use, host_with, limit_tokens, ragged, uncaptured, written

from contracts.adapters import SIX
from contracts.bases import FAMILIES
from contracts.packs import TEN, tiny_pack
from contracts.recording import Recording, WaitsError
from perft.evaluation import Opening, buckets, fixed, predict
from perft.models.capture import GraphCapture, Step
from perft.models.compiling import compile_regions
from perft.models.families import FAMILIES as SUPPORTED
from perft.models.kv_cache import allows_fixed_cache
from perft.models.skeleton import skeleton_of
from perft.models.tiny import tiny_config
from perft.ranks import Ranks


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and columns at a time, so that all there is happens to a few short rows."""
    monkeypatch.setattr(buckets, "COLUMNS", 4)
    limit_tokens(monkeypatch, 40 * 24)
    monkeypatch.setattr(fixed.FixedCacheDecoder, "steps_between_checks", 3)


def can_be_fixed(family: str) -> bool:
    return allows_fixed_cache(skeleton_of(tiny_config(family)))


FIXED = [
    family
    for family in sorted(SUPPORTED)
    if not SUPPORTED[family].encoder_decoder and can_be_fixed(family)
]


def test_families_whose_cache_is_more_than_keys_and_values_go_on_growing() -> None:
    assert {"olmoe", "mixtral", "qwen3_moe", "deepseek_v3", "glm4_moe"} <= set(FIXED)
    others = ("jetmoe", "gpt_oss", "qwen3_next", "gemma4", "deepseek_v4", "zaya", "llama4_text")
    assert not set(others) & set(FIXED)


def test_a_base_with_a_window_goes_on_growing() -> None:
    assert not allows_fixed_cache(skeleton_of(tiny_config("mixtral", sliding_window=8)))


@pytest.mark.parametrize(
    "family",
    [
        pytest.param(
            family,
            marks=() if family in (*FAMILIES, "deepseek_v3") else pytest.mark.families,
        )
        for family in FIXED
    ],
)
def test_rows_are_written_as_with_a_growing_cache(family: str, use: Use) -> None:
    host = host_with(family)
    openings = ragged([*host.configs, None])
    use(None)
    expected = written(host, openings)
    for capture in (uncaptured, recording := Recording()):
        use(capture)
        assert written(host, openings) == expected
    assert recording.captured >= 2, "one bucket shows little"
    assert recording.replayed > 2 * recording.captured
    lengths = {len(row) for rows in expected.values() for row in rows}
    assert len(lengths) > 3, "rows end at different steps, or the test shows little"


def test_neither_rows_nor_neighbours_nor_passes_change_a_row(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_with("olmoe", SIX)
    openings = ragged([*SIX, None], most=11)
    use(None)
    expected = written(host, openings)
    use(uncaptured)
    for tokens in (1, 100, 10_000):
        limit_tokens(monkeypatch, tokens)
        for every in (1, 5, 100):
            monkeypatch.setattr(fixed.FixedCacheDecoder, "steps_between_checks", every)
            assert written(host, openings) == expected
    for name, rows in openings.items():
        assert written(host, {name: rows})[name] == expected[name]
        turned = written(host, {name: rows[::-1], "perft-e" if name is None else None: rows[:1]})
        assert turned[name][::-1] == expected[name]


def test_prompts_of_one_token_need_no_pass_of_their_own(use: Use) -> None:
    host = host_with("olmoe", SIX)
    openings = {"perft-s": [Opening(np.array([n], dtype=np.int32), n) for n in (3, 5, 9)]}
    use(None)
    expected = written(host, openings)
    use(uncaptured)
    tokens: list[int] = []
    host.model.register_forward_pre_hook(
        lambda _model, _args, given: tokens.append(given["input_ids"].shape[1]), with_kwargs=True
    )
    assert written(host, openings) == expected
    assert set(tokens) == {1}


def test_buckets_shrink_as_rows_end(use: Use) -> None:
    host = host_with("olmoe", SIX)
    rows = [Opening(np.array([5, 9 + i], dtype=np.int32), 1 + 6 * (i % 8 == 0)) for i in range(16)]
    openings = {"perft-s": rows, "perft-r": rows[:9]}
    use(None)
    expected = written(host, openings)
    seen: list[int] = []

    def watch(step: Step) -> Step:
        def run() -> None:
            seen.append(step.layout.rows)  # type: ignore[attr-defined]
            step()

        return run

    use(watch)
    assert written(host, openings) == expected
    assert seen[0] == 32
    assert set(seen) >= {32, 4}
    assert seen == sorted(seen, reverse=True)


def test_a_batch_leaves_nothing_to_the_next(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even where an adapter's numbers are none, and masked columns hold what they left."""
    host = host_with("olmoe", {name: SIX[name] for name in ("perft-s", "perft-d")})
    for tensor in host.tensors("perft-d").values():
        tensor.data.fill_(float("nan"))
    openings = {"perft-s": ragged([None, "perft-s"], 9)["perft-s"] * 3}
    use(None)
    expected = written(host, openings)["perft-s"]
    use(uncaptured)
    limit_tokens(monkeypatch, 80)
    beside = {**openings, "perft-d": openings["perft-s"]}
    assert written(host, beside)["perft-s"] == expected


def test_adapters_trained_between_two_calls_are_read_anew(use: Use) -> None:
    host = host_with("olmoe", SIX)
    openings = ragged(["perft-s"], 9)
    use(Recording())
    before = written(host, openings)
    for tensor in host.tensors("perft-s").values():
        tensor.data.mul_(-2.0)
    after = written(host, openings)
    assert after != before
    use(None)
    assert written(host, openings) == after


def test_a_pack_is_scored_alike(use: Use) -> None:
    pack = tiny_pack(experts="batched_mm")
    for name in ("r", "s", "lora-qv"):
        pack.admit(name, TEN[name])
    pack.train(dict.fromkeys(pack.running, 6))
    split, found = pack.task.validation, []
    for capture in (None, uncaptured, Recording()):
        use(capture)
        found.append(
            predict(
                pack.host,
                list(pack.running),
                split,
                prompts=pack.rows.prompts(split),
                tokenizer=pack.base.tokenizer,
                ranks=Ranks(),
            )
        )
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_what_waits_for_the_device_cannot_be_recorded() -> None:
    flag = torch.zeros(3)
    for waits in (
        lambda: flag.sum().item(),
        lambda: flag.nonzero(),
        lambda: flag[flag > 0],
        lambda: flag.add_(torch.tensor(1.0)),
        lambda: flag.__setitem__(flag > 0, flag[0]),
    ):
        run = Recording()(waits)
        run()
        with pytest.raises(WaitsError):
            run()


def test_a_number_put_where_a_mask_is_can_be_recorded() -> None:
    """On a GPU torch leaves the number on the host and fills, which waits for nothing."""
    values = torch.zeros(3)
    run = Recording()(lambda: values.__setitem__(values > 0, 5.0))
    run()
    run()
    values.copy_(torch.tensor([1.0, 0.0, 2.0]))
    run()
    assert values.tolist() == [5.0, 0.0, 5.0]


@pytest.mark.filterwarnings("ignore")  # torch warns of what it traces
def test_nothing_is_compiled_for_the_shapes_of_batches(use: Use) -> None:
    host = host_with("olmoe", SIX)
    openings = ragged(["perft-s", None])
    use(None)
    expected = written(host, openings)
    compile_regions(host.model)
    torch._dynamo.utils.counters.clear()
    for capture in (None, uncaptured):
        use(capture)
        assert written(host, openings) == expected
    assert not torch._dynamo.utils.counters["stats"]["unique_graphs"]


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["olmoe", "mixtral", "deepseek_v3"])
def test_a_gpu_replays_graphs_and_writes_what_it_writes_without(family: str, use: Use) -> None:
    host = host_with(family, SIX)  # LoRA on the experts has no kernel in fp64, and waits
    host.model.to("cuda")
    openings = ragged([*host.configs, None])
    use(None)
    expected = written(host, openings)
    passes: list[object] = []
    host.model.register_forward_hook(lambda *_: passes.append(1))
    counted: list[int] = []

    def counting(step: Step) -> Step:
        run = graphs(step)

        def count() -> None:
            counted.append(1)
            run()

        return count

    graphs = GraphCapture()
    use(counting)
    assert written(host, openings) == expected
    assert len(passes) < len(counted), "most steps run without Python"
