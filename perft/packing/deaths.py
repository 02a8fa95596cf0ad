"""The errors that Ray raises when a process has died."""

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, WorkerCrashedError

DEATHS = (RayActorError, NodeDiedError, OutOfMemoryError, WorkerCrashedError)
"""An actor died; its machine died; Ray's memory monitor killed it; a task's process died."""
