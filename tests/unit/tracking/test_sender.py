"""The sender: rows reach a real SQLite store once and in order, whatever fails on the way."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from thriftune.config import parse_parameters
from thriftune.databases.location import mlflow_uri
from thriftune.tracking import sender as module
from thriftune.tracking.cursor import read_cursor, unsent
from thriftune.tracking.journal import Journal
from thriftune.tracking.mlflow_store import MlflowSink
from thriftune.tracking.parent import ParentRun, connect
from thriftune.tracking.records import MetricRow, run_status
from thriftune.tracking.sender import Delivery, Sender

pytestmark = pytest.mark.unit


@pytest.fixture
def store(tmp_path: Path) -> MlflowSink:
    """A store of its own."""
    return connect(parse_parameters({"tracking": {"root": "tracking"}}, root=tmp_path))


def uri(root: Path) -> str:
    """The address of that store."""
    return mlflow_uri(parse_parameters({"tracking": {"root": "tracking"}}, root=root).tracking)


def delivery(journal: Journal, trial: int = 0) -> Delivery:
    """A trial's journal, nested in a study's run."""

    def open_run(sink: MlflowSink) -> tuple[str, str]:
        parent = sink.parent_run("s", "s")
        return parent, sink.trial_run(parent, "s", trial, "id")

    return Delivery(journal.path, open_run)


def history(sink: MlflowSink, key: str) -> list[tuple[int, float]]:
    """(step, value) of the only trial's metric, as the store has them."""
    run = sink.trial_run(sink.parent_run("s", "s"), "s", 0, "id")
    return [(m.step, m.value) for m in sink._client.get_metric_history(run, key)]


def test_a_store_that_fails_first_gets_everything_once(
    tmp_path: Path, store: MlflowSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections fail twice, then a batch fails after its rows were stored."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(module, "wait_seconds", lambda failures: 0.01)
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    journal.log({"a": 1.0, "none": None}, 1)
    failures = iter(["connect", "connect", "send"])
    sent = MlflowSink.log_rows

    def connect_now() -> MlflowSink:
        if next(failures, None) == "connect":
            raise ConnectionError("refused")
        return store

    def log_rows(sink: MlflowSink, run: str, rows: object) -> None:
        sent(sink, run, rows)  # type: ignore[arg-type]
        if next(failures, None) == "send":
            raise ConnectionError("the answer was lost")

    monkeypatch.setattr(MlflowSink, "log_rows", log_rows)
    sender = Sender(connect_now, uri(tmp_path))
    sender.watch(delivery(journal))
    journal.log({"a": 2.0}, 2)
    sender.finish(journal.path, "FINISHED")
    assert sender.close(30) == 0
    assert history(store, "a") == [(1, 1.0), (2, 2.0)]


def test_what_comes_in_the_middle_of_a_round_is_sent(tmp_path: Path, store: MlflowSink) -> None:
    """While the first trial's run is opened, it ends, another trial comes, and the sender is closed: one more
    round has it all."""
    under_way, go = threading.Event(), threading.Event()
    journals = [Journal(tmp_path / str(n) / "metrics.jsonl") for n in range(2)]
    deliveries = [delivery(journal, number) for number, journal in enumerate(journals)]

    def slowly(sink: MlflowSink) -> tuple[str, str]:
        under_way.set()
        assert go.wait(60)
        return deliveries[0].open_run(sink)

    sender = Sender(lambda: store, uri(tmp_path))
    sender.watch(Delivery(journals[0].path, slowly))
    assert under_way.wait(60)
    sender.watch(deliveries[1])
    for number, journal in enumerate(journals):
        journal.log({"a": float(number)}, 1)
        sender.finish(journal.path, "FINISHED")
    assert sender.close(0) == 2
    go.set()
    assert sender.close(60) == 0
    assert len(store._client.search_runs([store._experiment], "attributes.status = 'FINISHED'")) == 2


def test_a_store_that_stays_away_costs_nothing_but_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, one more when much waits; the rows are in the journal, the next sender delivers them."""
    monkeypatch.setattr(module, "BACKLOG_BYTES", 100)
    monkeypatch.setattr(module, "wait_seconds", lambda failures: 0.01)
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    journal.log({"a": 1.0}, 1)
    journal.log({"a": 2.0}, 2)

    def away() -> MlflowSink:
        raise ConnectionError("no route")

    sender = Sender(away, uri(tmp_path))
    sender.watch(delivery(journal))
    assert sender.close(30) == 2
    assert caplog.text.count("no route") == 1
    assert caplog.text.count("of metrics in the journals are still to be sent to MLflow") == 1
    store = connect(parse_parameters({"tracking": {"root": "tracking"}}, root=tmp_path))
    later = Sender(lambda: store, uri(tmp_path))
    later.watch(delivery(journal))
    later.finish(journal.path, run_status(journal.path))
    assert later.close(30) == 0
    assert history(store, "a") == [(1, 1.0), (2, 2.0)]


def test_the_warning_says_why_the_store_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the hint that SQLAlchemy puts before the reason."""
    monkeypatch.setattr(module, "wait_seconds", lambda failures: 0.01)
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    journal.log({"a": 1.0}, 1)

    def locked() -> MlflowSink:
        hint = "(raised as a result of Query-invoked autoflush; consider ...)"
        raise RuntimeError(f"{hint}\n(sqlite3.OperationalError) database is locked\n[SQL: INSERT ...]")

    sender = Sender(locked, uri(tmp_path))
    sender.watch(delivery(journal))
    assert sender.close(30) == 1
    assert "does not accept metrics ((sqlite3.OperationalError) database is locked)" in caplog.text


def test_what_a_sqlite_store_will_still_take_is_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its tables are made, theirs and what waits; once all is sent, and for a server, nothing."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    for step in range(2000):
        journal.log({"validation/criteria/macro_f1": 1.0}, step)
    go = threading.Event()

    def connect_late() -> MlflowSink:
        go.wait(30)
        return connect(parse_parameters({"tracking": {"root": "tracking"}}, root=tmp_path))

    sender = Sender(connect_late, uri(tmp_path))
    sender.watch(delivery(journal))
    promised = sender.promised_bytes()
    sender.finish(journal.path, "FINISHED")
    go.set()
    assert sender.close(60) == 0
    assert sender.promised_bytes() == 0
    took = (tmp_path / "tracking" / "mlflow.db").stat().st_size
    assert 0.85 * took < promised < 1.15 * took
    remote = Sender(connect_late, "http://127.0.0.1:9")
    remote.watch(delivery(journal))
    assert remote.promised_bytes() == 0
    remote.close(0)


def test_a_damaged_journal_keeps_no_other_waiting(
    tmp_path: Path, store: MlflowSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A line of the first is garbled: it is named, the second arrives, and closing raises nothing."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    journals = [Journal(tmp_path / str(n) / "metrics.jsonl") for n in range(2)]
    for journal in journals:
        for step in range(3):
            journal.log({"a": float(step)}, step)
        journal.close()
    content = journals[0].path.read_bytes().replace(b'"step": 1', b'"step": 7')
    journals[0].path.write_bytes(content)
    sender = Sender(lambda: store, uri(tmp_path))
    for number, journal in enumerate(journals):
        sender.watch(delivery(journal, number), "FINISHED")
    assert sender.close(30) == 0
    assert "delete only that line" in caplog.text
    run = store.trial_run(store.parent_run("s", "s"), "s", 1, "id")
    assert len(store._client.get_metric_history(run, "a")) == 3


def test_a_run_whose_journal_is_gone_is_made_anew(store: MlflowSink) -> None:
    """Its rows have timestamps that no journal has; beside the new ones each step would stand twice."""
    parent = store.parent_run("s", "s")
    first = store.trial_run(parent, "s", 0, "id", started=1)
    store.log_rows(first, [MetricRow("a", 1, 10, 0.5)])
    assert store.trial_run(parent, "s", 0, "id", started=1) == first
    second = store.trial_run(parent, "s", 0, "id", started=2)
    assert second != first
    assert store._client.get_run(second).data.metrics == {}
    found = store._client.search_runs([store._experiment], "tags.`thriftune.trial` = '0'")
    assert [run.info.run_id for run in found] == [second]


def sent_rows(journal: Journal, root: Path, rows: int) -> None:
    """Waits until the store has so many rows of the journal."""
    deadline = time.monotonic() + 60
    while len(unsent(journal.path, 0)[0]) - len(unsent(journal.path, sent_bytes(journal, root))[0]) < rows:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sent_bytes(journal: Journal, root: Path) -> int:
    return read_cursor(journal.path, uri(root)).sent_bytes


@pytest.mark.parametrize("later", [0, 1], ids=["after its last rows", "before its last row"])
def test_a_run_that_is_deleted_in_the_middle_is_made_again(
    tmp_path: Path, store: MlflowSink, monkeypatch: pytest.MonkeyPatch, later: int
) -> None:
    """As MLflow's UI does, before the trial's last rows or after them: the new run has every row once, from
    the journal's start."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(module, "wait_seconds", lambda failures: 0.01)
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    for step in range(3):
        journal.log({"a": step / 7}, step)
    sender = Sender(lambda: store, uri(tmp_path))
    sender.watch(delivery(journal))
    sent_rows(journal, tmp_path, 3)
    first = store.trial_run(store.parent_run("s", "s"), "s", 0, "id")
    store._client.delete_run(first)
    for step in range(3, 3 + later):
        journal.log({"a": step / 7}, step)
    journal.record_once("end", state="complete", value=0.5, reason=None)
    sender.finish(journal.path, "FINISHED")
    assert sender.close(60) == 0
    (run,) = store._client.search_runs([store._experiment], "tags.`thriftune.trial` = '0'")
    assert run.info.run_id != first
    assert run.info.status == "FINISHED"
    assert history(store, "a") == [(step, step / 7) for step in range(3 + later)]


@pytest.mark.parametrize("told", [None, "FAILED", "KILLED"])
def test_what_comes_after_a_trials_end_does_not_change_its_status(
    tmp_path: Path, store: MlflowSink, told: str | None
) -> None:
    """The journal has the trial's end; then the process fails while it tidies, is stopped, or is a worker
    that was cut off and opens the run that another one has ended."""
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    journal.log({"a": 1.0}, 1)
    journal.record_once("end", state="complete", value=0.5, reason=None)
    sender = Sender(lambda: store, uri(tmp_path))
    sender.watch(delivery(journal), told)
    assert sender.close(60) == 0
    (run,) = store._client.search_runs([store._experiment], "tags.`thriftune.trial` = '0'")
    assert run.info.status == "FINISHED"
    assert read_cursor(journal.path, uri(tmp_path)).closed


def test_the_cursor_follows_what_the_store_has(
    tmp_path: Path, store: MlflowSink, synced: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are on the disk before they are sent, noted after it, and not sent again by the next sender. The
    cursor is closed once the run has its status, and only at the trial's end."""
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    steps: list[tuple[str, int, bool, bool]] = []
    send, finish = MlflowSink.log_rows, MlflowSink.finish

    def note(step: str, rows: int = 0) -> None:
        cursor = read_cursor(journal.path, uri(tmp_path))
        steps.append((step, rows, cursor.sent_bytes == journal.path.stat().st_size, cursor.closed))

    def log_rows(sink: MlflowSink, run: str, rows: list[MetricRow]) -> None:
        fact = journal.path.stat()
        note("durable" if (fact.st_ino, fact.st_size) in synced else "lost by a power cut", len(rows))
        send(sink, run, rows)

    def finish_noted(sink: MlflowSink, run: str, status: str) -> None:
        note(status)
        finish(sink, run, status)

    monkeypatch.setattr(MlflowSink, "log_rows", log_rows)
    monkeypatch.setattr(MlflowSink, "finish", finish_noted)
    told = Delivery(journal.path, delivery(journal).open_run, lambda sink, run: note("done"))
    for step, status in enumerate(("KILLED", "FINISHED")):
        steps.clear()
        journal.log({"a": float(step)}, step)
        if status == "FINISHED":
            journal.record_once("end", state="complete", value=0.5, reason=None)
        sender = Sender(lambda: store, uri(tmp_path))
        sender.watch(told, "KILLED")
        assert sender.close(60) == 0
        assert steps == [
            ("durable", 1, False, False),
            ("done", 0, True, False),
            (status, 0, True, False),
        ]
        assert read_cursor(journal.path, uri(tmp_path)).closed == (status == "FINISHED")


def test_damage_in_the_middle_is_told_with_its_remedy(
    tmp_path: Path, store: MlflowSink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The database is garbled between two sendings: the first warning names `tracking rebuild`."""
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.05)
    monkeypatch.setattr(module, "wait_seconds", lambda failures: 0.01)
    journal = Journal(tmp_path / "t" / "metrics.jsonl")
    journal.log({"a": 1.0}, 1)
    sender = Sender(lambda: store, uri(tmp_path))
    sender.watch(delivery(journal))
    sent_rows(journal, tmp_path, 1)
    database = tmp_path / "tracking" / "mlflow.db"
    with database.open("rb+") as handle:
        handle.write(b"no database at all" * (database.stat().st_size // 18))
    journal.log({"a": 2.0}, 2)
    assert sender.close(60) == 1
    (warning,) = [text for text in caplog.messages if "MLflow does not accept metrics" in text]
    assert "the database is damaged: `thriftune tracking rebuild`" in warning


def test_the_parent_run_is_found_again_and_text_is_masked(tmp_path: Path) -> None:
    """Opened twice it is one run; secrets and what is too long do not reach the store."""
    raw = {"tracking": {"root": "tracking"}, "observe": {"redact": ["swordfish"]}}
    parameters = parse_parameters(raw, root=tmp_path)
    parent = ParentRun(parameters, "s", "s")
    parent.close("FINISHED")  # nothing was opened
    run = parent.open()
    parent.close("KILLED")
    again = ParentRun(parameters, "s", "s")
    assert again.open() == run
    sink = connect(parameters)
    sink.log_params(run, {"a": "x" * 900, "password": "swordfish", "url": "http://me:hunter2@host/"})
    sink.log_params(run, {"a": "other"})
    sink.set_tags(run, {"note": "Bearer abcdefghijkl"})
    found = sink._client.get_run(run).data
    assert len(found.params["a"]) == 500
    assert found.params["password"] == "[redacted]"
    assert "hunter2" not in found.params["url"]
    assert "abcdefghijkl" not in found.tags["note"]
    assert sink.delete_runs("s") == 1


def test_the_status_follows_the_journal(tmp_path: Path) -> None:
    """No end on record: the trial was killed."""
    for state, status in ((None, "KILLED"), ("failed", "FAILED"), ("pruned", "FINISHED")):
        journal = Journal(tmp_path / str(state) / "metrics.jsonl")
        if state:
            journal.record_once("end", state=state, value=None, reason=None)
        assert run_status(journal.path) == status
