"""What a process is about to do to the disk, counted by kind, and its end at the n-th of a kind.

Installed in the process that is to die. A kind is an operation and what it is done to, numbers and hashes
replaced: `append metrics.jsonl`, `rename epoch_N`, `optuna.db commit`.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.torture.groups import ANY, BETWEEN, DATABASES, End, Moment, class_of, is_between_stores
from thriftune import files

WRITES = ("INSERT", "UPDATE", "DELETE", "CREATE")
END = "end"
"""Where a process notes its End."""


class Countdown:
    """Counts what this process does by kind; sends itself the moment's signals just before it comes."""

    def __init__(self, moment: Moment) -> None:
        self.counts: Counter[str] = Counter()
        self._moment = moment
        self._lock = threading.Lock()
        self._written: set[str] = set()
        """Databases with a transaction that has written and is open."""
        self._committed = ""

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
        path = happening.path
        torn = self._moment.torn and bool(happening.data)
        end = self._count(
            f"{happening.operation} {class_of(path.name)}", class_of(path.parent.name), torn=torn
        )
        if end is None:
            return
        if torn:
            with path.open("ab") as handle:
                handle.write(bytes(happening.data)[: len(happening.data) // 2])
        self._end(end)

    def _on_statement(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        words = statement.split(None, 3)
        if words[0].upper() in WRITES:
            self._on_database(connection, words[0].lower(), words[1] if words[0] == "UPDATE" else words[2])

    def _on_commit(self, connection: Any) -> None:
        self._on_database(connection, "commit")

    def _on_database(self, connection: Any, verb: str, table: str = "") -> None:
        name = Path(connection.engine.url.database or "").name
        # MLflow makes a hundred tables, some of them again and again.
        kind = f"{name} {verb}" if name.startswith(".new-") else f"{name} {verb} {table}".rstrip()
        end = self._count(kind)
        if end is not None:
            self._end(end)
        self._note_transaction(name, verb)

    def _note_transaction(self, database: str, verb: str) -> None:
        """Remember which database was the last to be written; a commit of a read says nothing."""
        with self._lock:
            if verb != "commit" and database in DATABASES:
                self._written.add(database)
            elif database in self._written:
                self._written.remove(database)
                self._committed = database

    def _count(self, kind: str, folder: str = "", *, torn: bool = False) -> End | None:
        """Count what is about to happen; the process's end, where this is the moment."""
        with self._lock:
            by_signal = self._moment.signals[0] != signal.SIGKILL
            end = End(kind, folder, torn, self.counts[ANY] + 1, self._committed, by_signal)
            names = {kind, ANY, *([BETWEEN] if is_between_stores(end) else [])}
            self.counts.update(names)
            return end if self._is_moment(names) else None

    def _is_moment(self, names: set[str]) -> bool:
        moment = self._moment
        if moment.latest and self.counts[ANY] == moment.latest:
            return True
        return moment.kind in names and self.counts[moment.kind] == moment.at

    def _end(self, end: End) -> None:
        Path(END).write_text(json.dumps(asdict(end)), encoding="utf-8")
        first, *more = self._moment.signals
        for number in more:
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
        os.kill(os.getpid(), first)
