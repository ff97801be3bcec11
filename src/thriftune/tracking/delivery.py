"""How a study's journals get to MLflow: which run is whose, and what is still to be sent."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

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
from thriftune.tracking.records import KILLED, MetricRow, first_and_end, run_status
from thriftune.tracking.sender import Delivery
from thriftune.tracking.study_progress import PROGRESS_TAG, Milestones

QUOTES = re.compile(r"<!-- quotes -->.*?<!-- /quotes -->", re.DOTALL)

log = logging.getLogger(__name__)

FOLDER_TAG, STATE_TAG, REASON_TAG = "thriftune.folder", "thriftune.state", "thriftune.reason"


def undelivered(
    study: StudyHandle, record: StudyRecord, uri: str, sink: MlflowSink, *, running: bool
) -> Iterator[tuple[Delivery, str]]:
    """(delivery, status) of every trial that the store does not have to its end, in order of number;
    running: also of those that are not over."""
    parent = sink.parent_run(study.id, study.name)
    milestones = Milestones()
    for number, journal in journals_of(study.folder).items():
        cursor = read_cursor(journal, uri)
        if cursor.closed and cursor.parent == parent:
            continue
        status = run_status(journal)
        # A trial that was killed before its configuration was written has no rows either.
        if status == KILLED and not running:
            continue
        config = _config_shown(record, journal)
        if config is None:
            log.warning("%s is missing or damaged: the trial's metrics wait", journal.parent / CONFIG)
            continue
        yield study_delivery(study, record, journal, number, config, milestones), status


def _config_shown(record: StudyRecord, journal: Path) -> dict[str, Any] | None:
    """What MLflow shows of a trial's configuration; None where config.yaml is needed and cannot be read. A
    trial whose overrides make no configuration has none."""
    config = read_config(journal.parent / CONFIG)
    if config is not None:
        return trial_params(config)
    first, _ = first_and_end(journal)
    study = record.parameters()
    try:
        override(study, {} if first is None else first["overrides"])
    except ConfigError:
        return trial_params(study, {} if first is None else first["overrides"])
    return None


def study_delivery(
    study: StudyHandle,
    record: StudyRecord,
    journal: Path,
    number: int,
    config: dict[str, Any],
    milestones: Milestones,
) -> Delivery:
    """How a trial's journal gets to its run, nested in the study's. milestones: what is known of the study's,
    the same for all of its trials."""
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
        first, _ = first_and_end(journal)
        started = 0 if first is None else int(first["timestamp"])
        run = sink.trial_run(parent, study.id, number, identity, started)
        # Checkpoints and reports stay in the store: where they are, below storage.root.
        sink.set_tags(run, {FOLDER_TAG: str(journal.parent.relative_to(study.models_root))})
        sink.log_params(run, config)
        return parent, run

    def on_done(sink: MlflowSink, run: str) -> None:
        _, end = first_and_end(journal)
        if end is not None:
            sink.set_tags(run, {STATE_TAG: end["state"], REASON_TAG: end["reason"] or "none"})
        journals = journals_of(study.folder)
        reached = milestones.at(journals, number, record.trials)
        if reached is not None:
            parent = sink.parent_run(study.id, study.name)
            sink.log_rows(parent, reached.rows)
            # Trials come in any order after an outage; the tag tells of the last that is over.
            sink.set_tags(parent, {PROGRESS_TAG: str(milestones.last(journals, record.trials))})

    return Delivery(journal, open_run, on_done)


def has_evaluation(study: StudyHandle, uri: str) -> bool:
    """Whether the store of a URI was given all of it, as far as that is known without asking."""
    place = study.folder / EVALUATION
    return place.exists() and _is_sent(place, read_cursor(place, uri))


def _is_sent(place: Path, known: Cursor) -> bool:
    return known.closed and known.sent_bytes == place.stat().st_size


def deliver_evaluation(study: StudyHandle, sink: MlflowSink, uri: str) -> int:
    """Give the study's run its test figures, evaluation.json and the page, unless it has them; rows sent.

    One step a test evaluation, with its instant: forced ones are further steps.
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
    """The page for others' eyes: no text of a post."""
    return QUOTES.sub("<p>This copy quotes no posts; the page in the study's folder does.</p>", page)
