"""What is fetched of a hub id is what is loaded, whatever else its repository holds."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects

from contracts.bases import save_base, tiny_base
from models.odd_bases import edit, in_two_files
from perft.errors import BaseModelError
from perft.models import hub
from perft.models.rehearsal import rehearse
from perft.models.source import base_directory, check_base

OTHERS = (
    "original/model.safetensors", "original/config.json", "original/dtypes.json", "metal/model.bin",
    "consolidated.safetensors", "consolidated-00001-of-00002.safetensors", "params.json",
    "model.fp16.safetensors", "model-00003-of-00002.safetensors", "pytorch_model.bin",
    "pytorch_model.bin.index.json", "onnx/model.onnx", "onnx/config.json", "tf_model.h5",
    "adapter_config.json", "adapter_model.safetensors", "modeling_theirs.py", "README.md",
    "fp8/model.safetensors", "gguf/q4.gguf", "LICENSE.txt", "USAGE_POLICY", "training_args.bin",
)  # fmt: skip
READ = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}


class FakeHub:
    """A repository of files, of which a cache gets those that are asked for."""

    def __init__(self, repository: Path, cache: Path) -> None:
        self.repository, self.cache = repository, cache
        self.revisions: list[str | None] = []

    def config(self, _base: str, name: str) -> str:
        return f"{self.fetch([name])}/{name}"

    def snapshot(
        self, _base: str, *, allow_patterns: list[str], revision: str | None = None
    ) -> str:
        self.revisions.append(revision)
        return self.fetch(allow_patterns)

    def fetch(self, patterns: list[str]) -> str:
        files = [p for p in self.repository.rglob("*") if p.is_file()]
        names = [str(p.relative_to(self.repository)) for p in files]
        for name in filter_repo_objects(names, allow_patterns=patterns):
            (self.cache / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.repository / name, self.cache / name)
        return str(self.cache)

    @property
    def fetched(self) -> set[str]:
        return {str(p.relative_to(self.cache)) for p in self.cache.rglob("*") if p.is_file()}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    repository = save_base(tiny_base("mixtral", torch.float32), tmp_path / "repository")
    for name in OTHERS:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("{}")
    found = FakeHub(repository, tmp_path / "a-commit")
    monkeypatch.setattr(hub, "hf_hub_download", found.config)
    monkeypatch.setattr(hub, "snapshot_download", found.snapshot)
    return found


def test_one_file_of_weights(fake: FakeHub):
    assert base_directory("owner/name") == fake.cache
    assert fake.fetched == {*READ, "model.safetensors"}
    rehearse("owner/name")


def test_the_files_that_the_index_names(fake: FakeHub):
    in_two_files(fake.repository)
    base_directory("owner/name")
    index = json.loads((fake.repository / "model.safetensors.index.json").read_text())
    assert fake.fetched == {*READ, "model.safetensors.index.json", *index["weight_map"].values()}
    assert fake.revisions == [None, "a-commit"]  # both of one commit


def test_a_check_fetches_the_configuration_alone(fake: FakeHub):
    check_base("owner/name")
    assert fake.fetched == {"config.json"}


def test_nothing_is_fetched_of_a_format_that_is_not_read(fake: FakeHub):
    edit(fake.repository, quantization_config={"quant_method": "awq", "bits": 4})
    with pytest.raises(BaseModelError, match="quantised with awq"):
        base_directory("owner/name")
    assert fake.fetched == {"config.json"}


def test_a_repository_of_pickled_weights_is_refused(fake: FakeHub):
    (fake.repository / "model.safetensors").unlink()
    with pytest.raises(BaseModelError, match="pickled weights are refused"):
        base_directory("owner/name")
    assert "pytorch_model.bin" not in fake.fetched
