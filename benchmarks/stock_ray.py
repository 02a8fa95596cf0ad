"""The documented Ray way to search over training runs: every trial starts its own TorchTrainer.

It follows the Ray guide "Hyperparameter Tuning with Ray Tune" (Train V2) and trains with perft's
own loop, a pack of one, so that both sides of the benchmark do the same work: load the base,
train one adapter, and report and persist its state at every rung.
"""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray.train
import ray.tune
from ray.train.torch import TorchTrainer, get_device
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import ASHAScheduler

from perft.models.load import load_base
from perft.ranks import Ranks
from perft.tasks import TaskSource, load_task
from perft.training.pack import Pack
from perft.trial import Report, TrialConfig

PHASES = ("start-up", "load base", "train and evaluate", "report")
"""Where the time of a stock trial goes, in this order."""


@dataclass(frozen=True)
class StockTrial:
    """One trial as the stock way ran it.

    Attributes:
        number: its place among the given configurations.
        reports: one per rung that it reached.
        seconds: wall time by phase, up to its last report.
    """

    number: int
    reports: tuple[Report, ...]
    seconds: Mapping[str, float]


def run_stock(
    configs: Sequence[TrialConfig],
    rungs: Sequence[int],
    source: TaskSource,
    *,
    base: str | None,
    storage: Path,
    concurrency: int,
    reduction_factor: int,
) -> list[StockTrial]:
    """Runs one trial per configuration, with ASHA over the same rungs as perft's search.

    Args:
        configs: the trials; all have the same `max_steps`, the last rung.
        rungs: steps at which a trial reports and may be stopped, rising.
        source: the task.
        base: as `load_base` takes it.
        storage: an absolute folder for what Ray keeps.
        concurrency: trials at a time; each has one worker with one CPU.
        reduction_factor: one in this many trials passes a rung.

    Returns:
        The trials by number.

    Raises:
        RuntimeError: if a trial failed.
    """
    jobs = [
        {
            "number": number,
            "config": config.to_flat(),
            "rungs": list(rungs),
            "source": asdict(source),
            "base": base,
            "storage": str(storage),
        }
        for number, config in enumerate(configs)
    ]
    tuner = ray.tune.Tuner(
        # The driver function only waits for its worker: it takes no CPU from other trials.
        ray.tune.with_resources(_start_trainer, {"memory": 1}),
        param_space={"job": ray.tune.grid_search(jobs)},
        tune_config=ray.tune.TuneConfig(
            metric="val_loss",
            mode="min",
            max_concurrent_trials=concurrency,
            scheduler=ASHAScheduler(
                time_attr="step",
                grace_period=rungs[0],
                max_t=rungs[-1],
                reduction_factor=reduction_factor,
            ),
        ),
        run_config=ray.tune.RunConfig(name="stock", storage_path=str(storage), verbose=0),
    )
    results = tuner.fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} stock trials failed: {results.errors[0]}")
    return sorted((_read(dict(result.metrics)) for result in results), key=lambda t: t.number)


def _start_trainer(config: dict[str, Any]) -> None:
    """What Tune runs for every trial: start a trainer, with its own worker group, and wait."""
    job = {**config["job"], "submitted": time.time()}
    trainer = TorchTrainer(
        _train_one,
        train_loop_config=job,
        scaling_config=ray.train.ScalingConfig(num_workers=1),
        run_config=ray.train.RunConfig(
            name=f"trial-{job['number']}",
            storage_path=job["storage"],
            callbacks=[TuneReportCallback()],
        ),
    )
    trainer.fit()


def _train_one(job: dict[str, Any]) -> None:
    """What the trial's one worker runs."""
    started = time.time()
    base = load_base(job["base"], device=get_device())
    pack = Pack(base, load_task(TaskSource(**job["source"])), Ranks.current(get_device()))
    pack.admit("trial", TrialConfig.from_flat(job["config"]))
    seconds = dict.fromkeys(PHASES, 0.0)
    seconds |= {"start-up": started - job["submitted"], "load base": time.time() - started}
    for rung in job["rungs"]:
        start = time.time()
        report = pack.advance({"trial": rung})["trial"]
        if isinstance(report, str):
            raise RuntimeError(report)
        seconds["train and evaluate"] += time.time() - start
        start = time.time()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "trial").write_bytes(pack.state("trial"))
            ray.train.report(
                {
                    "number": job["number"],
                    "step": report.step,
                    "val_loss": report.val_loss,
                    "reports": [each.to_json() for each in pack.running["trial"].reports],
                    "seconds": dict(seconds),
                },
                checkpoint=ray.train.Checkpoint.from_directory(folder),
            )
        seconds["report"] += time.time() - start


def _read(metrics: Mapping[str, Any]) -> StockTrial:
    reports = tuple(Report.from_json(report) for report in metrics["reports"])
    return StockTrial(metrics["number"], reports, metrics["seconds"])
