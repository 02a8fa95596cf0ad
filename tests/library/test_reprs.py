"""What a user looks at says in one line what it is."""

import perft
from perft import RoutedConfig, SingleConfig, TrainingConfig, TrialConfig
from perft.searching.space import find_space
from pretend import search_of_six


def test_a_base_and_its_host() -> None:
    base = perft.load_base()
    assert repr(base).startswith("<Base built-in: OlmoeForCausalLM, ")
    assert f"{base.activated:,} activated per token" in repr(base)
    host = perft.AdapterHost(base.model)
    assert repr(host) == "<AdapterHost on OlmoeForCausalLM: no adapter>"
    host.add("mine", SingleConfig(rank=2))
    host.add("other", RoutedConfig(rank=2, num_experts=4, top_k=2))
    host.activate("other")
    assert repr(host) == (
        "<AdapterHost on OlmoeForCausalLM: 'mine' (perft-s), 'other' (perft-r, active)>"
    )


def test_a_configuration_is_what_makes_it() -> None:
    config = TrialConfig(
        RoutedConfig(rank=8, num_experts=4, top_k=2, dropout=0.1), TrainingConfig(lr=5e-3)
    )
    assert repr(config) == (
        "TrialConfig(RoutedConfig(rank=8, dropout=0.1, num_experts=4, top_k=2), "
        "TrainingConfig(lr=0.005))"
    )
    assert eval(repr(config)) == config


def test_results_and_spaces() -> None:
    for result in search_of_six():
        text = repr(result)
        assert text.startswith(f"<TrialResult number={result.number}, outcome={result.outcome!r}")
        assert "\n" not in text
    assert repr(find_space("arithmetic")) == (
        "SearchSpace(task='arithmetic', suggest=suggest, num_trials=20, rungs=3)"
    )
