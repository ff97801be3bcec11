"""A trial's own append-only metrics file: the truth that MLflow is a copy of.

One JSON object a line, its checksum (CRC-32, hex) as the last field. A metric row has `key, step,
timestamp, value`; records of other kinds have `kind` and no `key`. For one (key, step) the row first
written stands: a resumed trial makes the rows beyond its checkpoint again, and they are recognised.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from thriftune import files
from thriftune.errors import OutOfStorageError
from thriftune.tracking.keys import MACHINE_PREFIX, VALIDATION_PREFIX
from thriftune.tracking.records import encode, whole_records

log = logging.getLogger(__name__)

CURSOR = "tracking.json"
"""Beside a journal: how far it was sent (see cursor.py)."""


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
        for record, end in whole_records(content, self.path):
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
