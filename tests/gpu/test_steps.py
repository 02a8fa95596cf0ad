"""A training step on a GPU: compiled, captured, packed and repeated it is the same, and the CPU's.

Every variant and form, on families of three kinds of block, in both dtypes.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
from steps import (
    CPU,
    FAMILIES,
    GPU,
    Taken,
    Watched,
    alone,
    assert_alike,
    bits_after,
    pack_on,
    steps_of,
    trials_of,
)
from torch import nn

from contracts.adapters import randomize
from contracts.packs import advance, apart, copied
from perft.models.compiling import compilation_of, uncompiled
from perft.training.pack import Pack

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore"),  # torch warns of what it compiles
]

DTYPES = (torch.float32, torch.bfloat16)
STEPS_CAPTURED = 6
"""So many that a micro-batch is replayed several times."""
Steps = dict[str, Taken]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(scope="module")
def pack(family: str, dtype: torch.dtype) -> Pack:
    """An empty pack on the GPU as searches have it: compiled, its micro-batches captured."""
    return pack_on(GPU, family, dtype, compiled=True)


@pytest.fixture(scope="module")
def packed(pack: Pack) -> Steps:
    """A step of all trials together on the GPU."""
    return steps_of(pack, trials_of(pack))


def bits(steps: Steps, name: str) -> dict[str, bytes]:
    """A trial's losses and gradients, to be compared bit for bit."""
    step = steps[name]
    gradients = {key: tensor.numpy().tobytes() for key, tensor in step.gradients.items()}
    return {"losses": repr((step.loss, step.val_loss)).encode(), **gradients}


def test_packed_equals_alone(pack: Pack, packed: Steps, dtype: torch.dtype) -> None:
    by_itself = alone(pack, trials_of(pack))
    assert_alike(packed, by_itself, dtype)
    # In fp32 an expert's tokens may be a product of their own, whose kernel is chosen by how many
    # they are, and that depends on the neighbours.
    if dtype == torch.bfloat16:
        for name in packed:
            assert bits(packed, name) == bits(by_itself, name), name


def test_compiled_equals_eager(pack: Pack, packed: Steps, family: str, dtype: torch.dtype) -> None:
    eager = pack_on(GPU, family, dtype)
    assert_alike(packed, steps_of(eager, trials_of(eager)), dtype)
    compilation = compilation_of(pack.host.model)
    assert compilation is not None
    assert compilation.active
    if dtype == torch.bfloat16:
        assert compilation.failures == {}


@pytest.mark.parametrize("manner", [nullcontext, uncompiled], ids=["compiled", "uncompiled"])
def test_captured_equals_as_it_runs(
    pack: Pack, dtype: torch.dtype, manner: Callable[[nn.Module], AbstractContextManager[object]]
) -> None:
    trials, before = trials_of(pack), pack._stepper.capture
    capture = Watched()
    with manner(pack.host.model):
        wanted = bits_after(pack, trials, STEPS_CAPTURED, None)
        found = bits_after(pack, trials, STEPS_CAPTURED, capture)
    pack._stepper.capture = before
    for name in trials:
        assert found[name] == wanted[name], name
    if dtype == torch.bfloat16:
        assert all(capture.captured), capture.captured
    assert capture.captured


def test_gpu_equals_cpu(packed: Steps, family: str, dtype: torch.dtype) -> None:
    on_cpu = pack_on(CPU, family, dtype)
    assert_alike(packed, steps_of(on_cpu, trials_of(on_cpu)), dtype)


def test_the_same_pack_again_gives_the_same_bits(pack: Pack, packed: Steps) -> None:
    again = steps_of(pack, trials_of(pack))
    for name in packed:
        assert bits(again, name) == bits(packed, name), name


def test_a_resumed_trial_equals_one_that_never_stopped(pack: Pack) -> None:
    trials = trials_of(pack)
    for name, config in trials.items():
        pack.admit(name, config)
    advance(pack, dict.fromkeys(trials, 2))
    states = {name: pack.state(name) for name in trials}
    ends = []
    for _ in range(2):  # on from where they are, then from their states
        reports = advance(pack, dict.fromkeys(trials, 4))
        losses = {name: (report.train_loss, report.val_loss) for name, report in reports.items()}
        ends.append((losses, {name: copied(pack, name) for name in trials}))
        for name, config in trials.items():
            pack.release(name)
            pack.admit(name, config, states[name])
    for name in trials:
        pack.release(name)
    (losses, adapters), (losses_again, adapters_again) = ends
    assert losses_again == losses
    assert all(apart(adapters_again[name], adapters[name]) == 0 for name in trials)


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_on_a_gpu_are_those_of_the_cpu_in_fp32(family: str) -> None:
    answers = []
    for device in (CPU, GPU):
        pack = pack_on(device, family, torch.float32)
        for name, config in trials_of(pack).items():
            pack.admit(name, config)
            randomize(pack.host, name)
        answers.append(pack.predict_tests(list(pack.running)))
    assert answers[0] == answers[1]


def test_nothing_relies_on_the_default_device(family: str) -> None:
    found = []
    for default in (CPU, GPU):
        for base in (CPU, GPU):
            pack = pack_on(base, family, torch.float32)
            with default:
                found.append(steps_of(pack, trials_of(pack)))
    for steps in found[1:]:
        assert_alike(steps, found[0], torch.float32)
