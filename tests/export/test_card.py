"""What a card says is true: its lines generate, its metadata are the hub's, its example is one."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from markdown_it import MarkdownIt

import perft
from perft.api.exporting import export_trial
from perft.checkpoint.adapter import adapter_files
from perft.config import AdapterConfig
from perft.errors import ConfigError
from perft.export import Score
from perft.export.card import model_card
from perft.export.extras import Extras, Prompt
from perft.export.front_matter import license_of, require_license
from perft.export.prompt import extras_of_task
from perft.injection import AdapterHost
from perft.selection import confirmed, result_line, write_results
from perft.storage import Storage
from perft.tasks import Example, OwnTask, TaskSource, dataset_ids, load_task, to_record
from pretend import ADAPTERS, SETTINGS, search_of_six, search_of_six_confirmed

SOURCE = TaskSource(name="arithmetic", validation_size=20)
PICKED = search_of_six_confirmed()[3]
SCORES = [Score(split="validation", correct=340, scored=400, low=0.811, high=0.8817)]


def train_by_chance(config: AdapterConfig, base: perft.Base) -> dict[str, bytes]:
    """The folder of an adapter that changes what the base says."""
    host = AdapterHost(base.model)
    host.add("it", config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in host.tensors("it").values():
            tensor += 0.3 * torch.randn(tensor.shape, generator=generator)
    record = to_record(SOURCE, load_task(SOURCE).fingerprint)
    return adapter_files(config, host.tensors("it"), base=None, trained_on=record)


@pytest.fixture(params=[1, 3], ids=["perft-r", "lora-qv"])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A routed and a LoRA adapter, exported from a search on the built-in base."""
    number = request.param
    search = Storage(str(tmp_path)).child("first")
    search.write("search.json", json.dumps(SETTINGS).encode())
    search.write("time.json", json.dumps({"seconds": 1800.0, "gpu_seconds": 7200.0}).encode())
    results = search_of_six()
    write_results(search, map(result_line, results))
    for name, data in train_by_chance(ADAPTERS[number], perft.load_base()).items():
        search.write(f"adapters/{number:04d}/{name}", data)
    return export_trial(search, results[number], tmp_path / "out")


def code_of(card: str) -> list[str]:
    return [token.content for token in MarkdownIt().parse(card) if token.info == "python"]


def run(code: str, folder: Path) -> str:
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(code.replace("path/to/this/folder", str(folder)), {})
    return said.getvalue().strip()


@pytest.mark.filterwarnings("ignore")  # of transformers' pipeline
def test_all_three_ways_generate_what_the_adapter_says(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    with_perft, with_peft, with_pipeline = code_of(card)
    said = run(with_perft, exported)
    assert said
    assert run(with_peft, exported) == said
    assert run(with_pipeline, exported) == said
    alone = "\n".join(line for line in with_perft.splitlines() if "load_adapter" not in line)
    assert run(alone, exported) != said
    assert ("perft.hf_peft" in with_peft) == (exported_variant(exported) == "perft-r")


def exported_variant(folder: Path) -> str:
    return json.loads((folder / "trial.json").read_text())["trial"]["config"]["variant"]


def test_a_card_of_a_search_has_prompt_licence_and_cost(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    example = load_task(SOURCE).validation.examples[0]
    assert example.prompt in card
    assert example.completion in card
    assert ascii(example.prompt) in card
    assert ModelCard(card).data.license == "apache-2.0", "the built-in base's"
    assert "took 0.5 hours, 2 GPU hours (measured" in card


def test_lines_for_a_base_and_a_repository_of_the_hub() -> None:
    settings = SETTINGS | {"base_model": "allenai/OLMoE-1B-7B-0924"}
    card = model_card(PICKED, settings, SCORES, extras=Extras(repo="me/adapter"))
    with_perft, with_peft, with_pipeline = code_of(card)
    base = "'allenai/OLMoE-1B-7B-0924'"
    for code in (with_perft, with_pipeline):
        assert f"perft.load_base({base})" in code
        assert "perft.load_adapter(base.model, snapshot_download('me/adapter'))" in code
    assert f"AutoModelForCausalLM.from_pretrained({base}, dtype='auto')" in with_peft
    assert "PeftModel.from_pretrained(model, 'me/adapter')" in with_peft
    assert "import perft" not in with_peft, "peft loads a LoRA alone"


def test_lines_for_a_quantised_base_load_one() -> None:
    card = model_card(PICKED, SETTINGS | {"base_model": "a/b", "quantize": "int8"}, SCORES)
    with_perft, _with_peft, with_pipeline = code_of(card)
    for code in (with_perft, with_pipeline):
        assert "perft.load_base('a/b', quantize='int8')" in code
    assert "`a/b` in int8," in card
    assert "--quantize int8` scores it again" in card
    builtin = model_card(PICKED, SETTINGS | {"quantize": "nf4"}, SCORES)
    assert "perft.load_base(quantize='nf4')" in builtin
    assert "quantize" not in model_card(PICKED, SETTINGS | {"quantize": "none"}, SCORES)


def test_the_hub_reads_every_score() -> None:
    again = confirmed(search_of_six_confirmed())[3]
    card = ModelCard(
        model_card(PICKED, SETTINGS, SCORES, again=again, extras=Extras(datasets=("a/b",)))
    )
    assert (card.data.pipeline_tag, card.data.datasets) == ("text-generation", ["a/b"])
    name, results = model_index_to_eval_results(card.data.to_dict()["model-index"])
    assert name == "first-0003-lora-qv"
    assert [(each.metric_type, each.metric_value) for each in results] == [
        ("accuracy", 0.85), ("accuracy", pytest.approx(298 / 400)),
    ]  # fmt: skip
    assert results[0].metric_name == "accuracy (95% interval 0.8110 to 0.8817)"
    assert results[1].metric_name.startswith("accuracy (mean of 3 other seeds, 95% interval 0.")


def test_a_task_without_answers_reports_its_loss() -> None:
    reports = [dataclasses.replace(each, correct=0, scored=0) for each in PICKED.reports]
    picked = dataclasses.replace(PICKED, reports=tuple(reports))
    data = ModelCard(model_card(picked, SETTINGS, [])).data
    assert [(each.metric_type, each.metric_value) for each in data.eval_results] == [("loss", 1.0)]


def test_seeds_are_named() -> None:
    results = [
        dataclasses.replace(
            each,
            config=dataclasses.replace(
                each.config,
                training=dataclasses.replace(each.config.training, seed=100 + each.number),
            ),
        )
        for each in search_of_six_confirmed()
    ]
    card = model_card(results[3], SETTINGS, SCORES, again=confirmed(results)[3])
    assert "Trained with seed 103." in card
    assert "These trainings (seeds 112, 113, 114) chose nothing." in card


def test_hours_that_were_not_noted_are_not_invented() -> None:
    assert "did not note how long" in model_card(PICKED, SETTINGS, SCORES)
    card = model_card(PICKED, SETTINGS, SCORES, extras=Extras(seconds=36.0))
    assert "took 0.01 hours, on CPUs alone (measured" in card
    assert "Energy was not measured" in card


HOSTILE = "a\n```\n# owned\n<script>alert(1)</script>\n````\x1b[31m"


def test_a_prompt_is_shown_as_it_is_and_adds_nothing() -> None:
    example = Example(HOSTILE, HOSTILE, "x")
    prompt = Prompt(template=HOSTILE, protocol=HOSTILE, max_new_tokens=3, example=example)
    card = model_card(PICKED, SETTINGS, SCORES, extras=Extras(prompt=prompt))
    tokens = MarkdownIt("commonmark", {"html": True}).parse(card)
    assert not any(token.content == "owned" for token in tokens)
    assert not [token for token in tokens if token.type == "html_block"]
    shown = [token.content for token in tokens if token.type == "fence" and not token.info]
    assert shown == [HOSTILE.replace("\x1b", r"\x1b") + "\n"] * 3
    assert "\x1b" not in card
    for code in code_of(card):
        compile(code, "card", "exec")


def test_a_prompt_of_a_chat_template_gets_no_further_special_tokens() -> None:
    """Whose text has them: many tokenizers would add a second beginning of sequence."""
    for is_rendered in (True, False):
        example = Example("<s>[INST] hi [/INST]", " ho</s>", "ho", is_rendered=is_rendered)
        prompt = Prompt(template="", protocol="exact", max_new_tokens=8, example=example)
        snippets = code_of(model_card(PICKED, SETTINGS, SCORES, extras=Extras(prompt=prompt)))
        assert [code.count("add_special_tokens") for code in snippets] == [is_rendered] * 3
        for code in snippets:
            compile(code, "card", "exec")


def test_no_example_is_shown_if_the_user_wants_none(tmp_path: Path) -> None:
    rows = [{"q": f"secret {i}", "a": str(i)} for i in range(20)]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    own = OwnTask(
        name="mine", train=tmp_path / "train.json", prompt="{q}?", answer="a", scorer="exact"
    )
    record = to_record(TaskSource(name="mine", validation_size=4, own=own.to_json()), "d" * 64)
    shown = extras_of_task(record, tmp_path).prompt
    assert shown
    assert shown.example
    assert (shown.template, shown.max_new_tokens) == ("{q}?", 32)
    hidden = extras_of_task(record, tmp_path, with_example=False)
    card = model_card(PICKED, SETTINGS, SCORES, extras=hidden)
    assert "{q}?" in card
    assert "secret" not in card
    assert extras_of_task(record, tmp_path / "elsewhere") == Extras()
    assert extras_of_task(None, tmp_path) == Extras()


def test_datasets_are_those_of_the_hub(tmp_path: Path) -> None:
    def own(train: str, test: str | None) -> TaskSource:
        flat = {"train": train, "test": test, "scorer": "exact"}
        return TaskSource(name="mine", own=flat)

    assert dataset_ids(own("org/name:config[train]", "org/name[test]")) == ("org/name",)
    assert dataset_ids(own("/data/train.jsonl", None)) == ()
    assert dataset_ids(own(f"{tmp_path}:x", "a/b")) == ("a/b",)
    assert dataset_ids(TaskSource(name="boolq", data="hub")) == ("google/boolq",)
    assert len(dataset_ids(TaskSource(name="commonsense", data="hub"))) > 5
    assert dataset_ids(TaskSource(name="boolq", data="/data")) == ()
    assert dataset_ids(TaskSource(name="arithmetic")) == ()


def test_a_licence_is_the_bases_where_its_card_is_here(tmp_path: Path) -> None:
    assert license_of(None) == "apache-2.0"
    assert license_of(str(tmp_path)) is None
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# x\n")
    assert license_of(str(tmp_path)) == "mit"
    for damaged in (
        "---\nlicense: [a, b]\n---\n",
        "---\nlicense: 'a\\nb: c'\n---\n",
        "---\n{\n---\n",
    ):
        (tmp_path / "README.md").write_text(damaged)
        assert license_of(str(tmp_path)) is None, damaged
    assert license_of("nobody/nothing") is None
    require_license("cc-by-4.0")
    with pytest.raises(ConfigError, match="wanted an identifier of the hub"):
        require_license("my own\nlicence")
