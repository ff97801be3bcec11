"""MLflow as a copy of the journals: runs by identity, rows sent twice change nothing.

Only the client API is used, with run ids; the fluent active run belongs to kedro-mlflow.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

import logging

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from thriftune import databases, files
from thriftune.databases.sqlite import SQLITE, checkpoint_wal, create_atomically, first_opened, limit_wal_size
from thriftune.observe.sanitiser import Sanitiser
from thriftune.tracking.records import MetricRow

log = logging.getLogger(__name__)
logging.getLogger("alembic").setLevel(logging.WARNING)
logging.getLogger("mlflow").setLevel(logging.WARNING)

STUDY_TAG, TRIAL_TAG, TRIAL_ID_TAG = "thriftune.study_id", "thriftune.trial", "thriftune.trial_id"
STARTED_TAG = "thriftune.journal_started"
PARENT = "parent"
ROWS_PER_BATCH = 250
"""A transaction of more would let SQLite's log grow to megabytes, which count against the budget."""
PARAMS_PER_BATCH = 100
RUNS_PER_PAGE = 1_000
LONGEST_PARAM = 500


class StoreGoneError(ConnectionError):
    """The database was deleted, or replaced by another file, while it was in use."""


class MlflowSink:
    """One experiment of one MLflow store."""

    def __init__(
        self, uri: str, experiment: str, artifact_root: str, redact: Sequence[str] = (), *, locks: Path
    ) -> None:
        """Connect; a new SQLite store is made in WAL mode, so that a reader stops no writer.

        locks: folder of the lock under which this machine's processes look for a run and make it.
        redact: the user's own patterns, masked beside the known secrets in all text that is sent.
        """
        self._clean = Sanitiser(redact).clean_value
        self._uri, self._lock = uri, locks / "mlflow-runs"
        self._database = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
        if self._database is not None:
            limit_wal_size(self._database)
            create_atomically(self._database, lambda url: MlflowClient(tracking_uri=url).search_experiments())
            self._file = first_opened(self._database)
        with self._turn():
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._experiment_id(experiment, artifact_root)
        if self._database is not None:
            with closing(sqlite3.connect(self._database)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")

    def _turn(self) -> AbstractContextManager[None]:
        """One process at a time: of those that use a PostgreSQL, else of this machine's."""
        if self._uri.startswith("postgresql"):
            return databases.advisory_lock(self._uri, "mlflow")
        return files.file_lock(self._lock)

    def check_present(self) -> None:
        """StoreGoneError where a SQLite file is no longer the one that was opened: what is written to it now
        is written to nowhere."""
        if self._database is not None and not self._file.is_in_place():
            raise StoreGoneError(
                f"MLflow's database {self._database} was deleted while it was in use. Every row is in the "
                "journals; the next run, or `thriftune tracking flush`, makes the database anew"
            )

    def _experiment_id(self, name: str, artifact_root: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=artifact_root))
        except MlflowException:  # another process made it meanwhile
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def parent_run(self, study_id: str, name: str) -> str:
        """The study's run: found by its tag, else made with it; then RUNNING."""
        return self._run({STUDY_TAG: study_id, TRIAL_TAG: PARENT}, name)

    def parent_status(self, study_id: str) -> str | None:
        """The status of the study's run; None where there is none."""
        identity = {STUDY_TAG: study_id, TRIAL_TAG: PARENT}
        found = self._client.search_runs([self._experiment], _query(identity), max_results=1)
        return str(found[0].info.status) if found else None

    def trial_run(self, parent: str, study_id: str, number: int, trial_id: str, started: int = 0) -> str:
        """A trial's nested run: found by its tags, else (also where it was deleted) made with them; then
        RUNNING.

        started: of the trial's journal, in milliseconds since 1970. A run of the same trial with another
        start has the rows of a journal that is gone, and is deleted.
        """
        trial = {STUDY_TAG: study_id, TRIAL_TAG: str(number), TRIAL_ID_TAG: trial_id}
        for run in self._client.search_runs([self._experiment], _query(trial)):
            if run.data.tags.get(STARTED_TAG) != str(started):
                log.warning("trial %d has a new journal: its run in MLflow is made anew", number)
                self._client.delete_run(run.info.run_id)
        identity = {**trial, STARTED_TAG: str(started)}
        return self._run(identity, f"trial {number}", {"mlflow.parentRunId": parent})

    def _run(self, identity: Mapping[str, str], name: str, more: Mapping[str, str] | None = None) -> str:
        tags = {**identity, **(more or {}), "mlflow.source.name": "thriftune"}
        with self._turn():
            found = self._client.search_runs([self._experiment], _query(identity), max_results=1)
            if not found:
                run = self._client.create_run(self._experiment, tags=tags, run_name=self._clean(name))
                return str(run.info.run_id)
        run_id = str(found[0].info.run_id)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def log_rows(self, run_id: str, rows: Sequence[MetricRow]) -> None:
        """Send rows; a row that is there already changes nothing. Undefined values stay in the
        journal, MLflow knows none."""
        metrics = [
            Metric(_key(row.key), row.value, row.timestamp, row.step) for row in rows if row.value is not None
        ]
        for start in range(0, len(metrics), ROWS_PER_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + ROWS_PER_BATCH])
        if metrics and self._database is not None:
            checkpoint_wal(self._database)

    def log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        """Log what is not there yet; a parameter on record is never sent another value, a long one
        is cut (the whole configuration is an artifact)."""
        known = self._client.get_run(run_id).data.params
        fresh = [
            Param(_key(key), self._clean(str(value))[:LONGEST_PARAM])
            for key, value in params.items()
            if _key(key) not in known
        ]
        for start in range(0, len(fresh), PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=fresh[start : start + PARAMS_PER_BATCH])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags."""
        self._client.log_batch(run_id, tags=[RunTag(key, self._clean(value)) for key, value in tags.items()])

    def log_json(self, run_id: str, name: str, value: Any) -> None:
        """Keep a JSON artifact of the run."""
        self._client.log_dict(run_id, self._clean(value), name)

    def log_page(self, run_id: str, name: str, text: str) -> None:
        """Keep a text artifact of the run."""
        self._client.log_text(run_id, self._clean(text), name)

    def finish(self, run_id: str, status: str) -> None:
        """FINISHED, FAILED or KILLED."""
        self._client.set_terminated(run_id, status)

    def delete_runs(self, study_id: str) -> int:
        """Delete all runs of a study; returns how many.

        MLflow lists at most RUNS_PER_PAGE at once, and no deleted ones.
        """
        deleted = 0
        query = f"tags.`{STUDY_TAG}` = '{study_id}'"
        while runs := self._client.search_runs([self._experiment], query, max_results=RUNS_PER_PAGE):
            for run in runs:
                self._client.delete_run(run.info.run_id)
            deleted += len(runs)
        return deleted


def _query(identity: Mapping[str, str]) -> str:
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in identity.items())


def _key(name: str) -> str:
    """The name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)
