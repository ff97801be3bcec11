"""How much of a journal was sent: `tracking.json` beside it."""

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
    """What an MLflow store has of a journal."""

    uri: str
    """The store's, without a password."""
    parent: str = ""
    """Id of the study's run there. A different one means that the store was recreated, and has nothing."""
    sent_bytes: int = 0
    """The store has the rows before this offset."""
    last_line: str = ""
    """Checksum of the line that ends there. A journal that was cut, edited or recreated has another one."""
    closed: bool = False
    """The trial has ended, and its run's status and its row in the parent run are there too."""
    run: str = ""
    """Id of the trial's run there. A different run has no rows yet."""


def read_cursor(journal: Path, uri: str) -> Cursor:
    """Return what a store has of a journal; an empty cursor where that is not known for sure.

    The note may be of another store, or of a journal that is gone. Rows that are sent twice change nothing.

    Args:
        journal: Path of the journal; the note is beside it.
        uri: The store's.
    """
    try:
        cursor = Cursor(**files.read_json(journal.with_name(CURSOR)))
        sound = cursor.uri == without_password(uri) and cursor.last_line == line_checksum(
            journal, cursor.sent_bytes
        )
    except (OSError, ValueError, TypeError):
        return Cursor(uri)
    return cursor if sound else Cursor(uri)


def line_checksum(path: Path, end: int) -> str:
    """Return the CRC-32 (hex) of the line of a file that ends at an offset; empty at 0.

    Args:
        path: Of the file.
        end: Offset in bytes, after the end of the line.

    Raises:
        ValueError: No line ends there.
    """
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
    """Note what a store has of a journal.

    Args:
        journal: Path of the journal; the note is written beside it.
        cursor: What the store has; a password in its URI is left out.
    """
    noted = replace(cursor, uri=without_password(cursor.uri))
    files.write_json(journal.with_name(CURSOR), asdict(noted))


def unsent(journal: Path, start: int) -> tuple[list[MetricRow], int]:
    """Read the metric rows after an offset.

    Args:
        journal: Path of the journal, which need not exist.
        start: Offset in bytes, at the start of a line.

    Returns:
        The rows, and the offset after the last whole line.
    """
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
