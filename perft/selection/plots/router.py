"""The router load of a trial: which share of the tokens each PEFT expert received."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from perft.selection.confirm import merits
from perft.selection.front import pareto_front
from perft.selection.plots.style import COLOURS, FRONT, new_axes
from perft.trial import TrialResult


def best_routed(results: Sequence[TrialResult]) -> TrialResult | None:
    """The best trial of the front that has a PEFT router; None if none has."""
    worth = merits(results)
    routed = [
        trial
        for trial in pareto_front(results)
        if trial.number in worth and trial.last and trial.last.router_load
    ]
    return max(routed, key=lambda trial: worth[trial.number], default=None)


def draw_router_load(trial: TrialResult) -> Figure:
    """The figure of a trial with a PEFT router: one bar for each expert, by its last report."""
    assert trial.last is not None, "a trial of the front has a report"
    load = [100 * share for share in trial.last.router_load]
    figure, axes = new_axes(height=3.2)
    axes.bar(range(len(load)), load, color=COLOURS[trial.config.adapter.variant], width=0.8)
    balanced = sum(load) / len(load)
    axes.axhline(
        balanced, color=FRONT, linestyle="--", linewidth=1, label=f"equal: {balanced:.3g}%"
    )
    axes.set(xlabel="PEFT expert", ylabel="share of the tokens (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=False, axis="x")
    axes.legend(frameon=False, fontsize="small")
    return figure
