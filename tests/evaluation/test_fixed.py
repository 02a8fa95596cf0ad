"""Decoding in fixed memory, captured or not, writes what decoding with a growing cache does."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from contracts.adapters import EVERY, SIX, add_random, possible
from contracts.bases import FAMILIES, VOCABULARY, tiny_base
from contracts.packs import TEN, tiny_pack
from contracts.recording import Recording, WaitsError
from perft.evaluation import Opening, fixed, generate, predict
from perft.evaluation.decoding import Openings
from perft.evaluation.fixed import few
from perft.injection import AdapterHost
from perft.models.capture import Capture, Step
from perft.models.families import FAMILIES as SUPPORTED
from perft.models.kv_cache import allows_fixed_cache
from perft.models.skeleton import skeleton_of
from perft.models.tiny import tiny_config
from perft.ranks import Ranks

PAD, EOS = 0, 1

Use = Callable[[Capture | None], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Chooses how steps are captured here; None is the way of CPUs."""

    def choose(capture: Capture | None) -> None:
        monkeypatch.setattr("perft.models.capture.capture_for", lambda _device: capture)

    return choose


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows and columns at a time, so that all there is happens to a few short rows."""
    monkeypatch.setattr(fixed, "COLUMNS", 4)
    monkeypatch.setattr(fixed, "TOKENS_PER_FORWARD", 40 * 24)
    monkeypatch.setattr(fixed.Fixed, "steps_between_checks", 3)


def uncaptured(step: Step) -> Step:
    return step


def host_with(family: str, some: dict = EVERY) -> AdapterHost:
    model = tiny_base(family, torch.float64)
    model.set_experts_implementation("batched_mm")  # which need not wait for the device
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[EOS] = head[2:12].mean(0) * 5  # rows end at different steps
    host = AdapterHost(model)
    for seed, (name, config) in enumerate(possible(host, some).items()):
        add_random(host, name, config, seed)
    return host


def ragged(names: list[str | None], most: int = 7) -> Openings:
    """Rows of lengths and rooms that differ, of every adapter another number of them."""
    rng = np.random.default_rng(5)
    return {
        name: [
            Opening(
                rng.integers(2, VOCABULARY, rng.integers(1, 9)).astype(np.int32),
                int(rng.integers(1, 13)),
            )
            for _ in range(1 + (3 * n) % most)
        ]
        for n, name in enumerate(names)
    }


def written(host: AdapterHost, openings: Openings) -> dict:
    return generate(host, openings, pad=PAD, eos=EOS, ranks=Ranks())


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
        monkeypatch.setattr(fixed, "TOKENS_PER_FORWARD", tokens)
        for every in (1, 5, 100):
            monkeypatch.setattr(fixed.Fixed, "steps_between_checks", every)
            assert written(host, openings) == expected
    for name, rows in openings.items():
        assert written(host, {name: rows})[name] == expected[name]
        turned = written(host, {name: rows[::-1], "perft-e" if name is None else None: rows[:1]})
        assert turned[name][::-1] == expected[name]


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
    monkeypatch.setattr(fixed, "TOKENS_PER_FORWARD", 80)
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


def test_memory_is_free_as_soon_as_all_is_written(use: Use) -> None:
    held: list[weakref.ref] = []

    def watch(step: Step) -> Step:
        held.append(weakref.ref(step.new_RN))  # type: ignore[attr-defined]
        return step

    use(watch)
    host = host_with("olmoe", SIX)
    gc.collect()
    gc.disable()
    try:
        written(host, ragged(["perft-s"]))
        assert held
        assert all(each() is None for each in held)
    finally:
        gc.enable()


def test_what_waits_for_the_device_cannot_be_recorded() -> None:
    flag = torch.zeros(3)
    for waits in (
        lambda: flag.sum().item(),
        lambda: flag.nonzero(),
        lambda: flag[flag > 0],
        lambda: flag.add_(torch.tensor(1.0)),
    ):
        run = Recording()(waits)
        run()
        with pytest.raises(WaitsError):
            run()


@given(st.integers(1, 5000))
def test_sizes_are_few_and_their_halves_are_among_them(rows: int) -> None:
    assert rows <= few(rows) <= max(rows, 1.25 * rows)
    assert few(few(rows)) == few(rows)
    if few(rows) % 2 == 0:
        assert few(few(rows) // 2) == few(rows) // 2
