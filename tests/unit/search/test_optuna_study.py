"""What trial n proposes depends on seed and history, not on restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from thriftune.config import Parameters, parse_parameters
from thriftune.search.optuna_study import OptunaStudy, delete_optuna_study, trial_row

pytestmark = pytest.mark.unit
SPACE = {
    "training.learning_rate": {"type": "float", "low": 1e-5, "high": 1e-2, "log": True},
    "training.batch_size": {"type": "int", "low": 4, "high": 16, "step": 4},
    "model.criteria_agent.loss": {"type": "categorical", "choices": ["bce", "focal"]},
}


def parameters(**search: Any) -> Parameters:
    """A study over SPACE."""
    return parse_parameters({"search": {"space": SPACE, "startup_trials": 3, **search}})


def value_of(handle: Any) -> float:
    """A score that depends on the configuration alone."""
    return float(
        handle.parameters.training.batch_size / (1 + abs(handle.parameters.training.learning_rate - 1e-3))
    )


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_restarts_before_every_write_change_no_proposal(tmp_path: Path, sampler: str) -> None:
    """One process for all trials, against a new one before and in the middle of each."""
    settings = parameters(sampler=sampler)
    whole = OptunaStudy(tmp_path / "whole.db", "s", settings)
    for _ in range(8):
        handle = whole.next_trial(8)
        assert handle is not None
        whole.tell(handle, value_of(handle), None)
    for _ in range(8):
        first = OptunaStudy(tmp_path / "cut.db", "s", settings).next_trial(8)
        again = OptunaStudy(tmp_path / "cut.db", "s", settings)
        handle = again.next_trial(8)
        assert first is not None
        assert handle is not None
        assert (handle.number, handle.attempt) == (first.number, 2)
        assert handle.parameters == first.parameters
        again.tell(handle, value_of(handle), None)
        again.tell(handle, value_of(handle), None)
    cut = OptunaStudy(tmp_path / "cut.db", "s", settings)
    assert cut.next_trial(8) is None
    assert [t.params for t in cut.trials()] == [t.params for t in whole.trials()]
    assert [t.value for t in cut.trials()] == [t.value for t in whole.trials()]
    assert len({tuple(t.params.values()) for t in whole.trials()}) > 5


def test_baselines_come_first_then_the_sampler(tmp_path: Path) -> None:
    """Values outside the space are trained, though the sampler never hears of them."""
    settings = parameters(baselines=[{"training.learning_rate": 0.5}, {"training.batch_size": 8}])
    study = OptunaStudy(tmp_path / "o.db", "s", settings)
    rates = []
    for _ in range(3):
        handle = study.next_trial(3)
        assert handle is not None
        rates.append(handle.parameters.training.learning_rate)
        study.tell(handle, 0.5, None)
    assert rates[0] == 0.5
    assert "training.learning_rate" not in study.trials()[0].params
    assert rates[1] == settings.training.learning_rate
    assert 1e-5 <= rates[2] <= 1e-2


def test_the_pruner_decides_from_what_is_on_record(tmp_path: Path) -> None:
    """An epoch that is reported again changes nothing; the reason stays with the trial."""
    settings = parameters(pruner="median", pruner_startup_trials=2, pruner_warmup_epochs=0)
    study = OptunaStudy(tmp_path / "o.db", "s", settings)
    for _ in range(3):
        handle = study.next_trial(4)
        assert handle is not None
        handle.report(1, 0.8)
        handle.report(1, 0.1)
        assert not handle.should_prune()
        study.tell(handle, 0.8, None)
    handle = study.next_trial(4)
    assert handle is not None
    handle.report(1, 0.1)
    again = OptunaStudy(tmp_path / "o.db", "s", settings).next_trial(4)
    assert again is not None
    again.report(1, 0.9)
    assert again.should_prune()
    study.tell_pruned(again, "pruned after epoch 1")
    row = trial_row(study.trials()[-1])
    assert (row["state"], row["value"], row["reason"], row["attempt"]) == (
        "pruned",
        0.1,
        "pruned after epoch 1",
        2,
    )
    best = study.best()
    assert best is not None
    assert best.number == 0


def test_a_deleted_study_is_gone_and_deleting_again_is_fine(tmp_path: Path) -> None:
    """Also where there never was a database."""
    delete_optuna_study(tmp_path / "o.db", "s")
    OptunaStudy(tmp_path / "o.db", "s", parameters())
    delete_optuna_study(tmp_path / "o.db", "s")
    delete_optuna_study(tmp_path / "o.db", "s")
    assert OptunaStudy(tmp_path / "o.db", "s", parameters()).trials() == []
