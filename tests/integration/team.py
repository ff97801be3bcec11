"""Workers on one study, each a `kedro run` of its own, and what must hold of what they leave."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import yaml
from mlflow import MlflowClient
from tests import processes
from tests.conftest import TINY
from tests.integration.conftest import copy_project, environment, thriftune
from tests.integration.postgres import PASSWORD, Postgres

from thriftune import files

NAME = "small"


class Worker:
    """One `kedro run --pipeline hpo`; its terminal in a file."""

    def __init__(self, project: Path, number: int, prefix: Sequence[str] = ()) -> None:
        self.project, self.number = project, number
        self._log = project / f"worker{number}.log"
        program = Path(sys.executable).parent / "kedro"
        with self._log.open("ab") as log:
            words = [*prefix, str(program), "run", "--pipelines", "hpo"]
            self.process = processes.start(words, project, environment(project), log.fileno())

    @property
    def said(self) -> str:
        """All that it has said so far."""
        return self._log.read_text(encoding="utf-8")

    def until(self, pattern: str, seconds: float = 240) -> re.Match[str]:
        """Wait until it has said something; what that was."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.said)) is None:
            assert self.process.poll() is None, f"ended before {pattern!r}: {self.said}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {pattern!r} in {self.said}"
            time.sleep(0.1)
        return found

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def until_over(self, trials: int) -> None:
        """Wait until the study's folder has so many trials that this worker has seen begin or end."""
        self.until(
            rf"trial ({'|'.join(str(number) for number in range(trials, trials + 12))}) .*: starts", 900
        )

    def kill_in_a_trial(self) -> int:
        """SIGKILL in the middle of a trial that has a checkpoint; its number."""
        seen = len(self.said)
        while not (found := re.search(r"trial (\d+) .*, epoch 2 of", self.said[seen:])):
            assert self.process.poll() is None, self.said
            time.sleep(0.01)
        self.kill()
        return int(found[1])

    def end(self, seconds: float = 280) -> int:
        """Wait for its end; the exit code."""
        return self.process.wait(seconds)


def run_kedro(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`kedro` in a working copy, to its end."""
    return processes.run([str(processes.BIN / "kedro"), *words], project, environment(project))


class Team:
    """Working copies, one checkpoint root, and a watch over the bytes that all hold together."""

    def __init__(self, folder: Path, copies: int, server: Postgres | None, settings: dict[str, Any]) -> None:
        self.folder, self.server = folder, server
        self.models = folder / "shared" / "models"
        self.models.mkdir(parents=True)
        self.copies = [self._copy(number, settings) for number in range(copies)]
        self.most_bytes = 0
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._measure, daemon=True)

    def _copy(self, number: int, settings: dict[str, Any]) -> Path:
        (self.folder / f"machine{number}").mkdir()
        project = copy_project(self.folder / f"machine{number}")
        tables = {"posts": "posts.csv", "annotations": "annotations.csv"}
        own = {
            "corpus": {"source": "files", "files": tables},
            "storage": {"root": str(self.models), **settings.get("storage", {})},
            "tracking": {"artifacts": str(self.folder / "shared" / "artifacts")},
            "study": {"name": NAME, **settings["study"]},
            "training": {"threads": 1, "max_length": 64, "overlap": 8, **settings["training"]},
            "search": settings.get("search", {}),
            "encoder": "tiny",
            "encoders": {"tiny": TINY},
        }
        local = project / "conf/local"
        (local / "parameters.yml").write_text(yaml.safe_dump(own))
        if self.server is not None:
            secrets = {
                "study_db": {"url": self.server.url("optuna")},
                "mlflow": {"uri": self.server.url("mlflow")},
            }
            (local / "credentials.yml").write_text(yaml.safe_dump(secrets))
        return project

    def set_least_budget(self) -> int:
        """Give all the least budget that they need together, from the forecast; bytes."""
        assert run_kedro(self.copies[0], "run", "--pipelines", "ingest").returncode == 0
        shown = thriftune(self.copies[0], "storage", "forecast", "--json")
        found = json.loads(shown.stdout)
        budget = int(found["least_budget_bytes"] + (len(self.copies) - 1) * found["further_worker_bytes"])
        for copy in self.copies:
            path = copy / "conf/local/parameters.yml"
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
            settings["storage"]["max_total_size"] = budget
            path.write_text(yaml.safe_dump(settings))
        return budget

    @property
    def study(self) -> Path:
        """The study's folder."""
        (found,) = self.models.glob("study_*")
        return found

    def _measure(self) -> None:
        """What the shared root holds and the most that a machine has beside it."""
        while not self._stop.wait(0.02):
            beside = max(
                files.directory_bytes(*(copy / "data" / name for name in _BESIDE)) for copy in self.copies
            )
            held = files.directory_bytes(*self.models.glob("study_*"))
            self.most_bytes = max(self.most_bytes, held + beside)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._watch.join()
        # Of a test that has failed: a worker would wait ten minutes for a server that is gone.
        for process in psutil.process_iter(["cwd"]):
            if str(process.info["cwd"]).startswith(f"{self.folder}/machine"):
                process.kill()


_BESIDE = ("03_primary", "05_model_input", "tracking", "08_reporting")


def check_team(team: Team, trials: int, workers: Sequence[Worker]) -> None:
    """No trial run twice, none lost; every row in MLflow once; one evaluation; nothing left over; no password
    anywhere."""
    shown = thriftune(team.copies[0], "study", "show", NAME, "--json")
    assert shown.returncode == 0, shown.stderr
    rows = json.loads(shown.stdout)["trials"]
    assert [row["trial"] for row in rows] == list(range(trials))
    assert {row["state"] for row in rows} <= {"complete", "pruned"}
    said = "\n".join(worker.said for worker in workers)
    starts = Counter(re.findall(r"trial (\d+) \(.*\): starts$", said, re.MULTILINE))
    assert starts == Counter(map(str, range(trials)))
    journals = {
        int(path.parent.name.split("_")[1]): path for path in team.study.glob("trials/*/metrics.jsonl")
    }
    assert journals.keys() == set(range(trials))
    check_journals(journals)
    uri = f"sqlite:///{team.copies[0]}/data/tracking/mlflow.db"
    if team.server is not None:
        uri = team.server.url("mlflow").replace("postgresql://", "postgresql+psycopg://")
    check_mlflow(uri, journals)
    evaluation = json.loads((team.study / "evaluation.json").read_text(encoding="utf-8"))
    assert len(evaluation["evaluations"]) == 1
    assert not [path for path in team.study.rglob("*") if path.name.startswith((".tmp-", "quarantine-"))]
    notes = [json.loads(path.read_text()) for path in (team.study / "attempts").glob("*.json")]
    assert not [note for note in notes if note["running"]]
    if team.server is not None:
        for path in [*team.study.rglob("*.json*"), *team.study.rglob("*.yaml")]:
            assert PASSWORD not in path.read_text(encoding="utf-8"), path
        for copy in team.copies:
            for path in [*copy.glob("*.log"), *copy.glob("logs/*")]:
                assert PASSWORD not in path.read_text(encoding="utf-8"), path


def check_journals(journals: dict[int, Path]) -> None:
    """Each has one start, one end, and one row of each key and step."""
    for number, journal in journals.items():
        records = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
        assert [record["kind"] for record in records if "kind" in record] == ["start", "end"], number
        keys = [(record["key"], record["step"]) for record in records if "key" in record]
        assert len(keys) == len(set(keys)), number


def check_mlflow(uri: str, journals: dict[int, Path]) -> None:
    """One run a trial, nested in one run of the study, each with all rows of its journal."""
    client = MlflowClient(tracking_uri=uri)
    (experiment,) = client.search_experiments(filter_string="name = 'thriftune'")
    found = client.search_runs([experiment.experiment_id], max_results=5000)
    runs = {run.data.tags["thriftune.trial"]: run for run in found}
    assert len(runs) == len(found) == len(journals) + 1
    parent = runs.pop("parent")
    over = client.get_metric_history(parent.info.run_id, "study/trials_over")
    assert sorted(metric.value for metric in over) == list(range(1, len(journals) + 1))
    for number, run in runs.items():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.info.status == "FINISHED", number
        lines = journals[int(number)].read_text(encoding="utf-8").splitlines()
        records = [record for record in map(json.loads, lines) if record.get("value") is not None]
        wanted = Counter(
            (record["key"], record["step"], record["timestamp"], record["value"])
            for record in records
            if "key" in record
        )
        sent = Counter(
            (key, metric.step, metric.timestamp, metric.value)
            for key in run.data.metrics
            for metric in client.get_metric_history(run.info.run_id, key)
        )
        assert sent == wanted, number
