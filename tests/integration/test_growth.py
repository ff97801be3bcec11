"""A trial asks the disk as much after many trials as after few."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from tests.conftest import small_parameters
from tests.history import lengthen
from tests.support.studies import parts, run

from thriftune import files
from thriftune.search.optuna_study import OptunaStudy

pytestmark = [pytest.mark.integration, pytest.mark.no_cover]


@pytest.mark.parametrize(
    "trials_at_the_end",
    [pytest.param(74, id="74 trials"), pytest.param(254, id="254 trials", marks=pytest.mark.slow)],
)
def test_what_a_trial_lists_does_not_grow(
    small: Path, monkeypatch: pytest.MonkeyPatch, trials_at_the_end: int
) -> None:
    """Folders listed by training and saving, from one trial's end to the next: at trial 10 and near the end.

    Not counted is the sender, which looks at journals in a thread of its own.
    """
    monkeypatch.chdir(small)
    scandir, counts = os.scandir, [0]

    def counted(path: Any = ".") -> Any:
        counts[-1] += threading.current_thread().name != "metric-sender"
        return scandir(path)

    def at_the_end(event: files.Event) -> None:
        if event.operation == "optuna_tell":
            counts.append(0)

    monkeypatch.setattr(os, "scandir", counted)
    monkeypatch.setattr(files, "observer", at_the_end)
    found = []
    for trials in (14, trials_at_the_end):
        settings = small_parameters(small, study={"name": "small", "trials": trials, "extend": True})
        if found:
            lengthen(settings, parts(settings)[1], trials - 8)
        counts[:] = [0]
        run(settings)
        found.append(median(counts[-7:-1]))
        assert len(OptunaStudy.open(parts(settings)[1], settings).finished()) == trials
    print(f"{found[0]} folders listed by a trial about trial 10, {found[1]} about trial {trials_at_the_end}")
    assert found[0] > 0
    # Some 340 in both; one listing more for every other trial would be twice what is let pass.
    assert found[1] - found[0] < (trials_at_the_end - 14) / 2
