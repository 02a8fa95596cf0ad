"""One AdamW per adapter: as torch's own, clipped on its own, and restored exactly."""

import pytest
import torch
from torch import Tensor, nn

from perft.config import TrainingConfig
from perft.training.optimizer import AdapterOptimizer

CONFIG = TrainingConfig(lr=1e-2, weight_decay=0.1, clip_norm=0.5)


def tensors(seed: int = 0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return {
        key: nn.Parameter(torch.randn(shape, generator=generator))
        for key, shape in {"a": (3, 4), "b": (2, 3)}.items()
    }


def give_gradients(parameters: dict[str, nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for parameter in parameters.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def steps(
    optimizer: AdapterOptimizer, parameters: dict[str, nn.Parameter], which: range
) -> dict[str, Tensor]:
    for step in which:
        give_gradients(parameters, step)
        optimizer.step(1e-2 / (step + 1))
    return {key: parameter.detach().clone() for key, parameter in parameters.items()}


def test_steps_are_those_of_plain_adamw_with_clipping() -> None:
    mine, plain = tensors(), tensors()
    found = steps(AdapterOptimizer(mine, CONFIG), mine, range(5))
    adamw = torch.optim.AdamW(plain.values(), lr=1.0, weight_decay=0.1, foreach=False)
    for step in range(5):
        give_gradients(plain, step)
        total = torch.sqrt(sum((p.grad**2).sum() for p in plain.values()))
        for parameter in plain.values():
            parameter.grad *= min(1.0, float(0.5 / total))
        adamw.param_groups[0]["lr"] = 1e-2 / (step + 1)
        adamw.step()
    for key, parameter in plain.items():
        torch.testing.assert_close(found[key], parameter.detach(), rtol=1e-5, atol=1e-6)


def test_gradients_are_cleared_by_a_step_and_by_skipping_one() -> None:
    parameters = tensors()
    optimizer = AdapterOptimizer(parameters, CONFIG)
    for finish in (lambda: optimizer.step(1e-2), optimizer.skip):
        give_gradients(parameters, 0)
        finish()
        assert all(parameter.grad is None for parameter in parameters.values())


def test_skipping_changes_nothing() -> None:
    parameters = tensors()
    before = {key: parameter.detach().clone() for key, parameter in parameters.items()}
    optimizer = AdapterOptimizer(parameters, CONFIG)
    give_gradients(parameters, 0)
    optimizer.skip()
    assert optimizer.state() == {}
    assert all(torch.equal(parameters[key], before[key]) for key in before)


def test_a_tensor_without_a_gradient_counts_as_zeros() -> None:
    parameters = tensors()
    optimizer = AdapterOptimizer(parameters, CONFIG)
    parameters["a"].grad = torch.ones(3, 4)
    assert [float(gradient.sum()) for gradient in optimizer.gradients()] == [12.0, 0.0]


@pytest.mark.parametrize("split", [1, 4])
def test_going_on_from_a_saved_state_is_exact(split: int) -> None:
    whole = tensors()
    expected = steps(AdapterOptimizer(whole, CONFIG), whole, range(8))

    first = tensors()
    optimizer = AdapterOptimizer(first, CONFIG)
    values = steps(optimizer, first, range(split))
    moments = {key: moment.clone() for key, moment in optimizer.state().items()}
    assert sorted(moments) == ["exp_avg:a", "exp_avg:b", "exp_avg_sq:a", "exp_avg_sq:b"]

    second = {key: nn.Parameter(value) for key, value in values.items()}
    optimizer = AdapterOptimizer(second, CONFIG)
    optimizer.load_state(moments, split)
    found = steps(optimizer, second, range(split, 8))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert all(torch.equal(optimizer.state()[k], optimizer.state()[k]) for k in moments)
