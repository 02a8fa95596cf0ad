"""The front as a picture and as a Plotly figure: the same points."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from perft.selection import wilson
from perft.selection.plots.front import front_png
from perft.selection.plots.interactive import front_figure
from pretend import BASE, SCORED, search_of_six, trial


def test_the_figure_has_the_front_the_variants_and_the_pruned() -> None:
    traces = {trace.name: trace for trace in front_figure(search_of_six(), BASE).data}
    assert set(traces) == {
        "Pareto front", "perft-s", "perft-r", "perft-d", "lora-qv", "pruned, at its last report",
        "base alone: 10.0% (7.4-13.3)",
    }  # fmt: skip
    assert list(traces["Pareto front"].x) == [1000, 4000, 40000]
    assert list(traces["Pareto front"].text) == ["0", "1 knee", "3 best"]
    routed = traces["perft-r"]
    low, high = wilson(300, SCORED)
    assert list(routed.y) == [75.0]
    assert list(routed.error_y.array) == pytest.approx([100 * high - 75])
    assert list(routed.error_y.arrayminus) == pytest.approx([75 - 100 * low])
    assert "activated 4,000 (0.2% of the base)" in routed.text[0]
    assert list(traces["base alone: 10.0% (7.4-13.3)"].y) == [10.0, 10.0]


def test_a_point_that_is_moved_aside_tells_the_truth() -> None:
    results = [trial(0, correct=300, activated=7777), trial(6, correct=200, activated=7777)]
    (_, points) = front_figure(results).data
    assert points.x[0] == 7777
    assert points.x[1] != 7777
    assert all("activated 7,777 " in text for text in points.text)


def test_picture_is_drawn(tmp_path: Path) -> None:
    path = tmp_path / "pareto.png"
    path.write_bytes(front_png(search_of_six(), "first"))
    pixels = imread(path)
    assert pixels.shape[:2] == (750, 1200)
    assert len({tuple(colour) for colour in pixels.reshape(-1, pixels.shape[2])[:, :3]}) > 5
    assert front_png(search_of_six(), "first", BASE) != path.read_bytes()


def test_a_title_is_text_in_both() -> None:
    title = r"<b>x</b> $\frac$ <script>alert(1)</script>"
    assert "<" not in front_figure(search_of_six(), title=title).layout.title.text
    assert front_png(search_of_six(), title)
