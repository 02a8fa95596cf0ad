"""Asks all probes at the same time, and reports one that does not answer in place of waiting."""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from perft.doctor.devices import compiler, gpus, torch_build
from perft.doctor.finding import Finding, warning
from perft.doctor.machine import disk, memory, shared_memory, temporary
from perft.doctor.packages import extras, packages, python
from perft.doctor.services import hub, mlflow, ports, ray
from perft.errors import first_line

SECONDS = 15.0
"""Time for all probes together; each of those that ask a server gives up before."""

Probe = Callable[[], Sequence[Finding]]

PROBES: Mapping[str, Probe] = {
    "Python": python,
    "packages": packages,
    "extras": extras,
    "GPU": gpus,
    "torch": torch_build,
    "compiler": compiler,
    "memory": memory,
    "/dev/shm": shared_memory,  # noqa: S108 - looked at, not written
    "disk": disk,
    "temporary files": temporary,
    "Ray": ray,
    "MLflow": mlflow,
    "hub": hub,
    "ports": ports,
}
"""By the name of what it looks at, in the order in which findings are shown."""


def examine(probes: Mapping[str, Probe] = PROBES, seconds: float = SECONDS) -> list[Finding]:
    """The findings of all probes, in their order, within `seconds`.

    A probe that fails or does not answer becomes a warning that says so.

    Args:
        probes: by the name of what they look at.
        seconds: time for all of them, which run at the same time.
    """
    answers: queue.SimpleQueue[tuple[str, Sequence[Finding]]] = queue.SimpleQueue()

    def ask(name: str, probe: Probe) -> None:
        try:
            answers.put((name, probe()))
        except Exception as error:  # whatever is odd here, the other findings are shown
            why = f"cannot be looked at: {type(error).__name__}: {first_line(error)}"
            answers.put((name, [warning(name, why, "report it, with this line")]))

    for name, probe in probes.items():
        threading.Thread(target=ask, args=(name, probe), daemon=True).start()
    found: dict[str, Sequence[Finding]] = {}
    deadline = time.monotonic() + seconds
    while len(found) < len(probes):
        try:
            name, findings = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        found[name] = findings
    late = f"no answer within {seconds:.0f} seconds"
    return [
        finding
        for name in probes
        for finding in found.get(name, [warning(name, late, "call `perft doctor` again")])
    ]
