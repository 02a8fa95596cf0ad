"""A finished search in MLflow's own pages, seen by a real browser; a search on a real server."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from exported import record, search_with
from perft.api.exporting import export_trial
from perft.api.registering import register, registry_for
from perft.config import RoutedConfig
from perft.selection import describe
from perft.selection.files import result_files
from perft.storage import Storage
from perft.tracking import Recorder, Tracking, tracker_of
from pretend import SETTINGS, adapter_files, search_of_six, store_adapters

pytestmark = [
    # MLflow 3.17 under SQLAlchemy 2.1; no code of ours is meant.
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),
    pytest.mark.slow,
]

PATIENCE = 60  # seconds for a page or the server on a busy machine
CHROMIUM = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1600,1200",
)  # fmt: skip


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """`mlflow server` on a free port, ended with everything it started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port),
        "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination", f"{folder}/served",
    ]  # fmt: skip
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(address, process, log)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(f"{address}/health", timeout=5).close()
            return
        time.sleep(0.2)
    pytest.fail(f"mlflow server did not start:\n{log.read_text()[-3000:]}")


def tracked(tracking_uri: str, search: Storage) -> Tracking:
    """The tracking of a search by the name of "first"."""
    return Tracking(
        tracker=tracker_of("mlflow"), place=tracking_uri, folder=search, name="first",
        params=SETTINGS, tell=print, later=lambda: "perft sync",
    )  # fmt: skip


def record_search(tracking_uri: str, folder: Path) -> Run:
    """The parent run of a search that ended."""
    search = Storage(str(folder)).prepare()
    tracker = Recorder.start(tracked(tracking_uri, search))
    results = search_of_six()
    store_adapters(search, results)
    for result in results:
        tracker.start_trial(result.number, result.config)
        for report in result.reports:
            assert result.size is not None
            tracker.report(result.number, result.size, report)
        adapter = f"adapters/{result.number:04d}" if result.outcome == "complete" else ""
        tracker.end_trial(result, adapter)
    files = result_files(results, "first")
    for name, data in files.items():
        search.write(name, data)
    tracker.finish("FINISHED", front=[0, 1, 3], files=list(files))
    assert tracker.close(PATIENCE)
    client = MlflowClient(tracking_uri)
    child = client.get_run(tracker.run_id(3))
    return client.get_run(child.data.tags["mlflow.parentRunId"])


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


class Pages:
    """What a user does in MLflow's pages."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def find(self, path: str) -> WebElement:
        """The first visible element at an XPath, as soon as there is one."""
        found: list[WebElement] = WebDriverWait(self.browser, PATIENCE).until(
            lambda browser: [e for e in browser.find_elements(By.XPATH, path) if e.is_displayed()],
            f"nothing visible at {path}",
        )
        return found[0]

    def tick(self, row: str) -> None:
        """Ticks a row; its checkbox is drawn by a style, the element itself is transparent."""
        box = f"{row}//input[contains(@aria-label, 'toggle row selection')]"
        self.find(row)
        self.browser.execute_script(
            "arguments[0].click()", self.browser.find_element(By.XPATH, box)
        )

    def run(self, name: str) -> str:
        """XPath of the row of a run in the list of runs."""
        return f"//a[normalize-space()='{name}']/ancestor::*[@role='row']"

    def choose(self, axis: str, value: str) -> None:
        self.find(f"//button[@id='{axis}-axis-selector']").click()
        self.find(f"//*[@role='option' and normalize-space()='{value}']").click()


@pytest.mark.browser
def test_ui_shows_the_search_its_trials_and_their_comparison(
    tmp_path: Path, browser: webdriver.Chrome
):
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    parent = record_search(uri, tmp_path / "search").info
    experiment = parent.experiment_id
    pages = Pages(browser)
    with server(tmp_path) as address:
        browser.get(f"{address}/#/experiments/{experiment}/runs")

        # The parent alone at first; its expander shows the children.
        assert not browser.find_elements(By.PARTIAL_LINK_TEXT, "0003 lora-qv r8")
        pages.find(f"{pages.run('first')}//*[contains(@col-id, 'Run Name')]//button").click()
        for result in search_of_six():
            name = f"{result.number:04d} {describe(result.config)}"
            row = pages.find(pages.run(name)).get_attribute("row-id")
            pages.tick(f"//*[@role='row' and @row-id='{row}']")

        # Every trial compared: accuracy against activated parameters.
        pages.find("//button[normalize-space()='Compare']").click()
        pages.find("//*[contains(., 'Comparing 6 Runs')]")
        pages.find("//*[@role='tab' and normalize-space()='Scatter Plot']").click()
        pages.choose("x", "activated_parameters")
        pages.choose("y", "accuracy")
        expected = sorted(
            [result.size.activated, result.last.accuracy]
            for result in search_of_six()
            if result.size and result.last
        )
        WebDriverWait(browser, PATIENCE).until(
            lambda browser: points(browser) == expected, f"no plot of {expected}"
        )
        browser.save_screenshot(tmp_path / "comparison.png")

        # The plot of the front, served from where the local store keeps it.
        picture = f"{address}/get-artifact?path=pareto.png&run_uuid={parent.run_id}"
        with urllib.request.urlopen(picture, timeout=30) as response:
            assert response.read(4) == b"\x89PNG"


@pytest.mark.browser
def test_ui_shows_the_experiment_the_run_with_its_note_and_the_registered_model(
    tmp_path: Path, browser: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch
):
    """The three pages of docs/tracking.md; their screenshots are kept in the test's folder."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    adapter = RoutedConfig(rank=4, num_experts=4, top_k=2)
    search, result = search_with(tmp_path / "searches", adapter)
    record(search, result, uri)
    folder = export_trial(search, result, tmp_path / "adapter")
    register(registry_for(search, result, "arithmetic"), search, result, folder)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("perft").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`perft.search` = 'first'")
    with server(tmp_path) as address:
        show_pages(Pages(browser), address, experiment, parent.info.run_id, tmp_path)


def show_pages(pages: Pages, address: str, experiment: str, run: str, out: Path) -> None:
    """Opens the three pages, waits for what a user looks for, and keeps a picture of each."""
    browser = pages.browser
    # MLflow 3.17 opens an experiment on its runs only in this view, which its page remembers.
    view = "workflowType=machine_learning"
    browser.get(f"{address}/#/experiments/{experiment}?{view}")
    pages.find(f"{pages.run('first')}//*[contains(@col-id, 'Run Name')]//button").click()
    pages.find("//a[contains(normalize-space(), ' r') and starts-with(normalize-space(), '000')]")
    assert browser.current_url.split("?")[0].endswith("/runs"), "it opens on traces"
    browser.save_screenshot(out / "experiment.png")

    browser.get(f"{address}/#/experiments/{experiment}/runs/{run}?{view}")
    pages.find("//*[contains(., 'perft search') and contains(., 'has ended')]")
    pages.find("//*[normalize-space()='best_accuracy']")
    pages.find("//*[normalize-space()='Show more']").click()
    pages.find("//table//th[contains(., 'accuracy (95% interval)')]")
    browser.save_screenshot(out / "run.png")

    browser.get(f"{address}/#/models/arithmetic/versions/1?{view}")
    pages.find("//*[contains(., 'champion')]")
    pages.find("//*[contains(., 'trial') and contains(., 'of the perft search first')]")
    pages.find("//*[normalize-space()='activated_parameters']")
    browser.save_screenshot(out / "model.png")


def points(browser: webdriver.Chrome) -> list[list[float]]:
    """The points of the plot on the page, by x."""
    found = browser.execute_script(
        "const plot = document.querySelector('.js-plotly-plot');"
        "return plot ? plot.data.flatMap(t => Array.from(t.x, (x, i) => [x, t.y[i]])) : []"
    )
    return sorted(found)


def test_a_server_records_the_same(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    with server(tmp_path) as address:
        parent = record_search(address, tmp_path / "search").info
        search = Storage(str(tmp_path / "search"))
        resumed = Recorder.resume(tracked(address, search))
        assert resumed.close(PATIENCE)
        client = MlflowClient(address)
        run_id = resumed.run_id(3)
        assert client.get_run(run_id).data.tags["mlflow.parentRunId"] == parent.run_id
        assert client.get_run(run_id).data.tags["perft.outcome"] == "complete"
        assert len(client.get_metric_history(run_id, "accuracy")) == 2
        folder = client.download_artifacts(run_id, "adapter", str(tmp_path))
        found = {file.name: file.read_bytes() for file in Path(folder).iterdir()}
        assert found == adapter_files(3)
    assert capfd.readouterr().out == "", "something is printed into a search's live view"
