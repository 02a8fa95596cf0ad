"""The splits of a search's task as MLflow's datasets: names, digests and sources, no data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset as MLflowDataset
from mlflow.entities import DatasetInput, InputTag

from perft.tasks.hub import HUB
from perft.tracking.datasets import Dataset

CONTEXT = "mlflow.data.context"
"""MLflow's own tag of an input: what a run used it for."""


def dataset_inputs(datasets: Sequence[Dataset], settings: Mapping[str, Any]) -> list[DatasetInput]:
    """The datasets as inputs of a run.

    Args:
        datasets: the splits.
        settings: those of the search; a generated split follows from its seed.
    """
    return [_input(each, settings) for each in datasets]


def _input(dataset: Dataset, settings: Mapping[str, Any]) -> DatasetInput:
    kind, source = _source(dataset, settings)
    named = MLflowDataset(
        name=dataset.name,
        digest=dataset.digest,
        source_type=kind,
        source=json.dumps(source),
        profile=json.dumps({"num_rows": dataset.rows}),
    )
    return DatasetInput(named, [InputTag(CONTEXT, dataset.context)])


def _source(dataset: Dataset, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Type of the source and its description, as `mlflow.data.get_source` reads them."""
    if dataset.place and dataset.place != HUB:
        return "local", {"uri": Path(dataset.place).as_uri()}
    made = f"perft.tasks {dataset.task}" if not dataset.place else f"hub: {dataset.task}"
    keys = ("seed", "validation_size")
    return "code", {
        "tags": {
            "mlflow.source.type": "PROJECT",
            "mlflow.source.name": made,
            **{f"perft.{key}": str(settings[key]) for key in keys if key in settings},
        }
    }
