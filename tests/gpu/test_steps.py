"""A training step on a GPU is that of the CPU, of a pack, of its neighbours, and of its repetition.

Every variant and form, on families of three kinds of block, in both dtypes.
"""

import pytest
import torch
from steps import CPU, FAMILIES, GPU, Step, alone, assert_alike, pack_on, steps_of, trials_of

from contracts.adapters import randomize
from contracts.packs import advance, apart, copied, trial
from perft.config import RoutedConfig, SingleConfig
from perft.training.pack import Pack

pytestmark = pytest.mark.gpu

DTYPES = (torch.float32, torch.bfloat16)
NEIGHBOURS = 3
Steps = dict[str, Step]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture(scope="module")
def pack(family: str, dtype: torch.dtype) -> Pack:
    """An empty pack on the GPU."""
    return pack_on(GPU, family, dtype)


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
    assert_alike(packed, alone(pack, trials_of(pack)), dtype)


def test_gpu_equals_cpu(packed: Steps, family: str, dtype: torch.dtype) -> None:
    on_cpu = pack_on(CPU, family, dtype)
    assert_alike(packed, steps_of(on_cpu, trials_of(on_cpu)), dtype)


def test_the_same_pack_again_gives_the_same_bits(pack: Pack, packed: Steps) -> None:
    again = steps_of(pack, trials_of(pack))
    for name in packed:
        assert bits(again, name) == bits(packed, name), name


@pytest.mark.parametrize("family", FAMILIES)
def test_other_neighbours_of_the_same_shapes_change_no_bit_in_bf16(family: str) -> None:
    # In fp32 there is no grouped product on a GPU: an expert's tokens are a product of their own,
    # whose kernel is chosen by how many they are, and that depends on the neighbours.
    pack = pack_on(GPU, family, torch.bfloat16)
    kinds = (SingleConfig(rank=4), RoutedConfig(rank=3, num_experts=3, top_k=2))
    for name, config in trials_of(pack).items():
        one, other = (
            steps_of(pack, {name: config, **{f"n{i}": trial(kind) for i in range(NEIGHBOURS)}})
            for kind in kinds
        )
        assert bits(one, name) == bits(other, name), name


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
