"""The errors by which Ray says that a process has died, whatever killed it."""

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

DEATHS = (RayActorError, NodeDiedError, OutOfMemoryError, WorkerCrashedError)
"""Of a process alone; its machine; what Ray's memory monitor kills; a process of a task."""
