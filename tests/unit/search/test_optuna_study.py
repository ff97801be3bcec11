"""What trial n proposes depends on seed and history, not on restarts."""

from __future__ import annotations

import copy
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
import pytest

from thriftune.config import Parameters, override, parse_parameters
from thriftune.errors import ConfigError, TakenOverError, UnavailableError
from thriftune.search import storage
from thriftune.search.optuna_study import OptunaStudy
from thriftune.search.samplers import check_grid, sampler_for
from thriftune.search.space import sample
from thriftune.search.storage import delete_optuna_study
from thriftune.search.trials import JournaledTrial, trial_row
from thriftune.study.trials import TrialEnd

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


CONDITIONAL = {
    **SPACE,
    "model.criteria_agent.focal_gamma": {
        "type": "float",
        "low": 1.0,
        "high": 3.0,
        "when": {"model.criteria_agent.loss": "focal"},
    },
}
GRID = {
    "training.batch_size": {"type": "int", "low": 4, "high": 16, "step": 4},
    "model.head_dropout": {"type": "float", "low": 0.0, "high": 0.2, "step": 0.1},
}


@pytest.mark.parametrize(
    ("sampler", "space"),
    [
        ("tpe", SPACE), ("tpe", CONDITIONAL), ("random", SPACE), ("random", CONDITIONAL), ("gp", SPACE),
        ("gp", CONDITIONAL), ("qmc", SPACE), ("qmc", CONDITIONAL), ("grid", GRID),
    ],
)  # fmt: skip
def test_restarts_before_every_write_change_no_proposal(
    tmp_path: Path, sampler: str, space: dict[str, Any]
) -> None:
    """One process for all trials, against a new one before and in the middle of each."""
    settings = parameters(sampler=sampler, space=space)
    whole = OptunaStudy(f"sqlite:///{tmp_path}/whole.db", "s", settings)
    for _ in range(6):
        handle = whole.next_trial(6)
        assert handle is not None
        whole.tell(handle, TrialEnd("complete", value_of(handle)))
    for _ in range(6):
        first = OptunaStudy(f"sqlite:///{tmp_path}/cut.db", "s", settings).next_trial(6)
        again = OptunaStudy(f"sqlite:///{tmp_path}/cut.db", "s", settings)
        handle = again.next_trial(6)
        assert first is not None
        assert handle is not None
        assert (handle.number, handle.attempt) == (first.number, 2)
        assert handle.parameters == first.parameters
        again.tell(handle, TrialEnd("complete", value_of(handle)))
        again.tell(handle, TrialEnd("complete", value_of(handle)))
    cut = OptunaStudy(f"sqlite:///{tmp_path}/cut.db", "s", settings)
    assert cut.next_trial(6) is None
    assert [t.params for t in cut.trials()] == [t.params for t in whole.trials()]
    assert [t.value for t in cut.trials()] == [t.value for t in whole.trials()]
    assert len({tuple(t.params.values()) for t in whole.trials()}) > 5


def test_a_storage_that_fails_is_told_from_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locked, every write says so with what to do; deleted, everything does, and nothing is made in its
    place."""
    monkeypatch.setattr(storage, "BUSY_TIMEOUT_SECONDS", 0.05)
    database, now = tmp_path / "o.db", datetime.now()
    study = OptunaStudy(f"sqlite:///{database}", "s", parameters())
    handle = study.next_trial(3)
    assert handle is not None
    writes = (
        lambda: handle.report(1, 0.5),
        lambda: study.tell(handle, TrialEnd("complete", 0.5)),
        lambda: study.tell(handle, TrialEnd("pruned", reason="r")),
        lambda: study.restore(JournaledTrial({}, {}, TrialEnd("failed"), {}, now, now)),
    )
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("begin immediate")
        for write in writes:
            with pytest.raises(UnavailableError, match=r"database is locked\nWhat to do: free it"):
                write()
    database.unlink()
    for use in (*writes, study.trials, lambda: study.next_trial(3)):
        with pytest.raises(UnavailableError, match="was deleted while this process was working"):
            use()
    assert not database.exists()


@pytest.mark.parametrize("space", [SPACE, CONDITIONAL])
def test_a_shared_history_proposes_what_a_copied_one_does(tmp_path: Path, space: dict[str, Any]) -> None:
    """Trials are sampled from as they are; Optuna's own copies of them give the same, and none is changed."""
    settings = parameters(space=space)
    study = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings)
    for number in range(40):
        handle = study.next_trial(41)
        assert handle is not None
        handle.report(1, value_of(handle))
        if number % 3:
            study.tell(handle, TrialEnd("complete", value_of(handle)))
        else:
            study.tell(handle, TrialEnd("pruned", reason="worse"))
    history = [copy.deepcopy(trial) for trial in study.trials()]
    plain = optuna.create_study(
        study_name="s", direction="maximize", sampler=sampler_for(settings.search, settings.study.seed, 40)
    )
    plain.add_trials(history)
    expected = sample(plain.ask(), settings.search.space, settings.model_dump())
    handle = study.next_trial(41)
    assert handle is not None
    assert handle.overrides == expected
    assert study.trials()[:40] == history


def test_a_grid_is_walked_to_its_end(tmp_path: Path) -> None:
    """Every cell once, after the configuration as written; one trial more is refused beforehand."""
    settings = parameters(sampler="grid", space=GRID)
    study = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings)
    while (handle := study.next_trial(13)) is not None:
        study.tell(handle, TrialEnd("complete", 0.5))
    cells = [tuple(trial.params.values()) for trial in study.trials()[1:]]
    assert len(set(cells)) == len(cells) == 12
    assert cells != sorted(cells)
    check_grid(override(settings, {"study.trials": 13}))
    with pytest.raises(ConfigError, match="has 12 cells"):
        check_grid(override(settings, {"study.trials": 14}))
    with pytest.raises(ConfigError, match="needs a step"):
        check_grid(parameters(sampler="grid"))
    conditional = {"model.criteria_agent.focal_gamma": CONDITIONAL["model.criteria_agent.focal_gamma"]}
    with pytest.raises(ConfigError, match="cannot have conditions"):
        check_grid(parameters(sampler="grid", space={**GRID, **conditional}))


def test_qmc_spreads_its_points(tmp_path: Path) -> None:
    """Eight points of a Sobol sequence, one in each eighth of the range; a kill skips none."""
    space = {"model.head_dropout": {"type": "float", "low": 0.0, "high": 0.8}}
    for offset in (0, 8):
        settings = parameters(sampler="qmc", space=space)
        drawn = [
            sampler_for(settings.search, settings.study.seed, number) for number in range(offset, offset + 8)
        ]
        study = optuna.create_study()
        values = []
        for sampler in drawn:
            study.sampler = sampler
            trial = study.ask()
            values.append(sample(trial, settings.search.space, {})["model.head_dropout"])
        assert sorted(int(value * 10) for value in values) == list(range(8))


@pytest.mark.parametrize(
    ("pruner", "more", "values", "pruned_at"),
    [
        ("none", {}, [0.9, 0.1, 0.1, 0.1], None),
        ("patient", {"pruner_patience": 1}, [0.5, 0.4, 0.3, 0.2], 3),
        ("threshold", {"pruner_threshold": 0.3, "pruner_warmup_epochs": 2}, [0.1, 0.1, 0.1, 0.9], 3),
        ("median", {"pruner_startup_trials": 2, "pruner_warmup_epochs": 1}, [0.1, 0.1, 0.9, 0.9], 2),
        ("hyperband", {"pruner_warmup_epochs": 1}, [0.1, 0.1, 0.1, 0.1], None),
    ],
)
def test_each_pruner_stops_a_trial_in_its_way(
    tmp_path: Path, pruner: str, more: dict[str, Any], values: list[float], pruned_at: int | None
) -> None:
    """After two good trials; with a new process before every decision the decision is the same."""
    settings = override(parameters(pruner=pruner, **more), {"training.epochs": 4})
    study = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings)
    for _ in range(2):
        handle = study.next_trial(9)
        assert handle is not None
        for epoch in range(1, 5):
            handle.report(epoch, 0.5 + epoch / 10)
        study.tell(handle, TrialEnd("complete", 0.9))
    decided = []
    for epoch, value in enumerate(values, start=1):
        handle = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings).next_trial(9)
        assert handle is not None
        handle.report(epoch, value)
        decided.append(handle.should_prune())
    assert (decided.index(True) + 1 if True in decided else None) == pruned_at


def test_hyperband_halves_successively(tmp_path: Path) -> None:
    """Of nine trials of nine epochs whose values are as different as their numbers, some are stopped early,
    and the best is not."""
    settings = override(parameters(pruner="hyperband", pruner_warmup_epochs=1), {"training.epochs": 9})
    study = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings)
    lengths = []
    for number in range(9):
        handle = study.next_trial(9)
        assert handle is not None
        for epoch in range(1, 10):
            handle.report(epoch, 1.0 - number / 10)
            if handle.should_prune():
                study.tell(handle, TrialEnd("pruned", reason=f"pruned after epoch {epoch}"))
                break
        else:
            study.tell(handle, TrialEnd("complete", 1.0 - number / 10))
        lengths.append(epoch)
    assert lengths[0] == 9
    assert min(lengths) < 9


def test_a_threshold_must_be_given() -> None:
    """Any default would be wrong for some metric."""
    with pytest.raises(ConfigError, match="needs pruner_threshold"):
        parameters(pruner="threshold")


def test_baselines_come_first_then_the_sampler(tmp_path: Path) -> None:
    """Values outside the space are trained, though the sampler never hears of them."""
    settings = parameters(baselines=[{"training.learning_rate": 0.5}, {"training.batch_size": 8}])
    study = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings)
    rates = []
    for _ in range(3):
        handle = study.next_trial(3)
        assert handle is not None
        rates.append(handle.parameters.training.learning_rate)
        study.tell(handle, TrialEnd("complete", 0.5))
    assert rates[0] == 0.5
    assert "training.learning_rate" not in study.trials()[0].params
    assert rates[1] == settings.training.learning_rate
    assert 1e-5 <= rates[2] <= 1e-2


def test_the_pruner_decides_from_what_is_on_record(tmp_path: Path) -> None:
    """An epoch that is reported again changes nothing; the reason stays with the trial."""
    settings = parameters(pruner="median", pruner_startup_trials=2, pruner_warmup_epochs=0)
    study = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings)
    for _ in range(3):
        handle = study.next_trial(4)
        assert handle is not None
        handle.report(1, 0.8)
        handle.report(1, 0.1)
        assert not handle.should_prune()
        study.tell(handle, TrialEnd("complete", 0.8))
    handle = study.next_trial(4)
    assert handle is not None
    handle.report(1, 0.1)
    again = OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", settings).next_trial(4)
    assert again is not None
    again.report(1, 0.9)
    assert again.should_prune()
    study.tell(again, TrialEnd("pruned", reason="pruned after epoch 1"))
    row = trial_row(study.trials()[-1])
    assert (row.state, row.value, row.reason, row.attempt) == (
        "pruned",
        0.1,
        "pruned after epoch 1",
        2,
    )
    best = study.best()
    assert best is not None
    assert best.number == 0


def test_an_end_that_was_told_stands(tmp_path: Path) -> None:
    """The same end told again, by a process that was killed before it tidied or since the server's answer was
    lost, is fine; another end is another process's, as is whatever comes after an end."""
    url = f"sqlite:///{tmp_path}/optuna.db"
    study = OptunaStudy(url, "s", parameters())
    first = study.next_trial(2)
    late = OptunaStudy(url, "s", parameters()).next_trial(2)
    assert first is not None
    assert late is not None
    assert late.number == first.number == 0
    study.tell(first, TrialEnd("complete", 0.5))
    study.tell(first, TrialEnd("complete", 0.5, "again"))
    for late_call in (
        lambda: study.tell(late, TrialEnd("pruned", reason="r")),
        lambda: study.tell(late, TrialEnd("failed", reason="r")),
        lambda: late.report(1, 0.5),
    ):
        with pytest.raises(TakenOverError, match="another process has already ended trial 0"):
            late_call()
    (trial,) = study.trials()
    assert (trial.value, trial.user_attrs.get("reason")) == (0.5, None)


def test_a_deleted_study_is_gone_and_deleting_again_is_fine(tmp_path: Path) -> None:
    """Also where there never was a database."""
    delete_optuna_study(f"sqlite:///{tmp_path}/o.db", "s")
    OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", parameters())
    delete_optuna_study(f"sqlite:///{tmp_path}/o.db", "s")
    delete_optuna_study(f"sqlite:///{tmp_path}/o.db", "s")
    assert OptunaStudy(f"sqlite:///{tmp_path}/o.db", "s", parameters()).trials() == []
