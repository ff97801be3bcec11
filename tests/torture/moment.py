"""What a process is about to do to the disk, counted by kind, and its end at the n-th of a kind.

Installed in the process that is to die. A kind is an operation and what it is done to, numbers and hashes
replaced: `append metrics.jsonl`, `rename epoch_N`, `optuna.db commit`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thriftune import files

ANY = "any"
WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")
END = "end"
"""Where a process notes the kind at which it ended, and whether in its middle."""


@dataclass(frozen=True)
class Moment:
    """When a process ends, and how."""

    kind: str = ANY
    at: int = 0
    """The n-th of the kind; 0: never."""
    latest: int = 0
    """Where the kind does not come: after so many operations of any kind; 0: never."""
    torn: bool = False
    """Write the first half of the bytes before the end, where the kind is a write."""
    signals: tuple[int, ...] = (signal.SIGKILL,)


class Countdown:
    """Counts what this process does by kind; sends itself the moment's signals just before it comes."""

    def __init__(self, moment: Moment) -> None:
        self.counts: Counter[str] = Counter()
        self._moment = moment
        self._lock = threading.Lock()

    def install(self) -> None:
        """From now on, for file operations and every database that SQLAlchemy opens."""
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        files.observer = self.on_file
        event.listen(Engine, "before_cursor_execute", self._on_statement)
        event.listen(Engine, "commit", self._on_commit)

    def on_file(self, happening: files.Event) -> None:
        """A file operation is about to happen."""
        if happening.operation == "close":
            return  # changes nothing on the disk
        kind = f"{happening.operation} {_class_of(happening.path)}"
        if self._count(kind):
            torn = self._moment.torn and bool(happening.data)
            if torn:
                with happening.path.open("ab") as handle:
                    handle.write(bytes(happening.data)[: len(happening.data) // 2])
            self._end(kind, torn=torn)

    def _on_statement(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        words = statement.split(None, 3)
        if words[0].upper() in WRITES:
            self._on_database(connection, words[0].lower(), words[1] if words[0] == "UPDATE" else words[2])

    def _on_commit(self, connection: Any) -> None:
        self._on_database(connection, "commit")

    def _on_database(self, connection: Any, deed: str, table: str = "") -> None:
        name = Path(connection.engine.url.database or "").name
        # MLflow makes a hundred tables, some of them again and again.
        kind = f"{name} {deed}" if name.startswith(".new-") else f"{name} {deed} {table}".rstrip()
        if self._count(kind):
            self._end(kind)

    def _count(self, kind: str) -> bool:
        with self._lock:
            self.counts[kind] += 1
            self.counts[ANY] += 1
            moment = self._moment
            if moment.latest and self.counts[ANY] == moment.latest:
                return True
            return moment.kind in (kind, ANY) and self.counts[moment.kind] == moment.at

    def _end(self, kind: str, *, torn: bool = False) -> None:
        Path(END).write_text(json.dumps([kind, torn]), encoding="utf-8")
        first, *more = self._moment.signals
        for number in more:
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        os.kill(os.getpid(), first)


def _class_of(path: Path) -> str:
    return re.sub(r"[0-9a-f]{8,}|\d+", "N", path.name)
