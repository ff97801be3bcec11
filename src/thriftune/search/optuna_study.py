"""The Optuna study: what trial n proposes depends on the seed and the history only.

The whole configuration of trial n is sampled beside the database and stored by one write (see proposals.py):
before that write the trial does not exist, after it every value does. Then, and after every restart, the
trial is re-attached. Where the storage cannot be used, every method raises UnavailableError.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Self

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial, TrialState
from pydantic import JsonValue
from sqlalchemy.exc import SQLAlchemyError

from thriftune import files
from thriftune.config import Parameters, override
from thriftune.databases.health import is_connection_error
from thriftune.databases.sqlite import SQLITE
from thriftune.errors import ConfigError, TakenOverError
from thriftune.search.proposals import preset_values, propose, values_inside
from thriftune.search.quiet import hide_progress_messages
from thriftune.search.samplers import pruner_for
from thriftune.search.space import distributions
from thriftune.search.storage import open_storage
from thriftune.search.storage_errors import UnknownOutcomeError, storage_errors
from thriftune.search.trials import (
    ATTEMPT,
    OVERRIDES,
    REASON,
    STATES,
    JournaledTrial,
    RunningTrial,
    taken_over_text,
)
from thriftune.study.file_locks import Ownership
from thriftune.study.handle import StudyHandle
from thriftune.study.trials import TrialEnd


class OptunaStudy:
    """One study in Optuna's RDB storage."""

    @storage_errors()
    def __init__(
        self, url: str, study_id: str, parameters: Parameters, waiting: Callable[[], None] = lambda: None
    ) -> None:
        """Open a study; it is made where it is missing.

        Args:
            url: SQLAlchemy's URL of a SQLite file or of a PostgreSQL database.
            study_id: The study's id, by which Optuna knows it.
            parameters: Those of the study.
            waiting: Called several times a second while a server is waited for; may raise.
        """
        self._id, self._parameters, self._on_server = study_id, parameters, not url.startswith(SQLITE)
        self._configured: dict[str, JsonValue] = parameters.model_dump()
        self._pruner = pruner_for(parameters.search, parameters.training.epochs)
        storage = open_storage(url, waiting)
        with hide_progress_messages():
            self._study = optuna.create_study(
                storage=storage,
                study_name=study_id,
                direction="maximize",
                load_if_exists=True,
                pruner=self._pruner,
            )

    @classmethod
    def open(
        cls, study: StudyHandle, parameters: Parameters, waiting: Callable[[], None] = lambda: None
    ) -> Self:
        """Open the Optuna study of a study, or create it.

        Args:
            study: The study.
            parameters: Those of the study.
            waiting: Called several times a second while a server is waited for; may raise.

        Returns:
            The opened study.
        """
        return cls(study.storage, study.id, parameters, waiting)

    @storage_errors()
    def trials(self) -> list[FrozenTrial]:
        """Return all trials in order of their numbers."""
        return self._study.get_trials(deepcopy=False)

    def finished(self, trials: list[FrozenTrial] | None = None) -> list[FrozenTrial]:
        """Return the trials that have ended, whatever their state.

        Args:
            trials: All trials, read a moment ago. None: they are read now.
        """
        read = self.trials() if trials is None else trials
        return [trial for trial in read if trial.state.is_finished()]

    def best(self, trials: list[FrozenTrial] | None = None) -> FrozenTrial | None:
        """Return the best complete trial, the earliest on a tie; None before one is complete.

        Args:
            trials: All trials, read a moment ago. None: they are read now.
        """
        read = self.trials() if trials is None else trials
        complete = [trial for trial in read if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)

    def running(self, trials: list[FrozenTrial] | None = None) -> list[int]:
        """Return the numbers of the trials that a process works on, and of the interrupted ones.

        Args:
            trials: All trials, read a moment ago. None: they are read now.
        """
        read = self.trials() if trials is None else trials
        return [trial.number for trial in read if trial.state == TrialState.RUNNING]

    @storage_errors()
    def next_trial(
        self, limit: int, ownership: Ownership | None = None, trials: list[FrozenTrial] | None = None
    ) -> RunningTrial | None:
        """Re-attach an interrupted trial with a higher attempt, or else add a new one.

        One process at a time may call it. UnknownOutcomeError is raised where a server falls silent while the
        trial is added.

        Args:
            limit: Number of trials of the study.
            ownership: Takes the trial for this process. None: no other process works on the study.
            trials: All trials, read a moment ago. None: they are read now.

        Returns:
            The trial to run; None where all of them have ended or are other processes'.
        """
        trials = self.trials() if trials is None else trials
        for number in self.running(trials):
            if ownership is None or ownership.take(number, adopting=True):
                trial = self.trials()[number]  # its worker may have ended it before it was taken
                if trial.state == TrialState.RUNNING:
                    return self._attach(trial, trial.user_attrs[ATTEMPT] + 1)
                if ownership is not None:
                    ownership.release(number)
        if len(trials) >= limit or not (ownership is None or ownership.take(len(trials))):
            return None
        files.announce("optuna_add_trial", Path(self._id))
        proposed = propose(
            self._parameters.search,
            self._parameters.study.seed,
            trials,
            configured=self._configured,
            pruner=self._pruner,
            study_name=self._id,
        )
        self._add(proposed)
        return self._attach(self.trials()[-1], 1)

    def _add(self, proposed: FrozenTrial) -> None:
        try:
            self._study.add_trial(proposed)
        except (StorageInternalError, SQLAlchemyError) as error:
            if self._on_server and is_connection_error(error):
                raise UnknownOutcomeError from error
            raise

    def _attach(self, frozen: FrozenTrial, attempt: int) -> RunningTrial:
        trial = Trial(self._study, frozen._trial_id)
        if attempt != frozen.user_attrs[ATTEMPT]:
            trial.set_user_attr(ATTEMPT, attempt)
        overrides = json.loads(frozen.user_attrs[OVERRIDES])
        parameters, refused = self._parameters, None
        try:
            parameters = override(self._parameters, overrides)
        except ConfigError as error:  # a combination that only this trial has
            refused = error
        return RunningTrial(
            number=frozen.number,
            parameters=parameters,
            attempt=attempt,
            trial=trial,
            reported=set(frozen.intermediate_values),
            overrides=overrides,
            sampler_attrs=frozen.system_attrs,
            refused=refused,
        )

    @storage_errors()
    def restore(self, journaled: JournaledTrial) -> None:
        """Add a trial as its journal has it.

        Args:
            journaled: The trial; it gets the next number.
        """
        space = distributions(self._parameters.search.space)
        params = values_inside(space, journaled.overrides)
        attrs = {OVERRIDES: json.dumps(journaled.overrides), ATTEMPT: 1}
        state, value = TrialState.RUNNING, None
        if journaled.end is not None:
            state, value = STATES[journaled.end.state], journaled.end.value
            if journaled.end.reason is not None:
                attrs[REASON] = journaled.end.reason
        if state == TrialState.PRUNED:
            value = journaled.values[max(journaled.values)]  # as Optuna does: the last intermediate value
        trial = optuna.trial.create_trial(
            state=state,
            value=value,
            params=params,
            distributions={key: space[key] for key in params},
            intermediate_values=dict(journaled.values),
            user_attrs=attrs,
            system_attrs=dict(journaled.sampler_attrs),
        )
        trial.datetime_start, trial.datetime_complete = journaled.started, journaled.ended
        self._study.add_trial(trial)

    def preset_values(self, number: int) -> dict[str, JsonValue] | None:
        """Return the values of a trial that is not sampled, by dotted key; None where it is sampled.

        Args:
            number: The trial's.
        """
        return preset_values(self._parameters.search, self._configured, number)

    @storage_errors()
    def tell(self, handle: RunningTrial, end: TrialEnd) -> None:
        """End a trial; of one that was pruned the last intermediate value becomes its value.

        TakenOverError is raised if another process has ended it in another state.

        Args:
            handle: The trial.
            end: How it ended; the reason is kept with the trial.
        """
        state, value = STATES[end.state], end.value if end.state == "complete" else None
        stored = self._state(handle)
        if stored.is_finished():  # an earlier process ended it, and was killed before it tidied
            _require_same(handle.number, stored, state)
            return
        try:
            if end.reason is not None:
                handle.trial.set_user_attr(REASON, end.reason)
            files.announce("optuna_tell", Path(self._id))
            self._study.tell(handle.number, value, state=state)
        except UpdateFinishedTrialError:
            # A server that was cut off after it had stored the end was asked again.
            _require_same(handle.number, self._state(handle), state)

    def _state(self, handle: RunningTrial) -> TrialState:
        """Return what the storage has of one trial now."""
        state: TrialState = handle.trial.storage.get_trial(handle.trial._trial_id).state
        return state


def _require_same(trial: int, stored: TrialState, state: TrialState) -> None:
    if stored != state:
        raise TakenOverError(taken_over_text(trial))
