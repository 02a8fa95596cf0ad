"""Batches are as large as a GPU's memory, smaller where that was too much, and leave nothing."""

import gc
import weakref

import pytest
import torch
from rows_to_write import Use, host_with, ragged, written

from contracts.adapters import SIX
from perft.evaluation import growing
from perft.evaluation.decoding import rows_at_once
from perft.models.capture import Capture, Step
from perft.models.kv_cache import cache_size


def test_rows_are_as_many_as_a_gpu_has_memory_for(monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_with("olmoe", SIX)
    row = cache_size(host.model).of_row(20)
    host.activate("perft-s")  # asking the base its size follows no layout or adapter
    monkeypatch.setattr(type(host.model), "device", torch.device("cuda"))
    free = {
        "mem_get_info": (50 * row, 0),
        "memory_reserved": 70 * row,
        "memory_allocated": 20 * row,
    }
    for name, value in free.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, value=value: value)
    assert rows_at_once(host, 20, 0.5, most=1000) == 50
    assert rows_at_once(host, 20, 0.5, most=30) == 30
    assert rows_at_once(host, 20, 0.001, most=30) == 1


@pytest.mark.parametrize("capture", [None, lambda step: step])
def test_rows_that_do_not_fit_the_memory_go_in_smaller_batches(
    use: Use, monkeypatch: pytest.MonkeyPatch, capture: Capture | None
) -> None:
    host = host_with("olmoe", SIX)
    openings = ragged(["perft-s", "perft-r"], 9)
    use(capture)
    expected = written(host, openings)
    tried: list[int] = []

    def limited(_model: object, _args: object, given: dict) -> None:
        tried.append(len(given["input_ids"]))
        if tried[-1] > 2:
            raise torch.OutOfMemoryError("no memory")

    host.model.register_forward_pre_hook(limited, with_kwargs=True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert written(host, openings) == expected
    assert max(tried) > 2


def test_prompts_of_a_growing_batch_are_those_of_one_pass(
    use: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = host_with("olmoe", SIX)
    openings = ragged(["perft-s", "perft-r"], 9)
    use(None)
    expected = written(host, openings)
    monkeypatch.setattr(growing, "PROMPT_TOKENS", 20)
    tokens: list[int] = []
    host.model.register_forward_pre_hook(
        lambda _model, _args, given: tokens.append(given["input_ids"].numel()), with_kwargs=True
    )
    assert written(host, openings) == expected
    assert 10 < max(tokens) <= 20


def test_memory_that_holds_no_row_is_an_error(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_with("olmoe", SIX)
    use(None)

    def none(*_: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    host.model.register_forward_pre_hook(none)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    with pytest.raises(torch.OutOfMemoryError):
        written(host, ragged(["perft-s"]))


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
