"""MLflow as a copy of the journals: runs are found by identity, and rows sent twice change nothing.

Only the client API is used, with run ids; the fluent active run belongs to kedro-mlflow.
"""

from __future__ import annotations

import logging
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from pydantic import JsonValue

from thriftune import databases, files
from thriftune.databases.sqlite import SQLITE, checkpoint_wal, create_atomically, first_opened, limit_wal_size
from thriftune.observe.sanitiser import Sanitiser
from thriftune.tracking.records import MetricRow

log = logging.getLogger(__name__)

STUDY_TAG, TRIAL_TAG, TRIAL_ID_TAG = "thriftune.study_id", "thriftune.trial", "thriftune.trial_id"
STARTED_TAG = "thriftune.journal_started"
PARENT = "parent"
ROWS_PER_BATCH = 250
"""A larger transaction would let SQLite's log grow to megabytes, which count against the budget."""
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
        """Connect; a SQLite store is created where it is missing, and put into WAL mode.

        Args:
            uri: The store's.
            experiment: Name of the experiment, which is created where it is missing.
            artifact_root: URI of a new experiment's artifacts.
            redact: The user's own patterns, masked beside the known secrets in all text that is sent.
            locks: Folder of the lock under which this machine's processes look for a run and create it.
        """
        self._clean = Sanitiser(redact).clean_value
        self._uri, self._lock = uri, locks / "mlflow-runs"
        self._database = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
        if self._database is not None:
            limit_wal_size(self._database)
            create_atomically(self._database, lambda url: MlflowClient(tracking_uri=url).search_experiments())
            self._file = first_opened(self._database)
        with self._exclusive():
            self._client = MlflowClient(tracking_uri=uri)
            self._experiment = self._experiment_id(experiment, artifact_root)
        if self._database is not None:
            with closing(sqlite3.connect(self._database)) as connection:
                # One that MLflow or somebody else made has another mode, in which a reader stops a writer.
                connection.execute("PRAGMA journal_mode=WAL")

    def _exclusive(self) -> AbstractContextManager[None]:
        """Let one process at a time in: of those that use a PostgreSQL server, else of this machine's."""
        if self._uri.startswith("postgresql"):
            return databases.advisory_lock(self._uri, "mlflow")
        return files.file_lock(self._lock)

    def check_present(self) -> None:
        """Raise if a SQLite file is no longer the one that was opened: what is written to it now is lost.

        Raises:
            StoreGoneError: The file was deleted or replaced.
        """
        if self._database is not None and not self._file.is_in_place():
            raise StoreGoneError(
                f"MLflow's database {self._database} was deleted while it was in use. Every row is in the "
                "journals; the next run, or `thriftune tracking flush`, recreates the database"
            )

    def _experiment_id(self, name: str, artifact_root: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name, artifact_location=artifact_root))
        except MlflowException:  # another process has created it meanwhile
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def parent_run(self, study_id: str, name: str) -> str:
        """Return the id of the study's run, found by its tag, else created with it; the run is RUNNING then.

        Args:
            study_id: The study's id.
            name: The study's name, for a new run.
        """
        return self._run({STUDY_TAG: study_id, TRIAL_TAG: PARENT}, name)

    def parent_status(self, study_id: str) -> str | None:
        """Return the status of the study's run; None where there is none.

        Args:
            study_id: The study's id.
        """
        identity = {STUDY_TAG: study_id, TRIAL_TAG: PARENT}
        found = self._client.search_runs([self._experiment], _query(identity), max_results=1)
        return str(found[0].info.status) if found else None

    def trial_run(self, parent: str, study_id: str, number: int, trial_id: str, started: int = 0) -> str:
        """Return the id of a trial's nested run, found by its tags, else created; the run is RUNNING then.

        A deleted run is created again.

        Args:
            parent: Id of the study's run.
            study_id: The study's id.
            number: The trial's.
            trial_id: The trial's id.
            started: Start of the trial's journal, in milliseconds since 1970. A run of the same trial with
                another start has the rows of a journal that is gone, and is deleted.
        """
        trial = {STUDY_TAG: study_id, TRIAL_TAG: str(number), TRIAL_ID_TAG: trial_id}
        for run in self._client.search_runs([self._experiment], _query(trial)):
            if run.data.tags.get(STARTED_TAG) != str(started):
                log.warning("trial %d has a new journal: its run in MLflow is recreated", number)
                self._client.delete_run(run.info.run_id)
        identity = {**trial, STARTED_TAG: str(started)}
        return self._run(identity, f"trial {number}", {"mlflow.parentRunId": parent})

    def _run(self, identity: Mapping[str, str], name: str, more: Mapping[str, str] | None = None) -> str:
        tags = {**identity, **(more or {}), "mlflow.source.name": "thriftune"}
        with self._exclusive():
            found = self._client.search_runs([self._experiment], _query(identity), max_results=1)
            if not found:
                run = self._client.create_run(self._experiment, tags=tags, run_name=self._clean(name))
                return str(run.info.run_id)
        run_id = str(found[0].info.run_id)
        self._client.update_run(run_id, status="RUNNING")
        return run_id

    def log_rows(self, run_id: str, rows: Sequence[MetricRow]) -> None:
        """Send rows; a row that is there already changes nothing.

        Args:
            run_id: Of the run.
            rows: Undefined ones stay in the journal, since MLflow has no undefined values.
        """
        metrics = [
            Metric(_key(row.key), row.value, row.timestamp, row.step) for row in rows if row.value is not None
        ]
        for start in range(0, len(metrics), ROWS_PER_BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + ROWS_PER_BATCH])
        if metrics and self._database is not None:
            checkpoint_wal(self._database)

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Log the parameters that the run does not have; those that it has keep their values.

        Args:
            run_id: Of the run.
            params: Values by dotted key; a text longer than LONGEST_PARAM is cut.
        """
        known = self._client.get_run(run_id).data.params
        fresh = [
            Param(_key(key), self._clean(str(value))[:LONGEST_PARAM])
            for key, value in params.items()
            if _key(key) not in known
        ]
        for start in range(0, len(fresh), PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=fresh[start : start + PARAMS_PER_BATCH])

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set or replace tags.

        Args:
            run_id: Of the run.
            tags: Texts by name.
        """
        self._client.log_batch(run_id, tags=[RunTag(key, self._clean(value)) for key, value in tags.items()])

    def log_json(self, run_id: str, name: str, value: JsonValue) -> None:
        """Store a JSON artifact.

        Args:
            run_id: Of the run.
            name: Of the artifact.
            value: Its content.
        """
        self._client.log_dict(run_id, self._clean(value), name)

    def log_page(self, run_id: str, name: str, text: str) -> None:
        """Store a text artifact.

        Args:
            run_id: Of the run.
            name: Of the artifact.
            text: Its content.
        """
        self._client.log_text(run_id, self._clean(text), name)

    def finish(self, run_id: str, status: str) -> None:
        """End a run.

        Args:
            run_id: Of the run.
            status: FINISHED, FAILED or KILLED.
        """
        self._client.set_terminated(run_id, status)

    def delete_runs(self, study_id: str) -> int:
        """Delete all runs of a study.

        MLflow lists at most RUNS_PER_PAGE at once, and no deleted ones.

        Args:
            study_id: The study's id.

        Returns:
            How many were deleted.
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
    """Return the name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "_", name)
