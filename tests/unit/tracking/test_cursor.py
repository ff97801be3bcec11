"""A cursor is believed only where it fits the journal beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from thriftune.tracking.cursor import Cursor, line_checksum, read_cursor, write_cursor
from thriftune.tracking.journal import CURSOR, Journal

pytestmark = pytest.mark.unit
URI = "sqlite:///x.db"


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Ten rows."""
    log = Journal(tmp_path / "metrics.jsonl")
    for step in range(10):
        log.log({"a": step / 7}, step)
    log.close()
    return log.path


def sent(journal: Path, lines: int) -> Cursor:
    """A store that has so many lines."""
    end = sum(len(line) for line in journal.read_bytes().splitlines(keepends=True)[:lines])
    cursor = Cursor(URI, "parent", end, line_checksum(journal, end))
    write_cursor(journal, cursor)
    return cursor


def test_a_cursor_comes_back(journal: Path) -> None:
    """Also of a journal that has grown since; of another store it says nothing."""
    cursor = sent(journal, 4)
    assert read_cursor(journal, URI) == cursor
    log = Journal(journal)
    log.log({"b": 1.0}, 1)
    log.close()
    assert read_cursor(journal, URI) == cursor
    assert read_cursor(journal, "http://elsewhere") == Cursor("http://elsewhere")


def test_a_journal_that_was_cut_or_made_anew_has_everything_to_send(journal: Path) -> None:
    """A power cut took its end; or it has other lines, whatever its size."""
    sent(journal, 8)
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:5]))
    assert read_cursor(journal, URI) == Cursor(URI)
    journal.write_bytes(whole[::-1])
    assert read_cursor(journal, URI) == Cursor(URI)
    journal.write_bytes(whole)
    assert read_cursor(journal, URI).sent_bytes > 0
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[1:]))
    assert read_cursor(journal, URI) == Cursor(URI)


def test_a_journal_of_which_a_sent_line_was_deleted_has_everything_to_send(journal: Path) -> None:
    """What its user is told to do with a garbled line. The last line is the same, the file is shorter."""
    sent(journal, 10)
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[1:]))
    assert read_cursor(journal, URI) == Cursor(URI)


def test_a_password_is_in_no_cursor_and_no_part_of_what_it_knows(journal: Path) -> None:
    """A store is the same with and without it, and after it was changed."""
    end = journal.stat().st_size
    write_cursor(
        journal, Cursor("postgresql://me:hunter2@host/db", "parent", end, line_checksum(journal, end))
    )
    assert "hunter2" not in journal.with_name(CURSOR).read_text(encoding="utf-8")
    for uri in (
        "postgresql://me:hunter2@host/db",
        "postgresql://me:other@host/db",
        "postgresql://me@host/db",
    ):
        assert read_cursor(journal, uri).sent_bytes == end
    assert read_cursor(journal, "postgresql://you:hunter2@host/db").sent_bytes == 0


@pytest.mark.parametrize("bytes_sent", [99_999_999, 5, -1, "x", None, 1.5])
def test_a_cursor_that_was_edited_is_not_believed(journal: Path, bytes_sent: Any) -> None:
    """Past the end, inside a line, no number: all is sent again."""
    sent(journal, 8)
    place = journal.with_name(CURSOR)
    place.write_text(
        json.dumps({**json.loads(place.read_text()), "sent_bytes": bytes_sent}), encoding="utf-8"
    )
    assert read_cursor(journal, URI) == Cursor(URI)
