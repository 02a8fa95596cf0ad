"""The examples and the guide run as they stand, and do what they say."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def saved_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_trains_and_saves_the_adapter_alone(path: Path, tmp_path: Path):
    names: dict[str, Any] = runpy.run_path(str(path), run_name="__main__")
    assert names["losses"][-1] < 0.6 * names["losses"][0]
    adapter = tmp_path / "sums-adapter"
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        p.name for p in adapter.iterdir()
    }
    trainable = 19584 * 4
    assert trainable < saved_bytes(adapter) < trainable + 4096


def test_checkpoints_by_way_of_peft_hold_the_adapter_alone(tmp_path: Path):
    runpy.run_path(str(DOCS / "examples" / "with_peft.py"), run_name="__main__")
    for step in (15, 30):
        assert saved_bytes(tmp_path / "checkpoints" / f"checkpoint-{step}") < 100_000


def test_guide_links_every_example():
    linked = re.findall(r"\(examples/(\w+\.py)\)", (DOCS / "library.md").read_text())
    assert sorted(linked) == [path.name for path in EXAMPLES]


def test_code_of_the_guide_runs_from_top_to_bottom(tmp_path: Path):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "library.md").read_text(), re.S)
    script = tmp_path / "guide.py"
    script.write_text("\n".join(blocks))
    names = runpy.run_path(str(script))
    assert names["logits"].shape[0] == 4
    assert saved_bytes(tmp_path / "by-peft" / "second") == saved_bytes(tmp_path / "mine-adapter")
