"""The importance of parameters, on trials of which it is known what mattered."""

import dataclasses
import random

from perft.config import DenseConfig, LoraQVConfig, SingleConfig, TrainingConfig
from perft.selection.importance import (
    FEWEST,
    SHOWN,
    Importance,
    importance_table,
    importances,
)
from perft.selection.plots.importance import importance_png
from perft.trial import AdapterSize, Origin, Report, TrialConfig, TrialResult

TRAINING = TrainingConfig(lr=1e-3, max_steps=100, warmup_steps=10, max_length=64)


def trial(number, *, adapter, lr, loss, activated=1000, step=100, scored=100):
    found = Report(
        step=step,
        train_loss=loss,
        val_loss=loss,
        correct=round(scored * max(0.0, 1.0 - loss)),
        scored=scored,
        lr=lr,
        tokens_per_second=1.0,
    )
    return TrialResult(
        number=number,
        config=TrialConfig(adapter, dataclasses.replace(TRAINING, lr=lr)),
        outcome="complete" if step == 100 else "pruned",
        reports=(found,),
        size=AdapterSize(trainable=activated, activated=activated, base_activated=10**6),
    )


def of_rate(count, **options):
    """Trials of which the rate alone decides how good they are."""
    draws = random.Random(0)
    trials = []
    for number in range(count):
        rank, share = draws.choice((2, 4, 8)), draws.random()
        trials.append(
            trial(
                number,
                adapter=SingleConfig(rank=rank),
                lr=1e-3 * 30**share,
                loss=abs(share - 0.7),
                **options,
            )
        )
    return trials


def shares(results):
    return {each.parameter: each for each in importances(results)}


def test_confirmations_do_not_count():
    drawn = of_rate(32)
    again = [
        dataclasses.replace(each, number=32 + i, origin=Origin(kind="confirm", trial=each.number))
        for i, each in enumerate(drawn[:8])
    ]
    assert importances([*drawn, *again]) == importances(drawn)


def test_the_table_and_the_picture_show_the_most_important():
    found = importances(of_rate(32))
    assert importance_table(found).row_count == len(found)
    assert importance_png(found, r"<b>x</b> $\frac$").startswith(b"\x89PNG")
    many = [Importance(parameter=f"${i}", accuracy=0.05, front=0.05) for i in range(20)]
    assert importance_table(many).row_count == SHOWN
    assert importance_png(many, "many")


def test_what_decides_the_accuracy_is_most_important():
    found = shares(of_rate(64))
    assert found["lr"].accuracy > 0.8
    assert found["lr"].accuracy > found["rank"].accuracy


def test_shares_add_up_to_one_and_the_greatest_comes_first():
    found = importances(of_rate(40))
    assert abs(sum(each.accuracy for each in found) - 1) < 1e-9
    assert abs(sum(each.front for each in found) - 1) < 1e-9
    assert found == sorted(found, key=lambda each: -each.front)


def test_the_accuracy_asks_for_large_adapters_and_the_front_has_small_ones_too():
    draws = random.Random(1)
    trials = []
    for number in range(80):
        rank, share = draws.choice((2, 16)), draws.random()
        trials.append(
            trial(
                number,
                adapter=SingleConfig(rank=rank),
                lr=1e-3 * 30**share,
                loss=0.2 + 0.5 * abs(share - 0.7) - (0.1 if rank == 16 else 0.0),
                activated=100 * rank,
            )
        )
    found = shares(trials)
    assert found["rank"].accuracy > 3 * found["rank"].front


def test_a_parameter_that_does_not_vary_is_left_out():
    assert "variant" not in shares(of_rate(20))


def test_parameters_of_some_variants_alone_are_weighed():
    draws = random.Random(2)
    trials = []
    for number in range(60):
        experts, share = draws.choice((2, 4)), draws.random()
        dense = number % 2 == 0
        loss = 0.1 * share + (0.6 if dense and experts == 2 else 0.1)
        adapter = DenseConfig(rank=2, num_experts=experts) if dense else LoraQVConfig(rank=2)
        trials.append(trial(number, adapter=adapter, lr=1e-3 * 30**share, loss=loss))
    assert {"variant", "num_experts", "lr"} <= shares(trials).keys()


def test_stopped_trials_count():
    trials = of_rate(24)
    stopped = [
        dataclasses.replace(each, outcome="pruned", reports=each.reports) for each in trials[:16]
    ]
    cut = [
        dataclasses.replace(each, reports=(dataclasses.replace(each.reports[0], step=50),))
        for each in stopped
    ]
    assert shares([*cut, *trials[16:]])["lr"].accuracy > 0.5


def test_the_loss_counts_where_answers_are_not_scored():
    assert shares(of_rate(40, scored=0))["lr"].accuracy > 0.8


def test_few_trials_say_nothing():
    assert importances(of_rate(FEWEST - 1)) == []
    assert len(importances(of_rate(FEWEST))) == 2


def test_the_same_results_give_the_same_importances():
    assert importances(of_rate(40)) == importances(of_rate(40))


def test_the_spaces_own_parameters_are_weighed_where_they_are_known():
    trials = [
        dataclasses.replace(each, params={"rate": each.config.training.lr, "same": 1})
        for each in of_rate(24)
    ]
    assert shares(trials).keys() == {"rate"}


def test_repetitions_with_other_seeds_do_not_count():
    trials = of_rate(24)
    repeated = [
        dataclasses.replace(each, number=24 + each.number, origin=Origin(kind="confirm", trial=0))
        for each in trials[:5]
    ]
    assert importances([*trials, *repeated]) == importances(trials)
