"""The page of a search: all plots in one HTML file that works offline.

The figures are SVG drawn by matplotlib; a script of some lines shows a trial in all of them at once
and tells its exact values. The page loads nothing, and its policy allows no script but that one:
names and values, which may come from anyone, are text wherever they stand.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from importlib.resources import files

from matplotlib.figure import Figure

from perft.base_score import BaseScore
from perft.errors import printable
from perft.selection.front import pareto_front, size_and_report
from perft.selection.importance import importances
from perft.selection.interval import format_base, format_score
from perft.selection.pick import picks
from perft.selection.plots.curves import draw_curves
from perft.selection.plots.facts import facts, varied
from perft.selection.plots.front import draw_front
from perft.selection.plots.importance import draw_importance
from perft.selection.plots.parallel import draw_parallel
from perft.selection.plots.router import best_routed, draw_router_load
from perft.selection.plots.style import to_svg
from perft.selection.table import describe
from perft.trial import TrialResult

_MOST = 400
"""Trials on a page, which keeps it under a megabyte."""

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
{body}
<div id="tip" hidden></div>
<script type="application/json" id="facts">{facts}</script>
<script>
{script}</script>
</body>
</html>
"""


def to_html(results: Sequence[TrialResult], title: str, base: BaseScore | None = None) -> str:
    """The page; the same search gives the same text.

    Args:
        results: all trials of a search.
        title: of the page.
        base: the score of the base alone; None if it was not scored.
    """
    results, summary = _shown(results), _summary(results, base)
    picked, settings = picks(results), varied(results)
    told = {t.number: facts(t, settings, picked.get(t.number, "")) for t in results}
    script, style = _part("page.js"), _part("page.css")
    return _PAGE.format(
        policy=_policy(script),
        title=_escaped(title),
        style=style,
        summary=_escaped(summary),
        body="\n".join([_front(results, base), *_others(results), _same(results)]),
        # In JSON, "<" stands in strings alone; escaped, no string can end the element.
        facts=json.dumps(told, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Only this script may run, and nothing may be loaded."""
    digest = hashlib.sha256(f"\n{script}".encode()).digest()
    code = base64.b64encode(digest).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{code}'"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _shown(results: Sequence[TrialResult]) -> list[TrialResult]:
    """The trials of the page: all, or those of the front and then the longest, by number."""
    front = {trial.number for trial in pareto_front(results)}
    ranked = sorted(
        results,
        key=lambda trial: (
            trial.number not in front,
            -(trial.last.step if trial.last else 0),
            trial.number,
        ),
    )
    return sorted(ranked[: max(_MOST, len(front))], key=lambda trial: trial.number)


def _summary(results: Sequence[TrialResult], base: BaseScore | None) -> str:
    outcomes = [trial.outcome for trial in results]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in ("complete", "pruned", "failed"))
    trials = "trial" if len(results) == 1 else "trials"
    alone = f" The base alone: {format_base(base)}." if base else ""
    left_out = (
        f" The {_MOST} that trained the longest are shown, and all of the front."
        if len(results) > _MOST
        else ""
    )
    return f"{len(results)} {trials}: {counts}.{alone}{left_out}"


def _front(results: Sequence[TrialResult], base: BaseScore | None) -> str:
    if not (front := pareto_front(results)):
        return "<p>No trial ran to its full length, so there is no front.</p>"
    told = (
        "Trials with 95% intervals; those of one size lie side by side. Point at a trial to see it "
        "in every figure, click to keep it."
    )
    picked = picks(results)
    rows = "\n".join(_row(trial, picked[trial.number]) for trial in front)
    table = (
        '<table>\n<tr><th class="number">trial</th><th>result</th><th class="number">activated</th>'
        f"<th>configuration</th><th>pick</th></tr>\n{rows}\n</table>"
    )
    return _section("Pareto front", told, draw_front(results, base=base), "front") + table


def _row(trial: TrialResult, pick: str) -> str:
    size, report = size_and_report(trial)
    return (
        f'<tr data-trial="{trial.number}"><td class="number">{trial.number}</td>'
        f'<td>{_escaped(format_score(report))}</td><td class="number">{size.activated:,}</td>'
        f"<td>{_escaped(describe(trial.config))}</td><td>{_escaped(pick)}</td></tr>"
    )


def _others(results: Sequence[TrialResult]) -> list[str]:
    """The other figures, as far as the trials say anything."""
    found = []
    if curves := draw_curves(results):
        told = (
            "Validation loss at every report. Trials of the front are thick, stopped ones faint, "
            "confirmations dotted."
        )
        found.append(_section("Learning curves", told, curves, "curves"))
    if coordinates := draw_parallel(results):
        told = "One line a trial: its parameters, its size, its score. The darker, the better."
        found.append(_section("Parameters", told, coordinates, "parameters"))
    if mattered := importances(results):
        told = "How much each parameter mattered."
        figure = draw_importance(mattered)
        found.append(_section("Importance of parameters", told, figure, "importance"))
    if routed := best_routed(results):
        told = f"Trial {routed.number}, the best of the front with a router of its own."
        found.append(_section("Router load", told, draw_router_load(routed), "router"))
    return found


def _same(results: Sequence[TrialResult]) -> str:
    """The settings that all trials share, which the pointer does not tell."""
    differ = varied(results)
    flat = {name: value for trial in results for name, value in trial.config.to_flat().items()}
    same = ", ".join(f"{name} {value}" for name, value in flat.items() if name not in differ)
    return f"<h2>The same in all trials</h2>\n<p>{_escaped(same)}</p>"


def _section(heading: str, told: str, figure: Figure, name: str) -> str:
    return f"<h2>{heading}</h2>\n<p>{told}</p>\n<figure>{to_svg(figure, name)}</figure>\n"
