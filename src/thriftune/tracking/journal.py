"""A trial's own append-only metrics file: the truth that MLflow is a copy of.

One JSON object a line, its checksum (CRC-32, hex) as the last field. A metric row has `key, step,
timestamp, value`; records of other kinds have `kind` and no `key`. For one (key, step) the row first
written stands: a resumed trial makes the rows beyond its checkpoint again, and they are recognised.
"""

from __future__ import annotations

import json
import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.errors import DamageError, OutOfStorageError
from thriftune.tracking.keys import MACHINE_PREFIX, TOTAL, VALIDATION_PREFIX

log = logging.getLogger(__name__)

CURSOR = "tracking.json"
"""Beside a journal: how far it was sent (see cursor.py)."""
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


class Journal:
    """The open journal of one trial; one writer."""

    def __init__(
        self, path: Path, owned: Callable[[], None] = lambda: None, *, taken_over: bool = False
    ) -> None:
        """Open or create; a torn last line is cut, a bad line elsewhere is a DamageError.

        owned: asked before each append; raises where this process no longer owns the trial.
        taken_over: a process on another machine may still have it open; what that one appends from now on
        goes to a file that nobody reads.
        """
        self.path = Path(path)
        self._owned = owned
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._values: dict[tuple[str, int], float | None] = {}
        self._records: dict[str, Mapping[str, Any]] = {}
        self._warned = False
        if not self.path.exists():
            # A journal that begins anew has nothing to do with how far another one was sent.
            files.remove_file(self.path.with_name(CURSOR))
        content = self._load()
        if taken_over:
            files.write_bytes(self.path, content)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        files.fsync_directory(self.path.parent)

    def _load(self) -> bytes:
        """Read what is there; all of it that is whole."""
        if not self.path.exists():
            return b""
        whole = 0
        content = self.path.read_bytes()
        for record, end in _records(content, self.path):
            whole = end
            if "key" in record:
                self._values[record["key"], record["step"]] = record["value"]
            else:
                self._records[record["kind"]] = record
        if whole < len(content):
            log.info("cut a torn last line of %d bytes from %s", len(content) - whole, self.path)
            with self.path.open("rb+") as handle:
                handle.truncate(whole)
                files.fsync_file(handle, self.path)
        return content[:whole]

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Append one row per key that has none for this step yet; one write, not fsynced."""
        timestamp = time.time_ns() // 1_000_000
        lines, new = b"", dict[tuple[str, int], float | None]()
        for key, raw in metrics.items():
            value = None if raw is None or not math.isfinite(raw) else float(raw)
            if (key, step) in self._values:
                self._recognise(key, step, value)
                continue
            new[key, step] = value
            row = {"key": key, "step": step, "timestamp": timestamp, "value": value}
            lines += encode(row)
        if lines:
            self._append(lines)
        self._values |= new  # not before: a row that could not be written is not on record
        if any(key.startswith(VALIDATION_PREFIX) for key in metrics):
            self._warned = False  # validation ends an epoch, and one warning an epoch is enough

    def _recognise(self, key: str, step: int, value: float | None) -> None:
        if key.startswith(MACHINE_PREFIX) or self._values[key, step] == value:
            return
        if not self._warned:
            self._warned = True
            log.warning(
                "%s at step %d was made again with another value (%s, on record %s); the record stands",
                key,
                step,
                value,
                self._values[key, step],
            )

    def record_once(self, kind: str, **fields: Any) -> None:
        """Append a record of another kind, once in the journal's life."""
        if kind not in self._records:
            record = {"kind": kind, **fields, "timestamp": time.time_ns() // 1_000_000}
            self._append(encode(record))
            self._records[kind] = record

    def record(self, kind: str) -> Mapping[str, Any] | None:
        """The record of a kind, or None."""
        return self._records.get(kind)

    def has(self, key: str, step: int) -> bool:
        """Whether there is a row of a key and step, be it undefined."""
        return (key, step) in self._values

    def value(self, key: str, step: int) -> float | None:
        """The value on record; KeyError where there is none."""
        return self._values[key, step]

    def steps(self, key: str) -> list[int]:
        """The steps on record of a key, sorted."""
        return sorted(step for name, step in self._values if name == key)

    def rows(self, key: str) -> list[tuple[int, float | None]]:
        """(step, value) of a key in the order in which they were written."""
        return [(step, value) for (name, step), value in self._values.items() if name == key]

    def sync(self) -> None:
        """Make all rows durable; called when a checkpoint commits."""
        files.announce("fsync", self.path)
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Sync and close; closing twice is fine."""
        if self._descriptor >= 0:
            self.sync()
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, lines: bytes) -> None:
        self._owned()
        files.announce("append", self.path, data=lines)
        try:
            files.append_all(self._descriptor, lines)
        except OSError as error:
            if not files.is_out_of_space(error):
                raise
            raise OutOfStorageError(
                "the disk has no room for the next metric",
                where=str(self.path),
                remedy="make room on the disk, then run the same command again.",
            ) from error


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


def _records(content: bytes, path: Path) -> Iterator[tuple[dict[str, Any], int]]:
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
    for record, end in _records(content, path):
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
