"""The Optuna study: what trial n proposes depends on the seed and the history only (SPEC 7.2).

The whole configuration of trial n is sampled beside the database, on the history in memory, by a sampler
seeded from (study seed, n), and stored by one write; before that write the trial does not exist, after it
every value does. Then, and after every restart, it is re-attached.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Engine, event

from thriftune import files
from thriftune.config import Parameters, override
from thriftune.errors import UnavailableError
from thriftune.search.samplers import pruner_for, sampler_for
from thriftune.search.space import as_written, distributions, sample
from thriftune.tracking.probe import trouble
from thriftune.tracking.sqlite import SQLITE, keep_logs_short, make_whole

OVERRIDES, ATTEMPT, REASON = "overrides", "attempt", "reason"
BUSY_TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class TrialHandle:
    """One running trial."""

    number: int
    parameters: Parameters
    """The resolved configuration."""
    attempt: int
    trial: Trial
    reported: set[int]
    """Epochs with an intermediate value on record."""
    overrides: Mapping[str, Any]
    """What the search space, or a baseline, sets in this trial."""
    sampler_attrs: Mapping[str, Any]
    """What the sampler keeps with the trial."""

    def report(self, epoch: int, value: float) -> None:
        """An intermediate value; one that is on record stands."""
        if epoch not in self.reported:
            self.trial.report(value, epoch)
            self.reported.add(epoch)

    def should_prune(self) -> bool:
        """The pruner's decision, from stored history only."""
        return bool(self.trial.should_prune())


@dataclass(frozen=True)
class TrialFacts:
    """What is known of a trial without Optuna's database."""

    overrides: Mapping[str, Any]
    sampler_attrs: Mapping[str, Any]
    state: TrialState
    value: float | None
    reason: str | None
    values: Mapping[int, float]
    """Intermediate values by epoch."""
    started: datetime
    ended: datetime | None


class OptunaStudy:
    """One study in Optuna's RDB storage."""

    def __init__(self, database: Path, study_id: str, parameters: Parameters) -> None:
        database.parent.mkdir(parents=True, exist_ok=True)
        storage = _storage(database)
        self._parameters = parameters
        self._study = optuna.create_study(
            storage=storage,
            study_name=study_id,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner_for(parameters),
        )

    def trials(self) -> list[FrozenTrial]:
        """All trials in order of their numbers."""
        return self._study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        """Trials that are over, whatever their end."""
        return [trial for trial in self.trials() if trial.state.is_finished()]

    def best(self) -> FrozenTrial | None:
        """The best complete trial, the earliest of equals."""
        complete = [trial for trial in self.trials() if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    def next_trial(self, limit: int) -> TrialHandle | None:
        """The interrupted trial, re-attached with a higher attempt; else a new one; None where all
        `limit` trials are over."""
        trials = self.trials()
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        if running:
            return self._attach(running[0], running[0].user_attrs[ATTEMPT] + 1)
        if len(trials) >= limit:
            return None
        files.announce("optuna_add_trial", Path(self._study.study_name))
        self._study.add_trial(self._propose(trials))
        return self._attach(self.trials()[-1], 1)

    def _attach(self, frozen: FrozenTrial, attempt: int) -> TrialHandle:
        trial = Trial(self._study, frozen._trial_id)
        if attempt != frozen.user_attrs[ATTEMPT]:
            trial.set_user_attr(ATTEMPT, attempt)
        overrides = json.loads(frozen.user_attrs[OVERRIDES])
        return TrialHandle(
            frozen.number,
            override(self._parameters, overrides),
            attempt,
            trial,
            set(frozen.intermediate_values),
            overrides,
            frozen.system_attrs,
        )

    def _propose(self, history: list[FrozenTrial]) -> FrozenTrial:
        number = len(history)
        space = distributions(self._parameters)
        fixed = self.fixed(number)
        system_attrs: dict[str, Any] = {}
        if fixed is None:
            # The name and the pruner too: under Hyperband a sampler learns from trials of its own bracket.
            scratch = optuna.create_study(
                storage=_Shared(),
                study_name=self._study.study_name,
                direction="maximize",
                sampler=sampler_for(self._parameters, number),
                pruner=pruner_for(self._parameters),
            )
            scratch.add_trials(history)
            asked = scratch.ask()
            fixed = params = sample(asked, self._parameters)
            system_attrs = scratch.get_trials(deepcopy=False)[-1].system_attrs
        else:
            params = _inside(space, fixed)
        return optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params=params,
            distributions={key: space[key] for key in params},
            user_attrs={OVERRIDES: json.dumps(fixed), ATTEMPT: 1},
            system_attrs=system_attrs,
        )

    def restore(self, facts: TrialFacts) -> None:
        """Add a trial that a journal tells of, as the study had it."""
        space = distributions(self._parameters)
        params = _inside(space, facts.overrides)
        attrs = {OVERRIDES: json.dumps(facts.overrides), ATTEMPT: 1}
        if facts.reason is not None:
            attrs[REASON] = facts.reason
        trial = optuna.trial.create_trial(
            state=facts.state,
            value=facts.value if facts.state != TrialState.RUNNING else None,
            params=params,
            distributions={key: space[key] for key in params},
            intermediate_values=dict(facts.values),
            user_attrs=attrs,
            system_attrs=dict(facts.sampler_attrs),
        )
        trial.datetime_start, trial.datetime_complete = facts.started, facts.ended
        self._study.add_trial(trial)

    def fixed(self, number: int) -> dict[str, Any] | None:
        """The overrides of a trial that is not sampled: a baseline, or trial 0 as written."""
        baselines = self._parameters.search.baselines
        if number < len(baselines):
            return as_written(self._parameters, baselines[number])
        if number == 0 or not self._parameters.search.space:
            return as_written(self._parameters)
        return None

    def tell(self, handle: TrialHandle, value: float | None, reason: str | None) -> None:
        """End a trial: complete with its value, or failed without one; the reason stays with it."""
        if reason is not None:
            handle.trial.set_user_attr(REASON, reason)
        files.announce("optuna_tell", Path(self._study.study_name))
        if value is None:
            self._study.tell(handle.number, state=TrialState.FAIL, skip_if_finished=True)
        else:
            self._study.tell(handle.number, value, skip_if_finished=True)

    def tell_pruned(self, handle: TrialHandle, reason: str) -> None:
        """End a trial that the pruner stopped; Optuna keeps its last intermediate value."""
        handle.trial.set_user_attr(REASON, reason)
        files.announce("optuna_tell", Path(self._study.study_name))
        self._study.tell(handle.number, state=TrialState.PRUNED, skip_if_finished=True)


class _Shared(optuna.storages.InMemoryStorage):
    """Takes finished trials as they are. Optuna copies each to its depth, which for a thousand trials takes
    several times as long as sampling; nobody changes them here."""

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is None:
            return super().create_new_trial(study_id)
        trial, held = copy.copy(template_trial), self._studies[study_id].trials
        trial.number = trial._trial_id = self._max_trial_id = len(held)  # of the only study in here
        self._trial_id_to_study_id_and_number[trial.number] = (study_id, trial.number)
        held.append(trial)
        return trial.number


def trial_count(database: Path, study_id: str) -> int:
    """How many trials a study has; 0 where there is no such study. Creates nothing."""
    if not database.exists():
        return 0
    summaries = optuna.get_all_study_summaries(_storage(database))
    return next((item.n_trials for item in summaries if item.study_name == study_id), 0)


def delete_optuna_study(database: Path, study_id: str) -> None:
    """Remove a study's record; one that is not there is fine."""
    if not database.exists():
        return
    try:
        optuna.delete_study(study_name=study_id, storage=_storage(database))
    except KeyError:
        return


def _storage(database: Path) -> optuna.storages.RDBStorage:
    keep_logs_short()
    if (found := trouble(f"{SQLITE}{database}")) is not None:
        raise UnavailableError(
            f"Optuna's database cannot be used: {found}",
            where=str(database),
            remedy="free it, or let `thriftune tracking rebuild` make it anew from the journals.",
        )
    make_whole(database, lambda url: optuna.storages.RDBStorage(url).engine.dispose())
    storage = optuna.storages.RDBStorage(
        f"sqlite:///{database}",
        engine_kwargs={"connect_args": {"timeout": BUSY_TIMEOUT_SECONDS}},
    )
    engine: Engine = storage.engine
    event.listen(engine, "connect", _write_ahead)
    engine.dispose()
    return storage


def _write_ahead(connection: Any, record: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")


def _inside(space: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Those that the sampler can know: values that lie inside the space."""
    return {
        key: values[key]
        for key, distribution in space.items()
        if key in values and _contains(distribution, values[key])
    }


def _contains(distribution: Any, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def trial_row(trial: FrozenTrial) -> Mapping[str, Any]:
    """A trial as the commands and the report show it."""
    seconds = None
    if trial.datetime_start and trial.datetime_complete:
        seconds = round((trial.datetime_complete - trial.datetime_start).total_seconds(), 1)
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value,
        "epochs": len(trial.intermediate_values),
        "seconds": seconds,
        "attempt": trial.user_attrs.get(ATTEMPT),
        "reason": trial.user_attrs.get(REASON),
        "overrides": json.loads(trial.user_attrs.get(OVERRIDES, "{}")),
    }
