"""The exported folder: whole or absent, and explaining itself."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from perft.errors import ConfigError, StorageError
from perft.export import Score, export_adapter
from perft.storage import Storage
from perft.trial import TrialResult
from pretend import SETTINGS, adapter_files, search_of_six, store_adapters

SCORES = [
    Score(split="validation", correct=340, scored=400, low=0.811, high=0.8817),
    Score(split="addsub", correct=12, scored=395, low=0.0174, high=0.0523),
]


@pytest.fixture
def search(tmp_path: Path) -> Storage:
    folder = Storage(str(tmp_path)).child("searches/first")
    store_adapters(folder, search_of_six())
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "exports" / "best"


def export(search: Storage, out: Path, number: int = 3, **settings: object) -> Path:
    picked = search_of_six()[number]
    force = bool(settings.pop("force", False))
    return export_adapter(search, picked, SETTINGS | settings, out, scores=SCORES, force=force)


def front_matter(folder: Path) -> dict[str, object]:
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


def test_folder_holds_the_adapter_as_it_was_trained(search: Storage, out: Path):
    assert export(search, out) == out
    assert {file.name for file in out.iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json", "README.md", "trial.json",
        "MLmodel", "requirements.txt", "python_env.yaml", "input_example.json",
    }  # fmt: skip
    for name, data in adapter_files(3).items():
        assert (out / name).read_bytes() == data
    assert [path.name for path in out.parent.iterdir()] == ["best"], "something was left beside it"


def test_what_lies_beside_a_lora_goes_with_it(search: Storage, out: Path):
    search.write("adapters/0003/perft.json", b"{}")
    export(search, out)
    assert (out / "perft.json").read_bytes() == b"{}"
    search.delete("adapters/0003/perft.json")
    assert not (export(search, out, force=True) / "perft.json").exists()


def test_record_holds_the_trial_and_no_private_place(search: Storage, out: Path):
    record = json.loads((export(search, out) / "trial.json").read_text())
    assert TrialResult.from_json(record["trial"]) == search_of_six()[3]
    assert record["search"]["data_fingerprint"] == SETTINGS["data_fingerprint"]
    for file in out.iterdir():
        assert b"secret" not in file.read_bytes()
        assert b"/somewhere" not in file.read_bytes()


def test_places_of_this_machine_go_by_their_names(search: Storage, out: Path):
    places = {"space": "/home/me/mine.py", "data": "/data/llm", "base_model": "/models/olmoe"}
    export(search, out, **places)
    for file in ("trial.json", "README.md"):
        assert not any(place in (out / file).read_text() for place in places.values())
    assert json.loads((out / "trial.json").read_text())["search"]["space"] == "mine.py"
    card = (out / "README.md").read_text()
    assert "--task arithmetic --base-model <path of olmoe> --data <path of llm>`" in card
    assert "perft.load_base('path/to/olmoe')" in card


def test_card_says_where_the_adapter_comes_from(search: Storage, out: Path):
    card = (export(search, out) / "README.md").read_text()
    for fact in (
        "lora-qv adapter for the built-in tiny OLMoE base of perft",
        "| validation | 85.00% | 81.10% to 88.17% | 340 of 400 |",
        "| addsub | 3.04% | 1.74% to 5.23% | 12 of 395 |",
        "80,000 trainable parameters; one token uses 40,000 of them, 2% of the 2,000,000",
        "| rank | 8 |",
        "| lr | 0.005 |",
        f"| data fingerprint | {SETTINGS['data_fingerprint']} |",
        f"| base fingerprint | {SETTINGS['base_fingerprint']} |",
        f"| MLflow run | {3:032x} |",
        '| versions | {"torch": "2.13.0"} |',
    ):
        assert fact in card, fact
    assert "None" not in card


def test_front_matter_is_what_model_hubs_read(search: Storage, out: Path):
    matter = front_matter(export(search, out, 1, base_model="allenai/OLMoE-1B-7B-0924"))
    assert matter["base_model"] == "allenai/OLMoE-1B-7B-0924"
    assert matter["base_model_relation"] == "adapter"
    assert (matter["library_name"], matter["pipeline_tag"]) == ("perft", "text-generation")
    results = matter["model-index"][0]["results"]
    assert [result["dataset"]["name"] for result in results] == ["validation", "addsub"]
    assert results[0]["metrics"][0] == {
        "type": "accuracy", "value": 0.85, "name": "accuracy (95% interval 0.8110 to 0.8817)",
    }  # fmt: skip
    lora = front_matter(export(search, out, 3, force=True))
    assert lora["library_name"] == "peft", "a LoRA loads without perft"


@pytest.mark.parametrize("base", [None, "/models/olmoe", "./olmoe"])
def test_front_matter_names_no_base_that_is_not_on_a_hub(
    search: Storage, out: Path, base: str | None
):
    assert "base_model" not in front_matter(export(search, out, base_model=base))


@pytest.mark.parametrize("base", [None, "allenai/OLMoE-1B-7B-0924"])
def test_loading_lines_name_what_there_is(search: Storage, out: Path, base: str | None):
    card = (export(search, out, base_model=base) / "README.md").read_text()
    lines = re.search(r"```python\n(.*?)```", card, re.S)[1]
    ast.parse(lines)
    assert f"load_base({base!r})" in lines if base else "load_base()" in lines


def test_an_earlier_export_is_replaced_only_by_force(search: Storage, out: Path):
    export(search, out, 0)
    with pytest.raises(StorageError, match="earlier export; replace it with --force"):
        export(search, out)
    assert (out / "adapter_model.safetensors").read_bytes() == b"weights of 0"
    export(search, out, force=True)
    assert (out / "adapter_model.safetensors").read_bytes() == b"weights of 3"
    assert [path.name for path in out.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_folder_with_anything_else_is_never_touched(
    search: Storage, out: Path, force: bool, earlier: bool
):
    if earlier:
        export(search, out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "thesis.tex").write_text("ten years of work")
    with pytest.raises(StorageError, match=r"not empty.*choose an empty or new folder"):
        export(search, out, 1, force=force)
    assert (out / "thesis.tex").read_text() == "ten years of work"


def test_an_empty_folder_is_filled(search: Storage, out: Path):
    out.mkdir(parents=True)
    assert (export(search, out) / "README.md").exists()


def test_nothing_is_left_of_an_export_that_fails(
    search: Storage, out: Path, monkeypatch: pytest.MonkeyPatch
):
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if path.name == "trial.json":
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="No space left"):
        export(search, out)
    assert list(out.parent.iterdir()) == []


def test_a_missing_adapter_is_named(search: Storage, out: Path):
    search.delete("adapters/0003")
    with pytest.raises(StorageError, match=r"adapters/0003/adapter_model\.safetensors"):
        export(search, out)
    assert not out.exists()


def test_a_file_in_the_way_is_named(search: Storage, out: Path):
    out.parent.mkdir()
    out.write_text("")
    with pytest.raises(StorageError, match="no folder to export to"):
        export(search, out)


HOSTILE = "x`](http://evil) | <script>alert(1)</script>\n---\n# owned\n\x1b[31m{{7}} 'quoted'"


@pytest.mark.parametrize("address", ["s3://user:secret@bucket/best", "gs:/bucket", "file:///best"])
def test_an_address_is_not_taken_for_a_folder(search: Storage, address: str):
    with pytest.raises(ConfigError, match="give a folder of this machine") as refused:
        export(search, Path(address))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("field", ["name", "task", "base_model", "space", "data"])
def test_no_name_adds_anything_to_a_card(search: Storage, out: Path, field: str):
    plain = (export(search, out, **{field: "plain"}) / "README.md").read_text()
    card = (export(search, out, force=True, **{field: HOSTILE}) / "README.md").read_text()
    assert card.count("\n---\n") == plain.count("\n---\n")
    assert card.count("\n#") == plain.count("\n#")
    assert len(card.splitlines()) == len(plain.splitlines())
    assert "\x1b" not in card
    matter, page = card.removeprefix("---\n").split("\n---\n", 1)
    assert {"library_name", "tags", "model-index"} <= set(yaml.safe_load(matter))
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(page)
    assert not [token for token in tokens if token.type == "html_block"]
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token for token in inline if token.type in ("html_inline", "link_open")]


def test_a_card_says_whether_a_test_split_was_scored(search: Storage, out: Path):
    assert "test splits were scored once." in (export(search, out) / "README.md").read_text()
    picked = search_of_six()[3]
    export_adapter(search, picked, SETTINGS, out, scores=SCORES[:1], force=True)
    card = (out / "README.md").read_text()
    assert "no test split was scored." in card
    assert "scored once" not in card
