"""System metrics of the machine that runs a search, on the search's run: MLflow's own monitor.

Its thread samples every ten seconds, and ends when the run is no longer RUNNING.
"""

from perft.compat.mlflow_monitor import SystemMetricsMonitor

_started: dict[str, SystemMetricsMonitor] = {}  # by run: one each, also when its place was away


def monitor(tracking_uri: str, run_id: str) -> None:
    """Starts to record CPU, memory, disk, network and GPUs; goes on from what a run already has."""
    if earlier := _started.pop(run_id, None):
        earlier.finish()  # type: ignore[no-untyped-call]
    started = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
        run_id, resume_logging=True, tracking_uri=tracking_uri
    )
    started.start()  # type: ignore[no-untyped-call]
    _started[run_id] = started
