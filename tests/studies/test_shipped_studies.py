"""The studies that perft brings: their designs can be trained, and their parts fit together."""

import pytest

from perft.injection import AdapterHost
from perft.models.load import load_base
from perft.searching.sampling.points import drafts_at
from perft.searching.space import Draw, find_space, spaces
from perft.studies import MAX_SEEDS, Curves, Forgets, Methods, Published, Routers

STUDIES = [name for name in spaces() if find_space(name).study is not None]


def test_there_are_some() -> None:
    assert {"bottleneck", "sparsity", "baselines", "paper"} <= set(STUDIES)


@pytest.mark.parametrize("name", STUDIES)
def test_its_points_are_all_trials_of_its_design_seed_by_seed(name: str) -> None:
    space = find_space(name)
    design = space.study.design
    for builtin in (True, False):
        drafts = drafts_at(Draw(space, builtin, 5), space.points)
        assert len({str(draft.config) for draft in drafts}) == MAX_SEEDS * design.cells
        seeds = [draft.config.training.seed for draft in drafts]
        assert seeds == sorted(seeds)
        assert set(seeds) == set(range(5, 5 + MAX_SEEDS))
    assert space.num_trials == 3 * design.cells


@pytest.fixture(scope="module")
def host() -> AdapterHost:
    return AdapterHost(load_base().model)


@pytest.mark.parametrize("name", STUDIES)
def test_every_adapter_fits_the_built_in_base(name: str, host: AdapterHost) -> None:
    for adapter in find_space(name).study.design.adapters.values():
        assert host.size(adapter).activated > 0


@pytest.mark.parametrize("name", STUDIES)
def test_it_speaks_of_adapters_of_its_design_alone_and_of_all(name: str) -> None:
    study = find_space(name).study
    if isinstance(study, Curves):
        named = [each for series in study.series for each in series.adapters.values()]
        assert all(list(each.adapters) == sorted(each.adapters) for each in study.series)
    elif isinstance(study, Published):
        named = [row.cell.adapter for row in study.rows]
        assert {each for claim in study.claims for each in claim} <= set(named)
        assert {row.cell.rate for row in study.rows} == set(study.design.rates)
    elif isinstance(study, Routers):
        named = [*study.learned, study.frozen]
    else:
        assert isinstance(study, Methods | Forgets)
        named = [each for adapters in study.methods.values() for each in adapters]
        fixed = study.fixed.values() if isinstance(study, Methods) else ()
        assert {cell.adapter for cell in fixed} <= set(named)
        assert study.reference in study.methods
    assert set(named) == set(study.design.adapters)


def test_the_curves_of_sparsity_keep_what_they_say(host: AdapterHost) -> None:
    trained, activated, both = find_space("sparsity").study.series
    adapters = find_space("sparsity").study.design.adapters
    width = [a.num_experts * a.rank for a in (adapters[n] for n in trained.adapters.values())]
    assert set(width) == {32}
    width = [a.top_k * a.rank for a in (adapters[n] for n in activated.adapters.values())]
    assert set(width) == {8}
    for name in both.adapters.values():
        adapter = adapters[name]
        assert (adapter.num_experts * adapter.rank, adapter.top_k * adapter.rank) == (32, 8)
