"""A search on the built-in base with one real adapter, as `perft export` finds it."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from perft.api.exporting import export_trial
from perft.checkpoint.adapter import adapter_files
from perft.config import AdapterConfig
from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.searching.settings import SearchSettings
from perft.selection import result_line, write_results
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, tracker_of
from perft.trial import TrialResult
from pretend import SETTINGS, trial

PROMPTS = [
    "Tom has 3 boxes with 4 apples each. How many apples does he have?\n",
    "2 + 3 =",
    "A shop sells 5 pens",
]


def search_with(folder: Path, adapter: AdapterConfig) -> tuple[Storage, TrialResult]:
    """A search with one full-length trial, whose adapter changes what the base writes."""
    search = Storage(str(folder)).child("first").prepare()
    base = load_base()
    host = AdapterHost(base.model)
    host.add("a", adapter, seed=0)
    generator = torch.Generator().manual_seed(0)
    for tensor in host.tensors("a").values():
        tensor.data.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    files = adapter_files(adapter, host.tensors("a"), base="built-in", fingerprint=base.fingerprint)
    result = trial(1, correct=300, adapter=adapter)
    for name, data in files.items():
        search.write(f"adapters/0001/{name}", data)
    settings = {**SETTINGS, "base_fingerprint": base.fingerprint, "tracking_uri": ""}
    search.write("search.json", json.dumps(settings).encode())
    write_results(search, [result_line(result)])
    return search, result


def exported(folder: Path, adapter: AdapterConfig) -> Path:
    """The exported folder of `search_with`."""
    search, result = search_with(folder / "searches", adapter)
    return export_trial(search, result, folder / "adapter")


def record(search: Storage, result: TrialResult, uri: str) -> None:
    """Records the search in MLflow."""
    settings = SearchSettings.read(search)
    recorder = Recorder.start(
        Tracking(
            tracker=tracker_of("mlflow"), place=uri, folder=search, name=settings.name,
            params=settings.to_json(), tell=print, later=lambda: "perft sync",
        )
    )  # fmt: skip
    recorder.start_trial(result.number, result.config)
    assert result.size is not None
    for one in result.reports:
        recorder.report(result.number, result.size, one)
    recorder.end_trial(result, "adapters/0001")
    recorder.finish("FINISHED", front=[result.number])
    assert recorder.close()


def written_by(folder: Path, prompts: list[str], new: int) -> list[str]:
    """What transformers' own greedy generation writes, with the adapter by `load_adapter`."""
    import perft

    base = perft.load_base()
    perft.load_adapter(base.model, folder)
    found = []
    for prompt in prompts:
        ids = base.tokenizer(prompt, return_tensors="pt").input_ids
        out = base.model.generate(ids, max_new_tokens=new, do_sample=False)
        found.append(base.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))
    return found


def loaded(model: str) -> Any:
    """What MLflow loads from a folder or URI; importing `mlflow.pyfunc` warns of its own types."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow.pyfunc

        return mlflow.pyfunc.load_model(model)
