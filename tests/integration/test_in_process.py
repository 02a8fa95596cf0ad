"""A search inside a program of the user's, on a Ray of theirs: both are afterwards as they were."""

from collections.abc import Callable

import pytest
from searches import REPOSITORY, Job

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

PROGRAM = f"""
import os, sys
sys.path.insert(0, {str(REPOSITORY / "tests")!r})

import ray
import perft
from process_state import changed, process_state

class Mine:
    def answer(self):
        return 42

ray.init(num_cpus=2, dashboard_host="127.0.0.1", log_to_driver=False)
mine = ray.remote(num_cpus=0)(Mine).options(name="mine").remote()
import perft.api.search  # its imports change what is there, too
node = ray.get_runtime_context().get_node_id()
before = process_state()
found = perft.search(
    "arithmetic", name="first", num_trials=2, max_steps=8, validation_size=20, groups=1
)
print("changed:", changed(before, process_state()))
print("same Ray:", ray.is_initialized() and ray.get_runtime_context().get_node_id() == node)
print("my actor:", ray.get(mine.answer.remote()))
print("trials:", found.trials["number"].tolist())
named = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
print("left in Ray:", [name for name in named if name.startswith("perft")])
"""


def test_the_callers_process_and_ray_are_as_they_were(start: Callable[..., Job]) -> None:
    job = start("-c", PROGRAM)
    assert job.end() == 0, job.errors
    assert "using the Ray that this process is connected to\n" in job.output
    for line in (
        "changed: {}", "same Ray: True", "my actor: 42", "trials: [0, 1]", "left in Ray: []"
    ):  # fmt: skip
        assert f"{line}\n" in job.output, job.output
    assert job.family.disappears()
