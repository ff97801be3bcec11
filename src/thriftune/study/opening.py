"""Opens a study's record: what must be as it was, what may change, and which locks say who owns the study."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from pathlib import Path

from thriftune.config import Parameters, StudyConfig
from thriftune.corpus.reference import CorpusReference
from thriftune.errors import DamageError, RefusedError
from thriftune.study.identity import StudyIdentity, differences
from thriftune.study.provenance import git_commit, machine, versions
from thriftune.study.record import (
    STUDY,
    Change,
    Extension,
    StudyRecord,
    read_record,
    require_record,
    write_record,
)

log = logging.getLogger(__name__)

FILES = "files of one machine"
"""The arbiter, which decides who owns a study, where no server is configured."""


def open_or_create(
    folder: Path,
    study_id: str,
    parameters: Parameters,
    identity: StudyIdentity,
    data: CorpusReference,
    arbiter: str = FILES,
) -> StudyRecord:
    """Return the study's record, created at its first start, and note what has changed since.

    More trials than on record need study.extend, which is a RefusedError too.

    Args:
        folder: The study's folder.
        study_id: The id that is derived from its name.
        parameters: Those of this run, placed in a project (`Parameters.at`).
        identity: All that can change a result, as of this run.
        data: The corpus of this run.
        arbiter: What says who owns the study, for this process.

    Returns:
        The record as it is on disk now.

    Raises:
        RefusedError: Something that can change a result differs, or another arbiter says who owns the study.
    """
    record = read_record(folder)
    if record is None:
        record = _new(study_id, parameters, identity, data).model_copy(update={"arbiter": arbiter})
        write_record(folder, record)
        return record
    check_arbiter(record, folder, arbiter)
    if record.arbiter is None:
        record = record.model_copy(update={"arbiter": arbiter})
        write_record(folder, record)
    changed = differences(record.identity.to_json(), identity.to_json())
    if changed:
        raise RefusedError(
            f"the study {parameters.study.name!r} was started with other settings:\n  "
            + "\n  ".join(changed),
            where=str(folder / STUDY),
            remedy=_moved(record.data, data) + "return to those settings, or choose another study.name.",
        )
    updated = _with_changes(record, parameters)
    if updated != record:
        write_record(folder, updated)
    return updated


def require_arbiter(folder: Path, arbiter: str) -> None:
    """Raise RefusedError unless the study's record names this arbiter, or none.

    Another one's locks would let two processes in. A record that cannot be read is left to those who need
    what it says.

    Args:
        folder: The study's folder.
        arbiter: What says who owns the study, for this process.
    """
    try:
        record = read_record(folder)
    except DamageError:
        return
    if record is not None:
        check_arbiter(record, folder, arbiter)


def check_arbiter(record: StudyRecord, folder: Path, arbiter: str) -> None:
    """Raise unless a record names this arbiter, or none.

    Args:
        record: The study's record.
        folder: The study's folder, for the message.
        arbiter: What says who owns the study, for this process.

    Raises:
        RefusedError: The record names another one.
    """
    if record.arbiter in (None, arbiter):
        return
    raise RefusedError(
        f"the study {record.study_name!r} is locked through the {record.arbiter}; "
        f"this command would use the {arbiter}",
        where=str(folder / STUDY),
        remedy="give conf/local/credentials.yml the same `study_db: {url: ...}` as the other machines have "
        "(docs/several-machines.md), or none where the study runs on one machine. To move the study for "
        "good: end all processes that work on it, then run `thriftune tracking rebuild --move --yes` there.",
    )


def move(folder: Path, arbiter: str, parameters: Parameters) -> None:
    """Make this arbiter the one that says who owns the study, and send its metrics to the configured store.

    Nothing is written where no other arbiter is on record.

    Args:
        folder: The study's folder.
        arbiter: The one from now on.
        parameters: Those with the configured store.
    """
    record = require_record(folder)
    if record.arbiter in (None, arbiter):
        return
    config = {**record.config, "tracking": parameters.model_dump(mode="json")["tracking"]}
    change = Change(at=_now(), settings=(f"arbiter: {record.arbiter} -> {arbiter}",))
    changes = (*record.changes, change)
    write_record(folder, record.model_copy(update={"config": config, "changes": changes, "arbiter": arbiter}))


def reopened(record: StudyRecord, study: StudyConfig) -> StudyRecord:
    """Return the record with which a search continues where its limit was raised or trials were added.

    What was used up before then no longer counts. Where the search had ended, the log says why it continues.

    Args:
        record: The study as it is on record.
        study: The limits of this run.

    Returns:
        A new record; equal to `record` where nothing lets the search continue.
    """
    ended = record.ended
    added = study.trials - record.trials
    updated = record
    if added > 0:
        before = record.extended or Extension()
        updated = updated.model_copy(
            update={
                "trials": study.trials,
                "extended": Extension(
                    trials=record.trials if ended is None else ended.trials,
                    seconds=before.seconds if ended is None or ended.seconds is None else ended.seconds,
                ),
            }
        )
    if ended is None:
        return updated
    limit = getattr(study, ended.rule)
    raised = limit is None or limit > ended.limit
    if added > 0 or raised:
        updated = updated.model_copy(update={"ended": None})
        now = "is none now" if limit is None else f"is {limit:g} now"
        why = f"study.{ended.rule} was {ended.limit:g} and {now}"
        log.info(
            "the search had ended after %d of %d trials: %s; it continues: %s",
            ended.trials,
            record.trials,
            ended.reason,
            why if raised else f"study.extend adds {added} trials, and the limit counts from here",
        )
    return updated


def _with_changes(record: StudyRecord, parameters: Parameters) -> StudyRecord:
    wanted = parameters.study.trials
    if wanted > record.trials and not parameters.study.extend:
        raise RefusedError(
            f"the study has {record.trials} trials on record, but study.trials={wanted}",
            where="study.trials",
            remedy="add study.extend=true to run more trials.",
        )
    config = parameters.model_dump(mode="json")
    changed = differences(record.config, config)
    updated = reopened(record, parameters.study)
    if not changed:
        return updated
    changes = (*record.changes, Change(at=_now(), settings=tuple(changed)))
    return updated.model_copy(update={"changes": changes, "config": config})


def _moved(before: CorpusReference, now: CorpusReference) -> str:
    """Say which commit to return to where a branch of the hub points to another commit by now."""
    old, new = before.revision, now.revision
    if old.commit is None or old.commit == new.commit or old.id != new.id:
        return ""
    return (
        f"{old.revision} of {old.id} on the hub was commit {old.commit} when the study began and is "
        f"{new.commit} now: set corpus.hub.revision={old.commit} to continue the study. Otherwise "
    )


def _new(
    study_id: str, parameters: Parameters, identity: StudyIdentity, data: CorpusReference
) -> StudyRecord:
    return StudyRecord(
        study_id=study_id,
        study_name=parameters.study.name,
        identity=identity,
        config=parameters.model_dump(mode="json"),
        trials=parameters.study.trials,
        data=data,
        seeds={
            "study": parameters.study.seed,
            "split": parameters.corpus.split.seed,
            "bootstrap": parameters.evaluation.seed,
        },
        versions=versions(),
        git_commit=git_commit(parameters.project_folder),
        machine=machine(),
        created_at=_now(),
        changes=(),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
