"""study.json: the study's identity, resolved configuration, data, versions and machine."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

import psutil
from pydantic import Field, JsonValue

from thriftune import files
from thriftune.config import Parameters, parse_parameters
from thriftune.corpus.reference import CorpusReference
from thriftune.errors import DamageError, StudyError, refuse_newer
from thriftune.json_records import JsonRecord, left_out_if_none
from thriftune.study.identity import StudyIdentity

STUDY, CHECKSUM = "study.json", "checksum"
SCHEMA_VERSION: Final = 1


class Stop(JsonRecord):
    """The rule that ended the search before its last trial."""

    rule: Literal["timeout", "stop_after_no_gain"]
    """The parameter below `study` that sets the limit."""
    limit: int | float
    trials: int
    """Trials that were over by then."""
    seconds: float | None = left_out_if_none()
    """Training time that was used by then; only of `timeout`."""
    reason: str


class Extension(JsonRecord):
    """What the stopping rules leave out since trials were added."""

    trials: int = 0
    seconds: float = 0.0
    """Of training."""


class Change(JsonRecord):
    """Settings that were changed between two runs of the study."""

    at: str
    settings: tuple[str, ...]


class StudyRecord(JsonRecord):
    """Record of one study."""

    schema_version: Literal[1] = SCHEMA_VERSION
    study_id: str
    study_name: str
    identity: StudyIdentity
    config: dict[str, JsonValue]
    """All parameters of the last run, as they were written; `parameters` has them parsed."""
    trials: int = Field(ge=1)
    """Trials of the study in all."""
    data: CorpusReference
    seeds: dict[str, int]
    versions: dict[str, str]
    git_commit: str | None
    machine: dict[str, JsonValue]
    created_at: str
    changes: tuple[Change, ...]
    arbiter: str | None = left_out_if_none()
    """What says who owns the study: locks on files, or those of one PostgreSQL. None: a record of a version
    that only had files."""
    extended: Extension | None = left_out_if_none()
    ended: Stop | None = left_out_if_none()

    @property
    def budget_bytes(self) -> int:
        """The byte budget of the last run, known also where this version does not know all parameters."""
        storage = self.config["storage"]
        assert isinstance(storage, dict)
        return int(str(storage["max_total_size"]))

    def parameters(self, root: Path | None = None) -> Parameters:
        """Return the parameters of the last run; ConfigError where this version does not know them all.

        Args:
            root: The project's folder, from which relative paths start; None: no path is needed.
        """
        return parse_parameters(self.config, root=root)


def read_record(folder: Path) -> StudyRecord | None:
    """Return the record of a study, or None where there is no study yet.

    NewerFormatError is raised for a whole record of a format that only a newer version knows.

    Args:
        folder: The study's folder.

    Raises:
        DamageError: The file is not a record, or not the one that was written.
    """
    path = folder / STUDY
    if not path.exists():
        return None
    try:
        return _verified(files.read_json(path), path)
    except (OSError, ValueError, RecursionError) as error:
        raise DamageError(
            f"is not a study record: {error}",
            where=str(path),
            remedy="restore it from a copy; without one, `thriftune study delete` removes the study.",
        ) from error


def _verified(value: object, path: Path) -> StudyRecord:
    checksum = value.pop(CHECKSUM, None) if isinstance(value, dict) else None
    is_whole = checksum == files.sha256_json(value)
    if is_whole:  # else its version may be what is damaged
        refuse_newer(value, "schema_version", SCHEMA_VERSION, str(path))
    record = StudyRecord.from_json(value)
    if not is_whole:
        raise ValueError("its content does not match its checksum")
    return record


def require_record(folder: Path) -> StudyRecord:
    """Return the record of a study that this process works on.

    Args:
        folder: The study's folder.

    Raises:
        StudyError: The record was deleted.
    """
    record = read_record(folder)
    if record is None:
        raise StudyError(
            "the study's record was deleted while this process was working",
            where=str(folder / STUDY),
            remedy="restore it, or choose another study.name.",
        )
    return record


def write_record(folder: Path, record: StudyRecord) -> None:
    """Replace study.json, atomically and durably; ValueError, and no change, for a record that is not valid.

    Args:
        folder: The study's folder.
        record: Checked before anything is written.
    """
    value = record.to_json()
    files.write_json(folder / STUDY, {**value, CHECKSUM: files.sha256_json(value)})


def recorded_threads(folder: Path, wanted: int | None) -> int:
    """Return the thread count of a study: as configured, else as recorded, else the physical cores.

    Args:
        folder: The study's folder.
        wanted: As configured; None: as recorded.
    """
    record = read_record(folder)
    if record is not None and wanted is None:
        return record.identity.threads
    return wanted or psutil.cpu_count(logical=False) or 1
