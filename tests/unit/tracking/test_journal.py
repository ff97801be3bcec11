"""The journal: the truth of a trial's metrics."""

from __future__ import annotations

import logging
import os
import resource
from pathlib import Path

import pytest

from thriftune.errors import DamageError, OutOfStorageError, StudyError
from thriftune.tracking.backoff import wait_seconds
from thriftune.tracking.cursor import Cursor, line_checksum, read_cursor, unsent, write_cursor
from thriftune.tracking.journal import Journal
from thriftune.tracking.records import read_metrics

pytestmark = pytest.mark.unit


def test_a_torn_last_line_is_cut_and_the_rest_stands(tmp_path: Path) -> None:
    """Whatever part of the last line a kill left, its end alone too, the lines before are read and appended
    to."""
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.log({"a": 1.0, "b": float("nan"), "c": float("inf"), "d": None}, 1)
    journal.log({"a": 2.0}, 2)
    journal.close()
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines(keepends=True)[-1])):
        path.write_bytes(whole[:-cut])
        again = Journal(path)
        again.log({"a": 2.0}, 2)
        again.log({"a": 3.0}, 3)
        again.close()
        assert [(r.key, r.step, r.value) for r in read_metrics(path)] == [
            ("a", 1, 1.0),
            ("b", 1, None),
            ("c", 1, None),
            ("d", 1, None),
            ("a", 2, 2.0),
            ("a", 3, 3.0),
        ]


def test_what_a_journal_promises_is_on_the_disk(tmp_path: Path, synced: list[tuple[int, int]]) -> None:
    """Its name once it is open; its rows when a checkpoint commits, when it is closed, and where a part of a
    row was cut off. A row alone does not wait for the disk."""
    path = tmp_path / "metrics.jsonl"

    def content() -> tuple[int, int]:
        return path.stat().st_ino, path.stat().st_size

    journal = Journal(path)
    assert [inode for inode, _ in synced] == [tmp_path.stat().st_ino]
    journal.log({"a": 1.0}, 1)
    assert content() not in synced
    journal.sync()
    assert content() in synced
    journal.log({"a": 2.0}, 2)
    journal.close()
    assert content() in synced
    path.write_bytes(path.read_bytes()[:-3])
    synced.clear()
    again = Journal(path)
    assert content() in synced
    again.close()


def test_who_was_taken_over_writes_to_a_file_that_nobody_reads(tmp_path: Path) -> None:
    """It may sit on another machine, in the middle of a row, and write on when it is back."""
    path = tmp_path / "metrics.jsonl"
    before = Journal(path)
    before.log({"a": 1.0}, 1)
    with path.open("ab") as handle:
        handle.write(b'{"key": "a", "st')
    now = Journal(path, taken_over=True)
    before.log({"a": 9.0, "b": 9.0}, 2)
    now.log({"a": 2.0}, 2)
    before.close()
    now.close()
    assert [(r.key, r.step, r.value) for r in read_metrics(path)] == [("a", 1, 1.0), ("a", 2, 2.0)]


def test_a_bad_line_in_the_middle_is_damage(tmp_path: Path) -> None:
    """A line that was garbled is named by its number, never skipped."""
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.log({"a": 1.0}, 1)
    journal.log({"a": 2.0}, 2)
    journal.close()
    path.write_bytes(path.read_bytes().replace(b"1.0", b"7.0", 1))
    with pytest.raises(DamageError, match="line 1"):
        Journal(path)


@pytest.mark.parametrize("room", [1, 30, 70], ids="{} bytes of room".format)
def test_a_row_that_does_not_fit_is_not_on_record_and_harms_no_other(tmp_path: Path, room: int) -> None:
    """A full disk takes a part of a row: it is cut off, and what is logged once there is room stands."""
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.log({"a": 1.0}, 1)
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + room, usual[1]))
    try:
        with pytest.raises(OutOfStorageError):
            journal.log({"a": 2.0, "b": 2.0}, 2)
        with pytest.raises(OutOfStorageError):
            journal.record_once("end", state="complete", reason="a text that does not fit either")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert (journal.has("a", 2), journal.record("end")) == (False, None)
    journal.log({"a": 2.0, "b": 2.0}, 2)
    journal.close()
    rows = [("a", 1, 1.0), ("a", 2, 2.0), ("b", 2, 2.0)]
    assert [(r.key, r.step, r.value) for r in read_metrics(path)] == rows


def test_the_row_first_written_stands(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A row made again is recognised; another value is warned about once an epoch, machine rows never."""
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.log({"a": 1.0, "system/s": 1.0}, 1)
    with caplog.at_level(logging.WARNING):
        journal.log({"a": 1.0, "system/s": 2.0}, 1)
        assert not caplog.records
        journal.log({"a": 3.0}, 1)
        journal.log({"a": 4.0}, 1)
        assert len(caplog.records) == 1
        journal.log({"validation/a": 1.0}, 1)
        journal.log({"a": 5.0}, 1)
    assert len(caplog.records) == 2
    assert journal.value("a", 1) == 1.0
    assert journal.steps("a") == [1]
    journal.log({"a": 0.5}, 0)
    journal.record_once("start", trial=0)
    journal.record_once("start", trial=0)
    journal.close()
    journal.close()
    written = journal.path.read_bytes()
    again = Journal(journal.path)
    again.log({"a": 6.0, "validation/a": 6.0}, 1)
    again.record_once("start", trial=1)
    assert (again.value("a", 1), again.steps("a"), again.rows("a")) == (1.0, [0, 1], [(1, 1.0), (0, 0.5)])
    assert (again.record("start") or {})["trial"] == 0
    again.close()
    assert again.path.read_bytes() == written
    assert written.count(b"start") == 1


def test_only_a_full_disk_is_called_full(tmp_path: Path) -> None:
    """Any other fault of the system is raised as it is."""
    journal = Journal(tmp_path / "metrics.jsonl")
    journal.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        journal.log({"a": 1.0}, 1)


def test_who_lost_the_study_appends_nothing(tmp_path: Path) -> None:
    """Asked before every append."""
    owners = iter([True, False])

    def owned() -> None:
        if not next(owners):
            raise StudyError("another process owns it")

    journal = Journal(tmp_path / "metrics.jsonl", owned)
    journal.log({"a": 1.0}, 1)
    before = journal.path.read_bytes()
    with pytest.raises(StudyError, match="owns it"):
        journal.log({"a": 2.0}, 2)
    assert journal.path.read_bytes() == before


def test_acknowledged_rows_survive_a_kill(tmp_path: Path) -> None:
    """Every row whose call returned is there after SIGKILL of the writer."""
    path = tmp_path / "metrics.jsonl"
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        journal = Journal(path)
        for step in range(10_000):
            journal.log({"loss": step / 7}, step)
            os.write(writer, b".")
        os._exit(0)
    os.close(writer)
    acknowledged = len(os.read(reader, 500))
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    while chunk := os.read(reader, 1 << 16):
        acknowledged += len(chunk)
    Journal(path).close()
    assert len(read_metrics(path)) >= acknowledged > 0


def test_the_cursor_belongs_to_one_store(tmp_path: Path) -> None:
    """Another store, or no cursor, starts from the beginning; a torn line is not sent."""
    path = tmp_path / "metrics.jsonl"
    journal = Journal(path)
    journal.log({"a": 1.0}, 1)
    rows, end = unsent(path, 0)
    assert len(rows) == 1
    cursor = Cursor("one", sent_bytes=end, last_line=line_checksum(path, end))
    write_cursor(path, cursor)
    assert read_cursor(path, "one") == cursor
    assert read_cursor(path, "two") == Cursor("two")
    with path.open("ab") as handle:
        handle.write(b'{"key": "a", "st')
    assert unsent(path, end) == ([], end)
    again = Journal(path)
    again.log({"a": 2.0}, 2)
    again.close()
    rows, later = unsent(path, end)
    assert ([row.value for row in rows], later) == ([2.0], path.stat().st_size)
    assert unsent(tmp_path / "none", 0) == ([], 0)


def test_waits_between_tries() -> None:
    """1, 2, 4, 8, 16 s, then every 60 s."""
    assert [wait_seconds(n) for n in range(8)] == [0, 1, 2, 4, 8, 16, 60, 60]


def test_a_journal_that_begins_anew_was_sent_nowhere(tmp_path: Path) -> None:
    """The cursor of one that was moved aside would point into the middle of a line."""
    path = tmp_path / "metrics.jsonl"
    with_cursor = path.with_name("tracking.json")
    Journal(path).close()
    with_cursor.write_text("{}", encoding="utf-8")
    Journal(path).close()
    assert with_cursor.exists()
    path.rename(tmp_path / "moved")
    Journal(path).close()
    assert not with_cursor.exists()
