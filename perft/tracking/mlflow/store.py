"""The place of a search's runs: a client, its experiment, and the search's folder beside them."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from perft.storage import Storage, read_folder
from perft.tracking.records import Status


@dataclass(frozen=True)
class Store:
    """What reads and writes the runs of one search.

    Attributes:
        client: of the place.
        experiment: id of perft's experiment there.
        folder: the search's folder, with the files to upload.
    """

    client: MlflowClient
    experiment: str
    folder: Storage

    def search(self, query: str) -> list[Run]:
        """All runs of the experiment that match an MLflow filter."""
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([self.experiment], query, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def set_status(self, run_id: str, status: Status, at: int | None) -> None:
        """Sets a run's status, and if that is not RUNNING its end, in milliseconds since 1970."""
        if status == "RUNNING":
            self.client.update_run(run_id, status=status)
        else:
            self.client.set_terminated(run_id, status, end_time=at)

    def upload_folder(self, run_id: str, folder: str, artifacts: str) -> None:
        """Uploads a folder of the search to a run's folder `artifacts`."""
        self.upload(run_id, read_folder(self.folder, folder), artifacts)

    def upload(self, run_id: str, files: Mapping[str, bytes], artifacts: str | None) -> None:
        """Uploads files by name to a run's folder `artifacts`; None for its top."""
        if not files:
            return
        with tempfile.TemporaryDirectory() as place:
            for name, data in files.items():
                (Path(place) / name).write_bytes(data)
            self.client.log_artifacts(run_id, place, artifacts)
