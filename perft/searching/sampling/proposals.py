"""Makes the study of a search that begins: its sampler, what is tried first, and what is known."""

from collections.abc import Sequence

from optuna.storages import BaseStorage

from perft.searching.prepare import SearchPlan
from perft.searching.sampling.points import draft_at, drafts_at
from perft.searching.sampling.sampler import Sampler, Sampling
from perft.searching.sampling.samplers import make_sampler
from perft.searching.sampling.sizes import Sizes, within
from perft.searching.sampling.study import OptunaStudy
from perft.searching.sampling.warm_start import Earlier, kept_earlier
from perft.searching.space import Draw


def study_of(plan: SearchPlan, storage: BaseStorage | None) -> OptunaStudy:
    """The study of a search that begins.

    Args:
        plan: the search.
        storage: Optuna's; None for memory.
    """
    settings = plan.settings
    sampler = make_sampler(
        settings.sampler,
        Sampling(
            draw=plan.draw,
            size=Sizes(settings.base_model),
            allows=within(settings.max_activated),
            objective=settings.objective,
            max_steps=settings.max_steps,
            seed=settings.seed,
        ),
    )
    earlier = kept_earlier(plan.search)
    tell_earlier(sampler, plan.draw, earlier)
    points = [*plan.draw.space.points, *(point for each in earlier for point in each.points())]
    return OptunaStudy(
        plan.draw,
        sampler,
        storage,
        settings.name,
        objective=settings.objective,
        points=drafts_at(plan.draw, points),
    )


def tell_earlier(sampler: Sampler, draw: Draw, earlier: Sequence[Earlier]) -> None:
    """Tells a sampler of the trials of earlier searches that are evidence.

    Their numbers are below 0: they are not trials of this search.
    """
    results = [result for each in earlier if each.is_evidence for result in each.results]
    for index, result in enumerate(results):
        number = -1 - index
        sampler.given(number, draft_at(draw, result.params))
        for report in result.reports:
            sampler.reported(number, report)
        sampler.ended(number, result.outcome)
