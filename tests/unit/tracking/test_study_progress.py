"""What the study's run shows of its progress comes from the journals alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from thriftune.observe.progress import eta_seconds
from thriftune.tracking.journal import Journal
from thriftune.tracking.records import encode
from thriftune.tracking.study_progress import ProgressPoint, StudyProgressLog

pytestmark = pytest.mark.unit


def journal(root: Path, number: int, state: str | None, value: float | None, seconds: float = 10.0) -> Path:
    """A trial that started at 1,000,000 ms and took so long; state None: it is not over."""
    path = root / str(number) / "metrics.jsonl"
    path.parent.mkdir()
    rows = [{"kind": "start", "timestamp": 1_000_000}, {"key": "a", "step": 1, "timestamp": 1, "value": 1.0}]
    if state is not None:
        end = 1_000_000 + int(seconds * 1000)
        rows.append({"kind": "end", "state": state, "value": value, "reason": None, "timestamp": end})
    path.write_bytes(b"".join(encode(row) for row in rows))
    return path


def test_best_so_far_and_time_left(tmp_path: Path) -> None:
    """Only complete trials can be best, the earliest of equals; pruned and failed ones are over too."""
    ends = [
        ("complete", 0.5),
        ("pruned", 0.9),
        ("complete", 0.7),
        ("failed", None),
        ("complete", 0.7),
        (None, None),
    ]
    journals = {n: journal(tmp_path, n, *end, seconds=10 * (n + 1)) for n, end in enumerate(ends)}
    found = [StudyProgressLog().at(journals, number, 10) for number in range(6)]
    assert found[5] is None
    known = [reached for reached in found if reached is not None]
    assert [reached.best for reached in known] == [0.5, 0.5, 0.7, 0.7, 0.7]
    assert [reached.best_trial for reached in known] == [0, 0, 2, 2, 2]
    assert [reached.over for reached in known] == [1, 2, 3, 4, 5]
    taken = [10.0, 20.0, 30.0, 40.0, 50.0]
    assert [reached.eta_seconds for reached in known] == [
        eta_seconds(taken[:over], 10 - over) for over in range(1, 6)
    ]
    assert str(known[4]) == "5 of 10 trials, best 0.7000 of trial 2"
    assert {row.key for row in known[3].rows} == {"study/best", "study/trials_over", "system/eta_seconds"}
    assert {(row.step, row.timestamp) for row in known[4].rows} == {(4, 1_050_000)}


def test_the_journal_of_a_trial_that_is_over_is_read_once(tmp_path: Path) -> None:
    """Each further trial costs the reading of its own alone, of a thousand or not: the others' could be gone
    by then. One that was not over is looked at again."""
    known, fresh = StudyProgressLog(), StudyProgressLog()
    journals = {number: journal(tmp_path, number, None, None) for number in range(4)}
    for number in range(4):
        assert known.at(journals, number, 4) is None
        journals[number].parent.joinpath("metrics.jsonl").unlink()
        journals[number].parent.rmdir()
        journals[number] = journal(tmp_path, number, "complete", number / 10)
        reached = known.at(journals, number, 4)
        assert reached is not None
        assert (reached.over, reached.best) == (number + 1, number / 10)
        assert known.last(journals, 4) == fresh.last(journals, 4) == reached
        journals[number] = tmp_path / "read no more"
    assert known.at(journals, 1, 4) == fresh.at(journals, 1, 4)


def test_without_a_value_there_is_no_best(tmp_path: Path) -> None:
    """The first trial failed; a torn journal is one that is not over."""
    journals = {0: journal(tmp_path, 0, "failed", None)}
    reached = StudyProgressLog().at(journals, 0, 2)
    assert isinstance(reached, ProgressPoint)
    assert str(reached) == "1 of 2 trials, none has a value"
    with journals[0].open("rb+") as handle:
        handle.truncate(journals[0].stat().st_size - 1)
    assert StudyProgressLog().at(journals, 0, 2) is None


def test_the_end_is_found_behind_a_long_journal(tmp_path: Path) -> None:
    """Megabytes of rows lie between the first record and the last."""
    path = tmp_path / "metrics.jsonl"
    log = Journal(path)
    log.record_once("start", trial=0)
    for step in range(20_000):
        log.log({"train/loss": 0.1}, step)
    log.record_once("end", state="complete", value=0.5, reason="x" * 5000)
    log.close()
    reached = StudyProgressLog().at({0: path}, 0, 1)
    assert reached is not None
    assert (reached.value, reached.eta_seconds) == (0.5, 0.0)
