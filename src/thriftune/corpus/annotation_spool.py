"""Annotations grouped by post, even if there are more than fit in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter

ROWS_AT_ONCE = 10_000
CACHE_KIB = 64 * 1024
"""Memory of SQLite, in KiB, before it uses a temporary file."""

Annotation = tuple[str, str, int]
"""(criterion, sentence or "", status)"""


class AnnotationSpool:
    """Annotations in a private SQLite database, in memory or in a temporary file.

    The file is in SQLITE_TMPDIR, TMPDIR or /var/tmp and has no name, so that it is gone however the process
    ends.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        for setting in (f"cache_size = -{CACHE_KIB}", "journal_mode = OFF", "synchronous = OFF"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            "CREATE TABLE rows (post INTEGER, criterion TEXT, sentence TEXT, status INTEGER)"
        )
        self._pending: list[tuple[int, str, str, int]] = []

    def add(self, post: int, criterion: str, sentence: str, status: int) -> None:
        """Add an annotation.

        Args:
            post: Number of the post.
            criterion: The criterion that it is about.
            sentence: The annotated sentence; "" if there is only a label.
            status: 1 for evidence, 0 for an explicit negative.
        """
        self._pending.append((post, criterion, sentence, status))
        if len(self._pending) == ROWS_AT_ONCE:
            self._flush()

    def finish(self) -> None:
        """Make the annotations readable; no more can be added."""
        self._flush()
        self._database.execute("CREATE INDEX by_post ON rows (post)")

    def counts(self) -> dict[tuple[str, int], int]:
        """Return the number of annotations by (criterion, status)."""
        found = self._database.execute("SELECT criterion, status, count(*) FROM rows GROUP BY 1, 2")
        return {(criterion, status): count for criterion, status, count in found}

    def met(self) -> Iterator[tuple[int, str]]:
        """Yield (post, criterion) of each annotation with status 1."""
        yield from self._database.execute("SELECT post, criterion FROM rows WHERE status = 1")

    def by_post(self, first: int) -> Iterator[tuple[int, list[Annotation]]]:
        """Yield the annotations of each post that has any, in the order in which they were added.

        Args:
            first: Number of the first post.

        Yields:
            The post's number, and its annotations.
        """
        rows = self._database.execute(
            "SELECT post, criterion, sentence, status FROM rows WHERE post >= ? ORDER BY post, rowid",
            (first,),
        )
        for post, own in groupby(rows, itemgetter(0)):
            yield post, [(criterion, sentence, status) for _, criterion, sentence, status in own]

    def close(self) -> None:
        """Release the temporary file."""
        self._database.close()

    def _flush(self) -> None:
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO rows VALUES (?, ?, ?, ?)", self._pending)
        self._database.execute("COMMIT")
        self._pending.clear()
