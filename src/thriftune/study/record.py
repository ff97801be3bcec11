"""study.json: the study's identity, resolved configuration, data, versions and machine."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from thriftune import files
from thriftune.config import Parameters, StudyConfig
from thriftune.errors import DamageError, RefusedError, StudyError
from thriftune.json_schema import refuse_newer, violation
from thriftune.study.identity import differences
from thriftune.study.provenance import git_commit, machine, versions

log = logging.getLogger(__name__)

STUDY, CHECKSUM, ARBITER = "study.json", "checksum", "arbiter"
SCHEMA_VERSION = 1
FILES = "files of one machine"
"""The arbiter where no server is configured."""

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Record of one study",
    "type": "object",
    "required": [
        "schema_version",
        "study_id",
        "study_name",
        "identity",
        "config",
        "trials",
        "data",
        "seeds",
        "versions",
        "git_commit",
        "machine",
        "created_at",
        "changes",
    ],
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "study_id": {"type": "string"},
        "study_name": {"type": "string"},
        "identity": {"type": "object", "required": ["threads", "device", "data_fingerprint"]},
        "config": {"type": "object", "properties": {"storage": {"type": "object"}}, "required": ["storage"]},
        "data": {"type": "object", "required": ["fingerprint"]},
        "seeds": {"type": "object"},
        "versions": {"type": "object"},
        "checksum": {"type": "string"},
        "trials": {"type": "integer", "minimum": 1},
        "ended": {
            "description": "The rule that ended the search before its last trial.",
            "type": "object",
            "required": ["rule", "limit", "trials", "reason"],
            "properties": {
                "rule": {"enum": ["timeout", "stop_after_no_gain"]},
                "limit": {"type": "number"},
                "trials": {"type": "integer"},
                "seconds": {"type": "number"},
                "reason": {"type": "string"},
            },
        },
        "extended": {
            "description": "Trials and seconds of training that the rules leave out since trials were added.",
            "type": "object",
            "required": ["trials", "seconds"],
        },
        "arbiter": {
            "description": "What says who owns the study: locks on files, or those of one PostgreSQL.",
            "type": "string",
        },
        "changes": {"type": "array", "items": {"type": "object"}},
    },
}


def recorded_threads(folder: Path, wanted: int | None) -> int:
    """The thread count of a study: recorded, else configured, else the physical cores."""
    record = read_record(folder)
    if record is not None and wanted is None:
        return int(record["identity"]["threads"])
    return wanted or psutil.cpu_count(logical=False) or 1


def read_record(folder: Path) -> dict[str, Any] | None:
    """Return the record, or None where there is no study yet.

    Args:
        folder: The study's folder.

    Raises:
        DamageError: The file is no record, or not the one that was written.
        NewerFormatError: It is whole, and of a format that only a newer version knows.
    """
    path = folder / STUDY
    if not path.exists():
        return None
    try:
        record: dict[str, Any] = files.read_json(path)
        stated = record.pop(CHECKSUM, None) if isinstance(record, dict) else None
        whole = stated == files.sha256_json(record)
        if whole:  # else its version may be what is damaged
            refuse_newer(record, "schema_version", SCHEMA_VERSION, str(path))
        _check(record)
        if not whole:
            raise ValueError("its content does not have the checksum that it states")
    except (OSError, ValueError, RecursionError) as error:
        raise DamageError(
            f"is no study record: {error}",
            where=str(path),
            remedy="put it back from a copy. Without one, `thriftune study delete` removes the study.",
        ) from error
    return record


def _check(record: Mapping[str, Any]) -> None:
    """Raise ValueError where a record does not follow its schema."""
    found = violation(record, SCHEMA)
    if found is not None:
        raise ValueError(found.message)


def require_record(folder: Path) -> dict[str, Any]:
    """The record of a study that is at work; StudyError where it was deleted."""
    record = read_record(folder)
    if record is None:
        raise StudyError(
            "the study's record was deleted while this process worked",
            where=str(folder / STUDY),
            remedy="put it back, or choose another study.name.",
        )
    return record


def require_arbiter(folder: Path, arbiter: str) -> None:
    """RefusedError where another one says who owns what of the study: whoever asks this one would do what
    others do. A record that cannot be read is left to those who need what it says."""
    try:
        record = read_record(folder)
    except DamageError:
        return
    if record is not None:
        check_arbiter(record, folder, arbiter)


def check_arbiter(record: Mapping[str, Any], folder: Path, arbiter: str) -> None:
    """As require_arbiter, of a record that was read."""
    known = record.get(ARBITER, arbiter)
    if known == arbiter:
        return
    raise RefusedError(
        f"the study {record['study_name']!r} is kept by the {known}; this command would use the {arbiter}",
        where=str(folder / STUDY),
        remedy="give conf/local/credentials.yml the same `study_db: {url: ...}` as the other machines have "
        "(docs/several-machines.md), or none where the study is one machine's. To move the study for good: "
        "end all processes that work on it, then `thriftune tracking rebuild --move --yes` at its new place.",
    )


def move(folder: Path, arbiter: str, parameters: Parameters) -> None:
    """From now on this one says who owns the study, and its metrics go to the configured store; nothing is
    written where no other has said so."""
    record = require_record(folder)
    known = record.get(ARBITER, arbiter)
    if known != arbiter:
        record["config"]["tracking"] = parameters.model_dump(mode="json")["tracking"]
        record["changes"].append({"at": _now(), "settings": [f"{ARBITER}: {known} -> {arbiter}"]})
        write_record(folder, record | {ARBITER: arbiter})


def open_or_create(
    folder: Path,
    study_id: str,
    parameters: Parameters,
    identity: Mapping[str, Any],
    data: Mapping[str, Any],
    arbiter: str = FILES,
) -> dict[str, Any]:
    """The study's record, made at its first start; StudyError where what can change its result
    differs, where more trials are asked for without study.extend, or where another arbiter than this (see
    ownership) says who owns it."""
    record = read_record(folder)
    if record is None:
        record = {**_new(study_id, parameters, identity, data), ARBITER: arbiter}
        write_record(folder, record)
        return record
    check_arbiter(record, folder, arbiter)
    if ARBITER not in record:
        record[ARBITER] = arbiter
        write_record(folder, record)
    changed = differences(record["identity"], identity)
    if changed:
        raise RefusedError(
            f"the study {parameters.study.name!r} was started with other settings:\n  "
            + "\n  ".join(changed),
            where=str(folder / STUDY),
            remedy=_moved(record["data"], data) + "go back to those settings, or choose another study.name.",
        )
    return _note_changes(folder, record, parameters)


def _moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Of a branch of the hub that stands for another commit than when the study began."""
    old, new = before.get("revision", {}), now.get("revision", {})
    if "commit" not in old or old["commit"] == new.get("commit") or old["id"] != new.get("id"):
        return ""
    return (
        f"{old['revision']} of {old['id']} on the hub was commit {old['commit']} when the study began and is "
        f"{new['commit']} now: set corpus.hub.revision={old['commit']} to go on with the study. Else "
    )


def _note_changes(folder: Path, record: dict[str, Any], parameters: Parameters) -> dict[str, Any]:
    wanted = parameters.study.trials
    if wanted > record["trials"] and not parameters.study.extend:
        raise RefusedError(
            f"the study has {record['trials']} trials on record, {wanted} are asked for",
            where="study.trials",
            remedy="add study.extend=true to run more trials.",
        )
    config = parameters.model_dump(mode="json")
    changed = differences(record["config"], config)
    updated = reopened(record, parameters.study)
    if changed:
        change = {"at": _now(), "settings": changed}
        updated |= {"changes": [*record["changes"], change], "config": config}
    if updated != record:
        write_record(folder, updated)
    return updated


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Replace study.json; checked against its schema."""
    _check(record)
    files.write_json(folder / STUDY, {**record, CHECKSUM: files.sha256_json(record)})


def _new(
    study_id: str, parameters: Parameters, identity: Mapping[str, Any], data: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "study_id": study_id,
        "study_name": parameters.study.name,
        "identity": dict(identity),
        "config": parameters.model_dump(mode="json"),
        "trials": parameters.study.trials,
        "data": dict(data),
        "seeds": {
            "study": parameters.study.seed,
            "split": parameters.corpus.split.seed,
            "bootstrap": parameters.evaluation.seed,
        },
        "versions": versions(),
        "git_commit": git_commit(),
        "machine": machine(),
        "created_at": _now(),
        "changes": [],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def reopened(record: Mapping[str, Any], study: StudyConfig) -> dict[str, Any]:
    """Return the record with which a search continues where its limit was raised or trials were added.

    What was used up before then no longer counts. Where the search had ended, the log says why it continues.

    Returns:
        A new record; equal to `record` where nothing lets the search continue.
    """
    updated = dict(record)
    ended = record.get("ended")
    trials = record["trials"]
    added = study.trials - trials
    if added > 0:
        before = record.get("extended", {"trials": 0, "seconds": 0.0})
        updated["extended"] = {
            "trials": trials if ended is None else ended["trials"],
            "seconds": before["seconds"] if ended is None else ended.get("seconds", before["seconds"]),
        }
        updated["trials"] = study.trials
    if ended is None:
        return updated
    limit = getattr(study, ended["rule"])
    raised = limit is None or limit > ended["limit"]
    if added > 0 or raised:
        del updated["ended"]
        now = "is none now" if limit is None else f"is {limit:g} now"
        why = f"study.{ended['rule']} was {ended['limit']:g} and {now}"
        log.info(
            "the search had ended after %d of %d trials: %s; it goes on: %s",
            ended["trials"],
            trials,
            ended["reason"],
            why if raised else f"study.extend adds {added} trials, and the limit counts from here",
        )
    return updated
