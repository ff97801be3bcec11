"""How far a journal was sent: `tracking.json` beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thriftune import files
from thriftune.tracking.journal import MetricRow, metric_row, read_records

CURSOR = "tracking.json"


@dataclass(frozen=True)
class Cursor:
    """Rows before `sent_bytes` are in the MLflow store `uri`."""

    uri: str
    sent_bytes: int


def read_cursor(journal: Path, uri: str) -> int:
    """Bytes of the journal that this store has; 0 where that is unknown or of another store."""
    try:
        value = files.read_json(journal.with_name(CURSOR))
        return int(value["sent_bytes"]) if value["uri"] == uri else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def write_cursor(journal: Path, cursor: Cursor) -> None:
    """Note how far this store has the journal."""
    files.write_json(journal.with_name(CURSOR), {"uri": cursor.uri, "sent_bytes": cursor.sent_bytes})


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
