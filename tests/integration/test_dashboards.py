"""MLflow's UI, Optuna's dashboard and Kedro-Viz on a running search stop nothing and lose nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import (
    presence_of_element_located,
    text_to_be_present_in_element,
)
from selenium.webdriver.support.wait import WebDriverWait
from tests.conftest import small_parameters
from tests.integration.browser import NEEDS, browser
from tests.integration.complete import check_complete
from tests.integration.conftest import SMALL, copy_project
from tests.integration.servers import free_port, process
from tests.support.studies import evaluate, run

from thriftune import files
from thriftune.study.identity import study_id
from thriftune.tracking.parent import ParentRun

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]

WATCHED_SECONDS, PAUSE_SECONDS = 120.0, 0.1
TRIALS, EPOCHS = 24, 24


def ask(url: str, body: object = None) -> int:
    """The status of an answer, 0 where there is none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_for(url: str) -> None:
    """Until a server answers."""
    deadline = time.monotonic() + 120
    while ask(url) != 200:
        assert time.monotonic() < deadline, url
        time.sleep(0.2)


READER = """
import sqlite3, sys
for path in sys.argv[1:]:
    reader = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)
    reader.execute("begin")
    print(reader.execute("select count(*) > 0 from sqlite_master").fetchone()[0], flush=True)
    globals()[path] = reader
sys.stdin.read()
"""


def test_a_dashboard_that_hangs_while_it_reads_stops_nothing(
    small: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A process reads both databases and is stopped in the middle, from the first trial's end to the report:
    every row and every trial arrives."""
    monkeypatch.chdir(small)
    parameters = small_parameters(
        small, storage={"root": "data/06_models"}, tracking={"root": "data/tracking"}
    )
    databases = [small / "data/tracking" / name for name in ("mlflow.db", "optuna.db")]
    with ExitStack() as stack:

        def hang(event: files.Event) -> None:
            if event.operation == "optuna_tell" and not readers:
                deadline = time.monotonic() + 60
                while not all(Path(f"{path}-wal").exists() for path in databases):
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
                command = [sys.executable, "-c", READER, *map(str, databases)]
                reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                readers.append(stack.enter_context(reader))
                stack.callback(reader.kill)
                assert reader.stdout is not None
                assert [reader.stdout.readline() for _ in databases] == [b"1\n", b"1\n"]
                reader.send_signal(signal.SIGSTOP)

        readers: list[subprocess.Popen[bytes]] = []
        monkeypatch.setattr(files, "observer", hang)
        with caplog.at_level("INFO"):
            run(parameters)
            evaluate(parameters)
            study = ParentRun(parameters, study_id("small"), "small")
            study.open()
            study.close("FINISHED")
        assert readers[0].poll() is None
    assert "does not take" not in caplog.text
    assert "locked" not in caplog.text
    check_complete(small, trials=3)


@pytest.mark.slow
def test_dashboards_on_a_running_search_stop_nothing(tmp_path: Path) -> None:
    """Each is asked every 100 ms for two minutes while trials train, and always answers; the study ends with
    every row and every trial, and says nothing of a store that does not answer."""
    project = copy_project(tmp_path)
    study = f"{SMALL},study.trials={TRIALS},training.epochs={EPOCHS},tracking.log_every_steps=1"
    ports = [free_port() for _ in range(3)]
    mlflow, optuna, viz = (f"http://127.0.0.1:{port}" for port in ports)
    tracking = project / "data" / "tracking"
    asked = [
        (f"{mlflow}/api/2.0/mlflow/runs/search", {"experiment_ids": ["1"], "max_results": 100}),
        (f"{optuna}/api/studies", None),
        (f"{optuna}/api/studies/1?after=0", None),
        (f"{viz}/api/main", None),
    ]
    answers: Counter[tuple[str, int]] = Counter()
    over = threading.Event()

    def keep_asking(url: str, body: object) -> None:
        while not over.is_set():
            answers[url, ask(url, body)] += 1
            time.sleep(PAUSE_SECONDS)

    with ExitStack() as stack:
        search = stack.enter_context(
            process(project, "run", "kedro", "run", "--pipelines", "hpo", "--params", study)
        )
        while not list(project.glob("data/06_models/*/trials/*/checkpoints/epoch_*")):
            assert search.poll() is None, (project / "run.log").read_text(encoding="utf-8")
            time.sleep(0.1)
        store = f"sqlite:///{tracking}/mlflow.db"
        for name, words in {
            "mlflow": ("mlflow", "ui", "--backend-store-uri", store, "--port", str(ports[0])),
            "optuna": ("optuna-dashboard", f"sqlite:///{tracking}/optuna.db", "--port", str(ports[1])),
            "viz": ("kedro", "viz", "run", "--no-browser", "--port", str(ports[2])),
        }.items():
            stack.enter_context(process(project, name, *words))
        for url in (f"{mlflow}/health", f"{optuna}/api/studies", f"{viz}/api/main"):
            wait_for(url)
        threads = [threading.Thread(target=keep_asking, args=item, daemon=True) for item in asked]
        for thread in threads:
            thread.start()
        time.sleep(WATCHED_SECONDS)
        still_running = search.poll() is None
        over.set()
        for thread in threads:
            thread.join()
        assert search.wait(timeout=600) == 0, (project / "run.log").read_text(encoding="utf-8")
    said = (project / "run.log").read_text(encoding="utf-8")
    assert still_running, "the study was over before it was watched for two minutes"
    assert {status for _, status in answers} == {200}, answers
    assert "does not take" not in said
    assert "locked" not in said
    check_complete(project, trials=TRIALS)


@pytest.mark.slow
@NEEDS
def test_kedro_viz_tells_the_story_of_the_data_with_pictures(tmp_path: Path) -> None:
    """In a real browser: nodes by name and by tag, and a picture of history, scores and bytes when asked."""
    project, port = copy_project(tmp_path), free_port()
    with process(project, "run", "kedro", "run", "--pipelines", "hpo", "--params", SMALL) as search:
        assert search.wait(timeout=600) == 0
    words = ("kedro", "viz", "run", "--no-browser", "--port", str(port), "--params", SMALL)
    with process(project, "viz", *words), browser(1500) as driver:
        wait_for(f"http://127.0.0.1:{port}/api/main")
        driver.get(f"http://127.0.0.1:{port}")
        wait = WebDriverWait(driver, 120)
        for name in ("study", "evaluation", "checkpoints"):
            named = f"//*[contains(@class,'pipeline-nodelist')]//*[normalize-space(text())='{name}']"
            wait.until(presence_of_element_located((By.XPATH, named))).click()
            wait.until(presence_of_element_located((By.CSS_SELECTOR, ".pipeline-metadata .main-svg")))
            wait.until(text_to_be_present_in_element((By.CSS_SELECTOR, ".pipeline-metadata__title"), name))
        page = driver.find_element(By.TAG_NAME, "body").text
        assert {"ingest", "search", "evaluate_on_test"} <= set(page.split())
        assert all(f"\n{tag}\n" in page for tag in ("Data", "Evaluation", "Training"))
