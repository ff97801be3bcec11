"""One trial in its three forms: running, as its journal has it, and as a row of a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial as FrozenTrial  # other rooms name the type too
from optuna.trial import Trial, TrialState
from pydantic import JsonValue

from thriftune.errors import ConfigError, TakenOverError
from thriftune.search.storage_errors import storage_errors
from thriftune.study.identity import refused_id
from thriftune.study.trials import TrialEnd, TrialRef

OVERRIDES, ATTEMPT, REASON = "overrides", "attempt", "reason"
"""Attributes of a trial in Optuna's storage."""
STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""Optuna's state of a trial that ended."""

Values = Mapping[str, JsonValue]
"""Values by dotted key of the configuration."""


@dataclass(frozen=True)
class RunningTrial(TrialRef):
    """One running trial; `parameters` are the study's where its overrides make no configuration."""

    attempt: int
    trial: Trial
    reported: set[int]
    """Epochs with an intermediate value on record."""
    overrides: Values
    """What the search space, or a baseline, sets in this trial."""
    sampler_attrs: Values
    """What the sampler keeps with the trial."""
    refused: ConfigError | None = None
    """Why the overrides make no configuration."""

    @property
    def trial_id(self) -> str:
        """The derived id."""
        return super().trial_id if self.refused is None else refused_id(self.overrides)

    @storage_errors()
    def report(self, epoch: int, value: float) -> None:
        """Store an intermediate value, unless the epoch has one.

        Args:
            epoch: Number of the epoch, from 1.
            value: The metric that the study maximises.

        Raises:
            TakenOverError: Another process has ended the trial.
        """
        if epoch not in self.reported:
            try:
                self.trial.report(value, epoch)
            except UpdateFinishedTrialError as error:
                raise TakenOverError(taken_over_text(self.number)) from error
            self.reported.add(epoch)

    @storage_errors()
    def should_prune(self) -> bool:
        """Return the pruner's decision, which depends on stored values only."""
        return bool(self.trial.should_prune())


@dataclass(frozen=True)
class JournaledTrial:
    """What a trial's journal has of it; no database is needed."""

    overrides: Values
    sampler_attrs: Values
    end: TrialEnd | None
    """None: it was interrupted."""
    values: Mapping[int, float]
    """Intermediate values by epoch."""
    started: datetime
    ended: datetime | None


@dataclass(frozen=True)
class TrialRow:
    """A trial as the commands and the report show it."""

    trial: int
    state: str
    """running, complete, pruned or fail, as Optuna names them in lower case."""
    value: float | None
    epochs: int
    """Epochs with an intermediate value."""
    seconds: float | None
    """From its start to its end; None while it runs."""
    attempt: int | None
    reason: str | None
    overrides: Values


def trial_row(trial: FrozenTrial) -> TrialRow:
    """Return a trial as the commands and the report show it.

    Args:
        trial: The trial as Optuna's storage has it.
    """
    seconds = None
    if trial.datetime_start and trial.datetime_complete:
        seconds = round((trial.datetime_complete - trial.datetime_start).total_seconds(), 1)
    return TrialRow(
        trial=trial.number,
        state=trial.state.name.lower(),
        value=trial.value,
        epochs=len(trial.intermediate_values),
        seconds=seconds,
        attempt=trial.user_attrs.get(ATTEMPT),
        reason=trial.user_attrs.get(REASON),
        overrides=json.loads(trial.user_attrs.get(OVERRIDES, "{}")),
    )


def taken_over_text(trial: int) -> str:
    """Return the message for a worker whose trial another process has ended.

    Args:
        trial: The trial's number.
    """
    return f"another process has already ended trial {trial}; its result is kept"
