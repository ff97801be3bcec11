"""Rows of annotations, put by post: more of them than memory holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

ROWS_AT_ONCE = 10_000
CACHE_KIB = 64 * 1024
"""What SQLite keeps in memory before it takes a temporary file."""

Annotation = tuple[str, str, int]
"""(criterion, sentence or '', status)"""


class Spool:
    """Annotations in a private database of SQLite's: in memory while they are few, else in a temporary file
    (in SQLITE_TMPDIR, TMPDIR or /var/tmp) that goes with the process, however it ends."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in (f"cache_size = -{CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE rows (post INTEGER, criterion TEXT, sentence TEXT, status INTEGER)"
        )
        self._pending: list[tuple[int, str, str, int]] = []

    def add(self, post: int, criterion: str, sentence: str, status: int) -> None:
        """One more row of a post, by its number."""
        self._pending.append((post, criterion, sentence, status))
        if len(self._pending) == ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> None:
        """No more rows are added."""
        self._flush()
        self._database.execute("CREATE INDEX by_post ON rows (post)")

    def counts(self) -> dict[tuple[str, int], int]:
        """Rows by (criterion, status)."""
        found = self._database.execute("SELECT criterion, status, count(*) FROM rows GROUP BY 1, 2")
        return {(criterion, status): count for criterion, status, count in found}

    def met(self) -> Iterator[tuple[int, str]]:
        """(post, criterion) of each row of status 1."""
        yield from self._database.execute("SELECT post, criterion FROM rows WHERE status = 1")

    def by_post(self, first: int) -> Iterator[tuple[int, list[Annotation]]]:
        """The rows of each post that has some, from `first` on, in the order in which they were added."""
        rows = self._database.execute(
            "SELECT post, criterion, sentence, status FROM rows WHERE post >= ? ORDER BY post, rowid",
            (first,),
        )
        for post, own in groupby(rows, itemgetter(0)):
            yield post, [(criterion, sentence, status) for _, criterion, sentence, status in own]

    def close(self) -> None:
        """Give the temporary file back."""
        self._database.close()

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", self._pending)
        self._database.execute("COMMIT")
        self._pending.clear()
