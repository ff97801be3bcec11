"""How far a journal was sent: `tracking.json` beside it."""

from __future__ import annotations

import os
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from thriftune import files
from thriftune.config import without_password
from thriftune.tracking.journal import CURSOR
from thriftune.tracking.records import TAIL_BYTES, MetricRow, metric_row, read_records


@dataclass(frozen=True)
class Cursor:
    """What the MLflow store `uri` has of a journal."""

    uri: str
    parent: str = ""
    """The study's run there: another one means that the store was made anew, and has nothing."""
    sent_bytes: int = 0
    """Rows before this offset are there."""
    last_line: str = ""
    """Checksum of the line that ends there: a journal that was cut, edited or begun anew has another one."""
    closed: bool = False
    """The trial is over, and its run's status and its row in the parent run are there too."""
    run: str = ""
    """The trial's run there: another one has no rows yet."""


def read_cursor(journal: Path, uri: str) -> Cursor:
    """What this store has; nothing where that is unknown, of another store, or of another journal than this.
    Rows that are sent again change nothing."""
    try:
        cursor = Cursor(**files.read_json(journal.with_name(CURSOR)))
        sound = cursor.uri == without_password(uri) and cursor.last_line == line_checksum(
            journal, cursor.sent_bytes
        )
    except (OSError, ValueError, TypeError):
        return Cursor(uri)
    return cursor if sound else Cursor(uri)


def line_checksum(path: Path, end: int) -> str:
    """CRC-32 (hex) of the line of a file that ends at an offset; empty at 0. ValueError where none does."""
    if end == 0:
        return ""
    with path.open("rb") as handle:
        size = handle.seek(0, os.SEEK_END)
        if not 0 < end <= size:
            raise ValueError(f"the file has {size} bytes, not {end}")
        handle.seek(max(0, end - TAIL_BYTES))
        content = handle.read(end - handle.tell())
    if not content.endswith(b"\n"):
        raise ValueError(f"no line ends at byte {end}")
    return f"{zlib.crc32(content.splitlines(keepends=True)[-1]):08x}"


def write_cursor(journal: Path, cursor: Cursor) -> None:
    """Note how far this store has the journal."""
    nameless = replace(cursor, uri=without_password(cursor.uri))
    files.write_json(journal.with_name(CURSOR), asdict(nameless))


def unsent(journal: Path, start: int) -> tuple[list[MetricRow], int]:
    """(metric rows after an offset, offset of the last whole line's end)."""
    if not journal.exists() or journal.stat().st_size <= start:
        return [], start
    rows: list[MetricRow] = []
    end = start
    for record, at in read_records(journal, start):
        row = metric_row(record)
        end = at
        if row is not None:
            rows.append(row)
    return rows, end
