"""The lines of a journal: how they are written, read and checked."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune.errors import DamageError
from thriftune.tracking.keys import MACHINE_PREFIX, TOTAL

KILLED = "KILLED"
"""MLflow's status of a run that goes on when the same command is given again."""
TAIL_BYTES = 1 << 16
"""Of a journal's end, in which its last record lies."""


@dataclass(frozen=True, slots=True)
class MetricRow:
    """One metric; timestamp in milliseconds since 1970, value None where undefined."""

    key: str
    step: int
    timestamp: int
    value: float | None


def encode(record: Mapping[str, Any]) -> bytes:
    """A record as its line, checksum last."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    crc = f"{zlib.crc32(text.encode('utf-8')):08x}"
    return f'{text[:-1]}, "crc32": "{crc}"}}\n'.encode()


def decode(line: bytes) -> dict[str, Any]:
    """The record of a line; ValueError where it is torn or garbled."""
    record: dict[str, Any] = json.loads(line)
    crc = record.pop("crc32", None)
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    if crc != f"{zlib.crc32(text.encode('utf-8')):08x}":
        raise ValueError("the checksum does not match")
    return record


def whole_records(content: bytes, path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """(record, offset of its end); stops before a torn tail."""
    offset = 0
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        end = offset + len(line)
        try:
            if not line.endswith(b"\n"):
                raise ValueError("the line has no end")
            record = decode(line)
        except ValueError as error:
            if end == len(content):
                return
            raise DamageError(
                f"line {number} is not what was written: {error}",
                where=str(path),
                remedy="put the file back from a copy, or delete that line alone: only its row is lost then. "
                "Afterwards run the same command again.",
            ) from error
        yield record, end
        offset = end


def read_records(path: Path, start: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """(record, offset of its end) of every whole line from a byte offset on."""
    with path.open("rb") as handle:
        handle.seek(start)
        content = handle.read()
    for record, end in whole_records(content, path):
        yield record, start + end


def metric_row(record: Mapping[str, Any]) -> MetricRow | None:
    """The record as a metric row; None for other kinds."""
    if "key" not in record:
        return None
    return MetricRow(record["key"], record["step"], record["timestamp"], record["value"])


def read_rows(path: Path) -> list[MetricRow]:
    """All metric rows of a journal, in order; a torn last line is left out."""
    rows = (metric_row(record) for record, _ in read_records(path))
    return [row for row in rows if row is not None]


def first_and_end(path: Path) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """A journal's first record and the record of its trial's end, None each where it is not there. The end is
    the last record of a journal: the rest is not read."""
    with path.open("rb") as handle:
        first = handle.readline()
    lines = _tail(path)
    end = _whole(lines[-1]) if lines else None
    return _whole(first), end if end is not None and end.get("kind") == "end" else None


def last_machine_rows(path: Path) -> dict[str, float]:
    """The rows of what measures the machine that stand at a journal's end, right before the trial's end, by
    key; none where the trial is not over. The rest is not read."""
    lines = _tail(path)
    end = _whole(lines.pop()) if lines else None
    found: dict[str, float] = {}
    while end is not None and end.get("kind") == "end" and lines:
        row = _whole(lines.pop())
        if row is None or not str(row.get("key")).startswith(MACHINE_PREFIX):
            break
        found[row["key"]] = row["value"]
    return found


def _tail(path: Path) -> list[bytes]:
    """The lines of a journal's last TAIL_BYTES; the first of them may be cut."""
    with path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(max(0, size - TAIL_BYTES))
        return handle.read().splitlines(keepends=True)


def _whole(line: bytes) -> dict[str, Any] | None:
    try:
        return decode(line) if line.endswith(b"\n") else None
    except ValueError:
        return None


def run_status(path: Path) -> str:
    """MLflow's status for a trial: FINISHED or FAILED once it is over, KILLED before."""
    _, end = first_and_end(path)
    if end is None:
        return KILLED
    return "FAILED" if end["state"] == "failed" else "FINISHED"


def trial_seconds(journal: Path) -> float | None:
    """What a trial took: without the time in which no process ran and the attempts that were lost; from its
    start to its end where that was not recorded; None where it is not over."""
    first, end = first_and_end(journal)
    if first is None or end is None:
        return None
    whole = (end["timestamp"] - first["timestamp"]) / 1000
    return float(last_machine_rows(journal).get(TOTAL, whole))
