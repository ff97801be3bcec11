"""A trial's own append-only metrics file: the truth that MLflow is a copy of.

One JSON object a line, its checksum (CRC-32, hex) as the last field. A metric row has `key, step,
timestamp, value`; records of other kinds have `kind` and no `key`. For one (key, step) the first row counts:
a resumed trial logs the rows beyond its checkpoint again, and they are recognised.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import JsonValue

from thriftune import files
from thriftune.errors import OutOfStorageError
from thriftune.tracking.keys import MACHINE_PREFIX, VALIDATION_PREFIX
from thriftune.tracking.records import Record, encode, metric_row, whole_records

log = logging.getLogger(__name__)

CURSOR = "tracking.json"
"""File beside a journal that notes how much of it was sent (see cursor.py)."""


class Journal:
    """The open journal of one trial, for one writer; it can be used in a `with` block."""

    def __init__(
        self, path: Path, owned: Callable[[], None] = lambda: None, *, taken_over: bool = False
    ) -> None:
        """Open or create a journal.

        A torn last line is cut; a bad line elsewhere raises DamageError.

        Args:
            path: Of the journal; its folder is created where it is missing.
            owned: Called before each append; raises if this process no longer owns the trial.
            taken_over: Whether a process on another machine may still have it open. What that process appends
                from now on goes to a file that nobody reads.
        """
        self.path = Path(path)
        self._owned = owned
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._values: dict[tuple[str, int], float | None] = {}
        self._records: dict[str, Record] = {}
        self._warned = False
        if not self.path.exists():
            # What was sent of an earlier journal says nothing of this one.
            files.remove_file(self.path.with_name(CURSOR))
        content = self._load()
        if taken_over:
            files.write_bytes(self.path, content)
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        files.fsync_directory(self.path.parent)

    def _load(self) -> bytes:
        """Read the journal; return its whole lines."""
        if not self.path.exists():
            return b""
        whole = 0
        content = self.path.read_bytes()
        for record, end in whole_records(content, self.path):
            whole = end
            if (row := metric_row(record)) is not None:
                self._values[row.key, row.step] = row.value
            else:
                self._records[str(record["kind"])] = record
        if whole < len(content):
            log.info("cut a torn last line of %d bytes from %s", len(content) - whole, self.path)
            with self.path.open("rb+") as handle:
                handle.truncate(whole)
                files.fsync_file(handle, self.path)
        return content[:whole]

    def log(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Append a row for each key that has none for this step yet, in one write, which is not fsynced.

        Args:
            metrics: Values by key. None, infinite and NaN: the metric is undefined at this step.
            step: Optimizer step or epoch, as the key wants it.
        """
        timestamp = time.time_ns() // 1_000_000
        lines, new = b"", dict[tuple[str, int], float | None]()
        for key, raw in metrics.items():
            value = None if raw is None or not math.isfinite(raw) else float(raw)
            if (key, step) in self._values:
                self._recognise(key, step, value)
                continue
            new[key, step] = value
            row: Record = {"key": key, "step": step, "timestamp": timestamp, "value": value}
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
                "%s at step %d was logged again with another value (%s instead of %s); the first one is kept",
                key,
                step,
                value,
                self._values[key, step],
            )

    def record_once(self, kind: str, **fields: JsonValue) -> None:
        """Append a record that is not a metric, unless the journal has one of this kind.

        Args:
            kind: `start`, `end` or `stopped`.
            **fields: What it says.
        """
        if kind not in self._records:
            record: Record = {"kind": kind, **fields, "timestamp": time.time_ns() // 1_000_000}
            self._append(encode(record))
            self._records[kind] = record

    def record(self, kind: str) -> Record | None:
        """Return the record of a kind, or None.

        Args:
            kind: As for `record_once`.
        """
        return self._records.get(kind)

    def has(self, key: str, step: int) -> bool:
        """Return whether the journal has a row, even an undefined one.

        Args:
            key: Of the metric.
            step: Of the row.
        """
        return (key, step) in self._values

    def value(self, key: str, step: int) -> float | None:
        """Return the value of a row; KeyError is raised if there is no row.

        Args:
            key: Of the metric.
            step: Of the row.
        """
        return self._values[key, step]

    def steps(self, key: str) -> list[int]:
        """Return the steps of a key's rows, sorted.

        Args:
            key: Of the metric.
        """
        return sorted(step for name, step in self._values if name == key)

    def rows(self, key: str) -> list[tuple[int, float | None]]:
        """Return (step, value) of a key's rows in the order in which they were written.

        Args:
            key: Of the metric.
        """
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

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
