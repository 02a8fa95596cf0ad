"""The notebook of the documents runs from top to bottom in Jupyter's kernel."""

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


def texts(cell: Any, kind: str) -> list[str]:
    """What a cell shows, of one kind: "text/html", or "stream"."""
    if kind == "stream":
        return [output.text for output in cell.outputs if output.output_type == "stream"]
    return [output.data[kind] for output in cell.outputs if kind in output.get("data", {})]


def test_the_notebook_searches_shows_and_uses_what_it_found(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    client = NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    space, search, results, plot, picked, host, answers = (
        cell for cell in notebook.cells if cell.cell_type == "code"
    )
    assert "SearchSpace(task='arithmetic'" in texts(space, "text/plain")[0]

    (table,) = texts(search, "text/html")  # replaced in place, hence one
    assert table.startswith("<pre")
    assert "4/4 trials" in table
    assert "complete" in table
    lines = "".join(texts(search, "stream"))
    assert "] search notebook in " in lines
    assert not any(output.get("name") == "stderr" for output in search.outputs), search.outputs

    assert "Results of notebook: 4 trials" in texts(results, "text/html")[0]
    assert any("plotly" in kind for output in plot.outputs for kind in output.data)
    assert texts(picked, "text/plain")[0].count("TrialResult") == 2
    assert "'adapter' (" in texts(host, "text/plain")[0]
    said = "".join(texts(answers, "stream"))
    assert said.index("with the adapter:") < said.index("without:") < said.index("label:")
    assert (tmp_path / "best-adapter" / "adapter_config.json").is_file()
