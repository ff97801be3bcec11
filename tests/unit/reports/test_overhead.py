"""What a trial costs: measured, written to its journal, judged against the limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import make_checkpoint

from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import StorageConfig
from thriftune.errors import OutOfStorageError
from thriftune.reports.overhead import OVERHEAD, PAGE, checks, read_summary, write_overhead
from thriftune.runner.meter import Meter
from thriftune.tracking.journal import Journal
from thriftune.tracking.keys import EPOCH_SECONDS, FIGURES, HELD, MEMORY, OWN, TOTAL
from thriftune.tracking.records import last_machine_rows, trial_seconds

pytestmark = pytest.mark.unit


def rows(count: int, **changes: float) -> list[dict[str, float]]:
    """Trials that cost the same; changes: figures of the last ten."""
    plain = dict(zip(FIGURES, (0.1, 60.0, 5e8, 1e6, 20.0, 8.0), strict=True))
    later = plain | {f"system/{name}": value for name, value in changes.items()}
    return [plain if number < count - 10 else later for number in range(count)]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, [True] * 6),
        ({"own_seconds": 0.19}, [True] * 6),
        ({"own_seconds": 0.21}, [True, False, True, True, True, True]),
        ({"own_seconds": 0.51}, [False, False, True, True, True, True]),
        ({"memory_bytes": 5.6e8}, [True, True, False, True, True, True]),
        ({"held_bytes": 2.1e6}, [True, True, True, False, True, True]),
        ({"open_files": 21.0}, [True, True, True, True, False, True]),
        ({"threads": 9.0}, [True, True, True, True, True, False]),
    ],
)
def test_each_limit_is_judged_by_its_own_figure(changes: dict[str, float], kept: list[bool]) -> None:
    """The last ten trials of a thousand against those about the tenth."""
    assert [check.ok for check in checks(rows(1000, **changes), 2 * 10**6)] == kept


def test_few_trials_say_nothing_of_growth() -> None:
    """Under thirty trials growth is not judged; one slow trial is none."""
    assert [check.ok for check in checks(rows(29), 10**7)] == [True, None, None, True, None, None]
    assert [check.ok for check in checks([], 10**7)] == [None] * 6
    spiked = rows(100)
    spiked[50] = spiked[50] | {OWN: 9.0}
    assert all(check.ok for check in checks(spiked, 10**7))


def test_a_trial_s_seconds_are_divided(tmp_path: Path) -> None:
    """Its own and training's are the whole; what earlier processes trained is in the whole alone; what saves
    did beside writing is the framework's own."""
    store = CheckpointStore(tmp_path, "study-00000000", StorageConfig(free_disk_watermark=0.0))
    meter = Meter(store)
    with meter.training:
        sum(range(10**5))
    journal = Journal(tmp_path / "trials/trial_0000_00000000/metrics.jsonl")
    for epoch in (1, 2, 3):
        journal.log({EPOCH_SECONDS: 100.0}, epoch)
    meter.goes_on(journal, 2)
    total = meter.trial_over(journal, 0)
    own = journal.value(OWN, 0)
    assert own is not None
    assert total == pytest.approx(200 + own + meter.training.seconds)
    assert 0 < own < total
    store.save(make_checkpoint())
    meter.trial_over(journal, 1)
    again = journal.value(OWN, 1)
    assert again is not None
    assert again > store.upkeep_seconds > 0
    assert journal.value(TOTAL, 1) == pytest.approx(again - store.upkeep_seconds)
    journal.close()


def over(folder: Path, number: int, *, recorded: bool = True) -> Path:
    """The journal of a trial that is over."""
    journal = Journal(folder / str(number) / "metrics.jsonl")
    journal.record_once("start", trial=number)
    journal.log({EPOCH_SECONDS: 3.0}, 1)
    if recorded:
        journal.log(dict(zip(FIGURES, (0.1, 60.0 + number, 5e8, 1e6, 20.0, 8.0), strict=True)), number)
    journal.record_once("end", state="complete", value=0.5, reason=None)
    journal.close()
    return journal.path


def test_the_study_s_folder_has_page_and_figures(tmp_path: Path) -> None:
    """A curve a figure; a trial without figures is left out; a budget without room for them is kept."""
    journals = {number: over(tmp_path, number, recorded=number != 2) for number in range(4)}
    assert last_machine_rows(journals[3])[TOTAL] == 63.0
    assert trial_seconds(journals[3]) == 63.0
    assert 0 <= (trial_seconds(journals[2]) or 0.0) < 60
    with journals[0].open("rb+") as handle:
        handle.truncate(journals[0].stat().st_size - 1)
    assert trial_seconds(journals[0]) is None
    assert last_machine_rows(journals[0]) == {}
    found = read_summary(journals, 10**7)
    assert (found["trials"], found["trial_seconds"], found["open_files"]) == ([1, 3], [61, 63], [20, 20])
    store = CheckpointStore(tmp_path / "s", "study-00000000", StorageConfig(free_disk_watermark=0.0))
    write_overhead(store.folder, "mine & yours", found, store)
    assert json.loads((store.folder / OVERHEAD).read_text(encoding="utf-8")) == found
    page = (store.folder / PAGE).read_text(encoding="utf-8")
    assert page.count("<polyline") == len(FIGURES)
    assert "mine &amp; yours" in page
    assert "too few trials" in page
    assert "http" not in page
    tight = StorageConfig(free_disk_watermark=0.0, max_total_size=10_000_000)
    full = CheckpointStore(tmp_path / "full", "study-00000000", tight)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_bytes(b"x" * 9_499_000)
    with pytest.raises(OutOfStorageError):
        write_overhead(full.folder, "full", found, full)
    assert not (full.folder / PAGE).exists()
    assert {HELD, MEMORY} <= set(FIGURES)
