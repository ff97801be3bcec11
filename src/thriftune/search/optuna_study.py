"""The Optuna study: what trial n proposes depends on the seed and the history only.

The whole configuration of trial n is sampled beside the database, on the history in memory, by a sampler
seeded from (study seed, n), and stored by one write; before that write the trial does not exist, after it
every value does. Then, and after every restart, it is re-attached.
"""

from __future__ import annotations

import copy
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial as FrozenTrial  # other rooms name the type too
from optuna.trial import Trial, TrialState
from sqlalchemy import Engine, event
from sqlalchemy.exc import SQLAlchemyError

from thriftune import files
from thriftune.config import Parameters, override
from thriftune.databases.health import is_silence, trouble
from thriftune.databases.sqlite import SQLITE, OpenedFile, keep_logs_short, make_whole
from thriftune.errors import ConfigError, TakenOverError, UnavailableError, chain
from thriftune.search.samplers import pruner_for, sampler_for
from thriftune.search.space import as_written, distributions, sample
from thriftune.study.file_locks import Ownership
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import refused_id, trial_id

OVERRIDES, ATTEMPT, REASON = "overrides", "attempt", "reason"
BUSY_TIMEOUT_SECONDS = 60


@contextmanager
def storage_needed() -> Iterator[None]:
    """UnavailableError where Optuna's storage fails for good: locked for longer than is waited for, a server
    that is gone. A full disk stays what it is. Around, or decorating, all that reads or writes the storage.
    """
    try:
        yield
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        *_, cause = chain(error)  # the database's own error; Optuna's text names no reason
        if files.is_out_of_space(cause):
            raise
        raise UnavailableError(
            f"Optuna's database cannot be used: {str(cause).partition(chr(10))[0]}",
            remedy="free it and run the same command again; it goes on where it was. A damaged one is made "
            "anew by `thriftune tracking rebuild`.",
        ) from error


class UncertainError(Exception):
    """Whether the trial was added is not known; who chooses again, with the lock taken anew, will see."""


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
    refused: ConfigError | None = None
    """Why the overrides make no configuration; `parameters` are then those of the study."""

    @property
    def trial_id(self) -> str:
        """The derived id."""
        return trial_id(self.parameters) if self.refused is None else refused_id(self.overrides)

    @storage_needed()
    def report(self, epoch: int, value: float) -> None:
        """An intermediate value; one that is on record stands. TakenOverError where another process has
        ended the trial."""
        if epoch not in self.reported:
            try:
                self.trial.report(value, epoch)
            except UpdateFinishedTrialError as error:
                raise _taken_over(self.number) from error
            self.reported.add(epoch)

    @storage_needed()
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

    @storage_needed()
    def __init__(
        self, url: str, study_id: str, parameters: Parameters, waiting: Callable[[], None] = lambda: None
    ) -> None:
        """waiting: called while a server is waited for; may raise."""
        storage = _storage(url, waiting)
        self._parameters, self._on_server = parameters, not url.startswith(SQLITE)
        self._study = optuna.create_study(
            storage=storage,
            study_name=study_id,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner_for(parameters),
        )

    @classmethod
    def of(
        cls, study: StudyHandle, parameters: Parameters, waiting: Callable[[], None] = lambda: None
    ) -> Self:
        """Open the Optuna study of a study; it is made where it is missing.

        Args:
            waiting: Called while a server is waited for; may raise.
        """
        return cls(study.storage, study.id, parameters, waiting)

    @storage_needed()
    def trials(self) -> list[FrozenTrial]:
        """All trials in order of their numbers."""
        return self._study.get_trials(deepcopy=False)

    def finished(self, trials: list[FrozenTrial] | None = None) -> list[FrozenTrial]:
        """Trials that are over, whatever their end. trials: as read just now; None: they are read."""
        found = self.trials() if trials is None else trials
        return [trial for trial in found if trial.state.is_finished()]

    def best(self, trials: list[FrozenTrial] | None = None) -> FrozenTrial | None:
        """The best complete trial, the earliest of equals. trials: as of `finished`."""
        found = self.trials() if trials is None else trials
        complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    def running(self, trials: list[FrozenTrial] | None = None) -> list[int]:
        """Trials that are under way, by whichever process, or interrupted. trials: as of `finished`."""
        found = self.trials() if trials is None else trials
        return [trial.number for trial in found if trial.state == TrialState.RUNNING]

    @storage_needed()
    def next_trial(
        self, limit: int, ownership: Ownership | None = None, trials: list[FrozenTrial] | None = None
    ) -> TrialHandle | None:
        """An interrupted trial, re-attached with a higher attempt; else a new one; None where all `limit`
        trials are over or in other hands. One process at a time calls it.

        ownership: takes the trial; None: no other process works on the study. trials: as of `finished`.
        UncertainError where a server went silent while a trial was added.
        """
        trials = self.trials() if trials is None else trials
        for number in self.running(trials):
            if ownership is None or ownership.take(number, adopting=True):
                trial = self.trials()[number]  # its worker may have ended it before it was taken
                if trial.state == TrialState.RUNNING:
                    return self._attach(trial, trial.user_attrs[ATTEMPT] + 1)
                if ownership is not None:
                    ownership.give_back(number)
        if len(trials) >= limit or not (ownership is None or ownership.take(len(trials))):
            return None
        files.announce("optuna_add_trial", Path(self._study.study_name))
        proposed = self._propose(trials)
        try:
            self._study.add_trial(proposed)
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            if self._on_server and is_silence(error):
                raise UncertainError from error
            raise
        return self._attach(self.trials()[-1], 1)

    def _attach(self, frozen: FrozenTrial, attempt: int) -> TrialHandle:
        trial = Trial(self._study, frozen._trial_id)
        if attempt != frozen.user_attrs[ATTEMPT]:
            trial.set_user_attr(ATTEMPT, attempt)
        overrides = json.loads(frozen.user_attrs[OVERRIDES])
        parameters, refused = self._parameters, None
        try:
            parameters = override(self._parameters, overrides)
        except ConfigError as error:  # a combination that only this trial has
            refused = error
        return TrialHandle(
            frozen.number,
            parameters,
            attempt,
            trial,
            set(frozen.intermediate_values),
            overrides,
            frozen.system_attrs,
            refused,
        )

    def _propose(self, history: list[FrozenTrial]) -> FrozenTrial:
        number = len(history)
        space = distributions(self._parameters)
        fixed = self.fixed(number)
        system_attrs: dict[str, Any] = {}
        if fixed is None:
            # The name and the pruner too: what a sampler makes of them is Optuna's choice.
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

    @storage_needed()
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

    @storage_needed()
    def tell(self, handle: TrialHandle, value: float | None, reason: str | None) -> None:
        """End a trial: complete with its value, or failed without one; the reason stays with it.
        TakenOverError where another process has ended it otherwise."""
        self._tell(handle, TrialState.FAIL if value is None else TrialState.COMPLETE, value, reason)

    @storage_needed()
    def tell_pruned(self, handle: TrialHandle, reason: str) -> None:
        """End a trial that the pruner stopped; Optuna keeps its last intermediate value. Raises as `tell`."""
        self._tell(handle, TrialState.PRUNED, None, reason)

    def _tell(self, handle: TrialHandle, state: TrialState, value: float | None, reason: str | None) -> None:
        stored = self._state(handle)
        if stored.is_finished():  # an earlier process has told, and was killed before it tidied
            _require_same(handle.number, stored, state)
            return
        try:
            if reason is not None:
                handle.trial.set_user_attr(REASON, reason)
            files.announce("optuna_tell", Path(self._study.study_name))
            self._study.tell(handle.number, value, state=state)
        except UpdateFinishedTrialError:
            # A server that was cut off after it had stored the end was told again.
            _require_same(handle.number, self._state(handle), state)

    def _state(self, handle: TrialHandle) -> TrialState:
        """What the storage has of one trial now."""
        found: TrialState = handle.trial.storage.get_trial(handle.trial._trial_id).state
        return found


def _require_same(trial: int, stored: TrialState, told: TrialState) -> None:
    if stored != told:
        raise _taken_over(trial)


def _taken_over(trial: int) -> TakenOverError:
    return TakenOverError(f"another process has ended trial {trial}; its end stands")


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


@storage_needed()
def is_known(study: StudyHandle) -> bool:
    """Whether Optuna has trials of a study."""
    return trial_count(study.storage, study.id) > 0


def trials_of(study: StudyHandle) -> list[FrozenTrial]:
    """Return the trials that Optuna has of a study, in order of their numbers."""
    return read_trials(study.storage, [study.id])[study.id]


def trial_count(url: str, study_id: str) -> int:
    """How many trials a study has; 0 where there is no such study. Creates no study."""
    if _is_missing(url):
        return 0
    summaries = optuna.get_all_study_summaries(_storage(url))
    return next((item.n_trials for item in summaries if item.study_name == study_id), 0)


@storage_needed()
def read_trials(url: str, study_ids: Iterable[str]) -> dict[str, list[FrozenTrial]]:
    """Return the trials of several studies by the study's id, in order of their numbers.

    Opens the storage once, which takes longer than reading it, and creates nothing: a study that the storage
    does not know has no trials.
    """
    if _is_missing(url):
        return {study_id: [] for study_id in study_ids}
    storage = _storage(url)
    return {study_id: _trials_in(storage, study_id) for study_id in study_ids}


def _trials_in(storage: optuna.storages.RDBStorage, study_id: str) -> list[FrozenTrial]:
    try:
        return storage.get_all_trials(storage.get_study_id_from_name(study_id), deepcopy=False)
    except KeyError:
        return []


@storage_needed()
def delete_optuna_study(url: str, study_id: str) -> None:
    """Remove a study's record; one that is not there is fine."""
    if _is_missing(url):
        return
    try:
        optuna.delete_study(study_name=study_id, storage=_storage(url))
    except KeyError:
        return


def _is_missing(url: str) -> bool:
    return url.startswith(SQLITE) and not Path(url.removeprefix(SQLITE)).exists()


def _storage(url: str, waiting: Callable[[], None] = lambda: None) -> optuna.storages.RDBStorage:
    if url.startswith(SQLITE):
        return _sqlite_storage(Path(url.removeprefix(SQLITE)))
    from thriftune.search.postgres_storage import PatientStorage

    return PatientStorage(url, waiting)


def _sqlite_storage(database: Path) -> optuna.storages.RDBStorage:
    database.parent.mkdir(parents=True, exist_ok=True)
    keep_logs_short(database)
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
    opened = OpenedFile(database)

    def require_same_file(connection: Any) -> None:
        if not opened.is_in_place():
            raise UnavailableError(
                "Optuna's database was deleted while this process worked",
                where=str(database),
                remedy="run the same command again: it restores the trials from the journals and goes on.",
            )

    event.listen(engine, "begin", require_same_file)
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
