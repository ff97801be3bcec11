"""What a trial costs: measured, written to its journal, read from there."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import make_checkpoint

from thriftune.config import StorageConfig
from thriftune.reports.trial_costs import read_trial_costs
from thriftune.runner.meter import Meter
from thriftune.study.storage import open_store
from thriftune.tracking.journal import Journal
from thriftune.tracking.keys import EPOCH_SECONDS, FIGURES, OWN, TOTAL
from thriftune.tracking.records import last_machine_rows, trial_seconds

pytestmark = pytest.mark.unit


def test_a_trial_s_seconds_are_divided(tmp_path: Path) -> None:
    """Its own and training's are the whole; what earlier processes trained is in the whole alone; what saves
    did beside writing is the framework's own."""
    store = open_store(tmp_path, "study-00000000", StorageConfig(free_disk_watermark=0.0))
    meter = Meter(store)
    with meter.training:
        sum(range(10**5))
    journal = Journal(tmp_path / "trials/trial_0000_00000000/metrics.jsonl")
    for epoch in (1, 2, 3):
        journal.log({EPOCH_SECONDS: 100.0}, epoch)
    meter.resume(journal, 2)
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


def test_costs_are_read_from_the_ends_of_journals(tmp_path: Path) -> None:
    """A value a trial that is over; a trial without figures, or with a torn end, is left out."""
    journals = {number: over(tmp_path, number, recorded=number != 2) for number in range(4)}
    assert last_machine_rows(journals[3])[TOTAL] == 63.0
    assert trial_seconds(journals[3]) == 63.0
    assert 0 <= (trial_seconds(journals[2]) or 0.0) < 60
    with journals[0].open("rb+") as handle:
        handle.truncate(journals[0].stat().st_size - 1)
    assert trial_seconds(journals[0]) is None
    assert last_machine_rows(journals[0]) == {}
    found = read_trial_costs(journals, 10**7)
    assert (found.trials, found.trial_seconds, found.open_files) == ((1, 3), (61, 63), (20, 20))
    assert (found.own_seconds, found.held_bytes, found.budget_bytes) == ((0.1, 0.1), (10**6, 10**6), 10**7)
