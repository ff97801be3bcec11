"""How a study's journals get to MLflow: which run belongs to which trial, and what is still to be sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from thriftune.config import override
from thriftune.errors import ConfigError
from thriftune.evaluation.metrics import flatten
from thriftune.evaluation.report import EVALUATION, PAGE, read_evaluation
from thriftune.study.handle import StudyHandle
from thriftune.study.layout import CONFIG, journals_of, read_config
from thriftune.study.record import StudyRecord
from thriftune.study.shown import study_params, trial_params
from thriftune.tracking.cursor import Cursor, line_checksum, read_cursor, write_cursor
from thriftune.tracking.mlflow_store import MlflowSink
from thriftune.tracking.records import KILLED, MetricRow, run_status, start_and_end
from thriftune.tracking.sender import Delivery
from thriftune.tracking.study_progress import PROGRESS_TAG, StudyProgressLog

QUOTES = re.compile(r"<!-- quotes -->.*?<!-- /quotes -->", re.DOTALL)

log = logging.getLogger(__name__)

FOLDER_TAG, STATE_TAG, REASON_TAG = "thriftune.folder", "thriftune.state", "thriftune.reason"


def pending_deliveries(
    study: StudyHandle, record: StudyRecord, uri: str, sink: MlflowSink, *, running: bool
) -> Iterator[tuple[Delivery, str]]:
    """Yield (delivery, status) of every trial that the store does not have to its end, in order of numbers.

    Args:
        study: The study, whose folder has the journals.
        record: The study's record.
        uri: The store's.
        sink: The open store.
        running: Whether trials are yielded that have not ended, too.
    """
    parent = sink.parent_run(study.id, study.name)
    progress = StudyProgressLog()
    for number, journal in journals_of(study.folder).items():
        cursor = read_cursor(journal, uri)
        if cursor.closed and cursor.parent == parent:
            continue
        status = run_status(journal)
        # A trial that was killed before its configuration was written has no rows.
        if status == KILLED and not running:
            continue
        config = _config_shown(record, journal)
        if config is None:
            log.warning("%s is missing or damaged: its trial's metrics are not sent", journal.parent / CONFIG)
            continue
        yield trial_delivery(study, record, journal, number, config, progress), status


def _config_shown(record: StudyRecord, journal: Path) -> dict[str, object] | None:
    """Return what MLflow shows of a trial's configuration; None if config.yaml is needed and cannot be read.

    A trial whose overrides make no configuration has no file.
    """
    config = read_config(journal.parent / CONFIG)
    if config is not None:
        return trial_params(config)
    start, _ = start_and_end(journal)
    study, overrides = record.parameters(), {} if start is None else start.overrides
    try:
        override(study, overrides)
    except ConfigError:
        return trial_params(study, overrides)
    return None


def trial_delivery(
    study: StudyHandle,
    record: StudyRecord,
    journal: Path,
    number: int,
    config: Mapping[str, object],
    progress: StudyProgressLog,
) -> Delivery:
    """Return how a trial's journal gets to its run, which is nested in the study's.

    Args:
        study: The study.
        record: The study's record.
        journal: Path of the trial's journal.
        number: The trial's.
        config: What MLflow shows of the trial's configuration, by dotted key.
        progress: The study's, the same object for all of its trials.
    """
    identity = journal.parent.name.rpartition("_")[2]

    def open_run(sink: MlflowSink) -> tuple[str, str]:
        parent = sink.parent_run(study.id, study.name)
        sink.log_params(parent, study_params(record))
        sink.set_tags(
            parent,
            {
                "thriftune.data_fingerprint": record.data.fingerprint,
                "thriftune.git_commit": record.git_commit or "none",
                **{f"version.{name}": value for name, value in record.versions.items()},
            },
        )
        sink.log_json(parent, "study.json", record.to_json())
        start, _ = start_and_end(journal)
        started = 0 if start is None else start.timestamp
        run = sink.trial_run(parent, study.id, number, identity, started)
        # Checkpoints and reports stay on disk: the tag says where, below storage.root.
        sink.set_tags(run, {FOLDER_TAG: str(journal.parent.relative_to(study.models_root))})
        sink.log_params(run, config)
        return parent, run

    def on_done(sink: MlflowSink, run: str) -> None:
        _, end = start_and_end(journal)
        if end is not None:
            sink.set_tags(run, {STATE_TAG: end.state, REASON_TAG: end.reason or "none"})
        journals = journals_of(study.folder)
        reached = progress.at(journals, number, record.trials)
        if reached is not None:
            parent = sink.parent_run(study.id, study.name)
            sink.log_rows(parent, reached.rows)
            # Trials come in any order after an outage; the tag shows the last one that has ended.
            sink.set_tags(parent, {PROGRESS_TAG: str(progress.last(journals, record.trials))})

    return Delivery(journal, open_run, on_done)


def has_evaluation(study: StudyHandle, uri: str) -> bool:
    """Return whether a store has the study's evaluation, as far as that is known without asking the store.

    Args:
        study: The study.
        uri: The store's.
    """
    place = study.folder / EVALUATION
    return place.exists() and _is_sent(place, read_cursor(place, uri))


def _is_sent(place: Path, known: Cursor) -> bool:
    return known.closed and known.sent_bytes == place.stat().st_size


def deliver_evaluation(study: StudyHandle, sink: MlflowSink, uri: str) -> int:
    """Send the study's run its test figures, evaluation.json and the page, unless it has them.

    Each test evaluation is one step, with its instant; forced ones are further steps.

    Args:
        study: The study.
        sink: The open store.
        uri: The store's.

    Returns:
        How many rows were sent.
    """
    evaluation = read_evaluation(study.folder)
    if evaluation is None:
        return 0
    place = study.folder / EVALUATION
    parent = sink.parent_run(study.id, study.name)
    known = read_cursor(place, uri)
    if known.parent == parent and _is_sent(place, known):
        return 0
    rows = [
        MetricRow(f"test/{name}", step, _milliseconds(done.at), value)
        for step, done in enumerate(evaluation.evaluations)
        if done.test_metrics is not None
        for name, value in flatten(done.test_metrics.to_json()).items()
    ]
    sink.log_rows(parent, rows)
    sink.log_json(parent, EVALUATION, evaluation.to_json())
    page = study.folder / PAGE
    if page.exists():
        sink.log_page(parent, PAGE, without_quotes(page.read_text(encoding="utf-8")))
    size = place.stat().st_size
    write_cursor(place, Cursor(uri, parent, size, line_checksum(place, size), closed=True))
    return len(rows)


def _milliseconds(instant: str) -> int:
    return round(datetime.fromisoformat(instant).timestamp() * 1000)


def without_quotes(page: str) -> str:
    """Return the report's page without the text of any post.

    Args:
        page: HTML.
    """
    return QUOTES.sub("<p>This copy quotes no posts; the page in the study's folder does.</p>", page)
