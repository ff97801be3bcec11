"""The lines of a journal: how they are written, read and checked."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import JsonValue

from thriftune.errors import DamageError
from thriftune.study.trials import TrialEnd
from thriftune.tracking.keys import MACHINE_PREFIX, TOTAL

KILLED = "KILLED"
"""MLflow's status of a run that resumes when the same command is given again."""
TAIL_BYTES = 1 << 16
"""Size of a journal's tail, in which its last record lies."""

Record = dict[str, JsonValue]
"""A line of a journal, without its checksum."""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One value of one metric."""

    key: str
    step: int
    timestamp: int
    """Milliseconds since 1970."""
    value: float | None
    """None: undefined at this step."""


@dataclass(frozen=True, slots=True)
class StartRecord:
    """The first record of a trial's journal."""

    timestamp: int
    """Milliseconds since 1970."""
    overrides: Mapping[str, JsonValue]
    """What the trial sets, by dotted key of the configuration."""
    sampler_attrs: Mapping[str, JsonValue]
    """What the sampler keeps with the trial."""

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Return the start that a record states.

        Args:
            record: Of kind `start`, its checksum verified.
        """
        return cls(
            timestamp=_integer(record["timestamp"]),
            overrides=_mapping(record.get("overrides")),
            sampler_attrs=_mapping(record.get("sampler")),
        )


@dataclass(frozen=True, kw_only=True)
class EndRecord(TrialEnd):
    """The last record of the journal of a trial that has ended."""

    timestamp: int
    """Milliseconds since 1970."""

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Self:
        """Return the end that a record states.

        Args:
            record: Of kind `end`, its checksum verified.
        """
        end = TrialEnd.from_record(record)
        timestamp = record["timestamp"]
        assert isinstance(timestamp, int)
        return cls(state=end.state, value=end.value, reason=end.reason, timestamp=timestamp)


def encode(record: Mapping[str, JsonValue]) -> bytes:
    """Return the line of a record, its checksum last.

    Args:
        record: The record, without a checksum.
    """
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    crc = f"{zlib.crc32(text.encode('utf-8')):08x}"
    return f'{text[:-1]}, "crc32": "{crc}"}}\n'.encode()


def _decode(line: bytes) -> Record:
    """Return the record of a line, without its checksum; a torn or garbled one is a ValueError."""
    if not line.endswith(b"\n"):
        raise ValueError("the line does not end")
    record: Record = json.loads(line)
    crc = record.pop("crc32", None)
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    if crc != f"{zlib.crc32(text.encode('utf-8')):08x}":
        raise ValueError("the checksum does not match")
    return record


def whole_records(content: bytes, path: Path) -> Iterator[tuple[Record, int]]:
    """Yield each record with the offset of its end; stop before a torn last line.

    Args:
        content: Of a journal, from the start of a line.
        path: Of the journal, for the message.

    Raises:
        DamageError: A line before the last is torn or garbled.
    """
    offset = 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        end = offset + len(line)
        try:
            record = _decode(line)
        except ValueError as error:
            if end == len(content):
                return
            raise DamageError(
                f"line {number} is damaged: {error}",
                where=str(path),
                remedy="restore the file from a copy, or delete only that line, which loses its row. "
                "Then run the same command again.",
            ) from error
        yield record, end
        offset = end


def read_records(path: Path, start: int = 0) -> Iterator[tuple[Record, int]]:
    """Yield each whole record of a journal with the offset of its end.

    Args:
        path: Of the journal.
        start: Offset in bytes, at the start of a line, to read from.
    """
    with path.open("rb") as handle:
        handle.seek(start)
        content = handle.read()
    for record, end in whole_records(content, path):
        yield record, start + end


def metric_row(record: Record) -> MetricRow | None:
    """Return the record as a metric row; None for other kinds.

    Args:
        record: Its checksum verified.
    """
    if "key" not in record:
        return None
    return MetricRow(
        str(record["key"]),
        _integer(record["step"]),
        _integer(record["timestamp"]),
        _number(record["value"]),
    )


def read_metrics(path: Path) -> list[MetricRow]:
    """Return all metric rows of a journal, in order; a torn last line is left out.

    Args:
        path: Of the journal.
    """
    rows = (metric_row(record) for record, _ in read_records(path))
    return [row for row in rows if row is not None]


def start_and_end(path: Path) -> tuple[StartRecord | None, EndRecord | None]:
    """Return a journal's first and last record, each None where the journal has none.

    What is between them is not read.

    Args:
        path: Of the journal.
    """
    with path.open("rb") as handle:
        start = _whole(handle.readline())
    lines = _tail(path)
    end = _whole(lines[-1]) if lines else None
    return (
        None if start is None else StartRecord.from_record(start),
        EndRecord.from_record(end) if end is not None and end.get("kind") == "end" else None,
    )


def last_machine_rows(path: Path) -> dict[str, float]:
    """Return the measurements of the machine right before the trial's end, by key; none before it has ended.

    The rest of the journal is not read.

    Args:
        path: Of the journal.
    """
    lines = _tail(path)
    end = _whole(lines.pop()) if lines else None
    found: dict[str, float] = {}
    while end is not None and end.get("kind") == "end" and lines:
        record = _whole(lines.pop())
        row = None if record is None else metric_row(record)
        if row is None or not row.key.startswith(MACHINE_PREFIX):
            break
        if row.value is not None:
            found[row.key] = row.value
    return found


def _tail(path: Path) -> list[bytes]:
    """Return the lines of a journal's last TAIL_BYTES; the first of them may be cut."""
    with path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - TAIL_BYTES))
        return handle.read().splitlines(keepends=True)


def _whole(line: bytes) -> Record | None:
    try:
        return _decode(line)
    except ValueError:
        return None


def run_status(path: Path) -> str:
    """Return MLflow's status for a trial: FINISHED or FAILED once it has ended, KILLED before.

    Args:
        path: Of the trial's journal.
    """
    _, end = start_and_end(path)
    if end is None:
        return KILLED
    return "FAILED" if end.state == "failed" else "FINISHED"


def trial_seconds(journal: Path) -> float | None:
    """Return the seconds that a trial took; None before it has ended.

    The time in which no process ran, and attempts that were lost, are left out; where that was not recorded,
    the seconds are those from its start to its end.

    Args:
        journal: Path of the trial's journal.
    """
    start, end = start_and_end(journal)
    if start is None or end is None:
        return None
    whole = (end.timestamp - start.timestamp) / 1000
    return float(last_machine_rows(journal).get(TOTAL, whole))


def _integer(value: JsonValue) -> int:
    if not isinstance(value, int):
        raise ValueError(f"expected an integer, got {value!r}")
    return value


def _number(value: JsonValue) -> float | None:
    if value is not None and not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {value!r}")
    return value


def _mapping(value: JsonValue) -> Mapping[str, JsonValue]:
    return value if isinstance(value, dict) else {}
