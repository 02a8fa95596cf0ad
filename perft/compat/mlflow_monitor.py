"""The undocumented interface of MLflow's system metrics: the monitor of a run of one's choice.

MLflow documents the monitor of the run that `mlflow.start_run` starts; a search's run is another.
"""

import inspect

from perft.compat.mlflow import MLFLOW

__all__ = ["SystemMetricsMonitor"]

_PURPOSE = "to record system metrics on the run of a search"

with MLFLOW.needs(_PURPOSE):
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

MLFLOW.require(
    {"run_id", "resume_logging", "tracking_uri"}
    <= inspect.signature(SystemMetricsMonitor).parameters.keys(),
    "SystemMetricsMonitor(run_id, resume_logging, tracking_uri)",
    _PURPOSE,
)
