"""How far a journal was sent: `tracking.json` beside it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from thriftune import files
from thriftune.tracking.journal import CURSOR, MetricRow, metric_row, read_records


@dataclass(frozen=True)
class Cursor:
    """What the MLflow store `uri` has of a journal."""

    uri: str
    parent: str = ""
    """The study's run there: another one means that the store was made anew, and has nothing."""
    sent_bytes: int = 0
    """Rows before this offset are there."""
    closed: bool = False
    """The trial is over, and its run's status and its row in the parent run are there too."""


def read_cursor(journal: Path, uri: str) -> Cursor:
    """What this store has; nothing where that is unknown or of another store."""
    try:
        cursor = Cursor(**files.read_json(journal.with_name(CURSOR)))
    except (OSError, ValueError, TypeError):
        return Cursor(uri)
    return cursor if cursor.uri == uri else Cursor(uri)


def write_cursor(journal: Path, cursor: Cursor) -> None:
    """Note how far this store has the journal."""
    files.write_json(journal.with_name(CURSOR), asdict(cursor))


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
