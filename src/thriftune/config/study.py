"""`study` and `search`: how many trials, which metric, which space, which sampler."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from thriftune.config.base import Section, Text

MAX_NAME_LENGTH = 100
"""Most characters of a study's name."""


class StudyConfig(Section):
    """Identity and size of one study."""

    name: Text = Field(default="sample", min_length=1, max_length=MAX_NAME_LENGTH)
    """Name of the study, up to 100 characters; the same name resumes the same study."""
    trials: int = Field(default=6, ge=1, le=100_000)
    """Number of trials, pruned and failed ones included."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seed of the sampler's proposals, and of each trial's weights, dropout and order of posts."""
    metric: Text = "joint.f1_micro"
    """Dotted name of the validation metric to maximise."""
    extend: bool = False
    """true: allow more trials than the study was started with."""
    parallel: bool | None = None
    """true: several processes may work on the study, each on trials of its own; null: only where Optuna's
    storage is a PostgreSQL (tracking.optuna_url)."""
    max_failed_trials: int = Field(default=3, ge=1)
    """Failed trials in a row after which the study stops."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds of training, over all trials and runs of the study, after which no further trial starts; null:
    no limit."""
    trial_timeout: float | None = Field(default=None, gt=0)
    """Seconds of training after which a trial ends with its next saved epoch, and its best value so far;
    null: no limit."""
    stop_after_no_gain: int | None = Field(default=None, ge=1)
    """Trials in a row, failed and pruned ones included, without a strictly better value, after which the
    search ends; null: no limit."""

    @field_validator("name")
    @classmethod
    def _one_parameter(cls, name: str) -> str:
        """Refuse `--params "study.name=mine study.trials=3"`, in which everything would be the name."""
        if re.search(r"\s\S+=", name):
            raise ValueError("these look like several parameters; commas separate them")
        return name


Scalar = str | bool | int | float | None


class Searched(Section):
    """An entry of the search space."""

    when: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """Values of other parameters, or lists of values, with which this one is searched; with others it is as
    configured. Empty: it is searched in every trial."""


class FloatRange(Searched):
    """A float parameter, both ends included."""

    type: Literal["float"]
    low: float
    """The lowest value; above 0 where log is true."""
    high: float
    """The highest value."""
    log: bool = False
    """true: search the logarithm; not together with step."""
    step: float | None = Field(default=None, gt=0)
    """Distance between two values; null: any value."""

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_range(self.low, self.high, self.log, self.step)
        return self


class IntRange(Searched):
    """An integer parameter, both ends included."""

    type: Literal["int"]
    low: int
    """The lowest value; above 0 where log is true."""
    high: int
    """The highest value."""
    log: bool = False
    """true: search the logarithm; not together with a step above 1."""
    step: int = Field(default=1, ge=1)
    """Distance between two values."""

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_range(self.low, self.high, self.log, None if self.step == 1 else self.step)
        return self


class Choices(Searched):
    """A categorical parameter."""

    type: Literal["categorical"]
    choices: tuple[Scalar, ...] = Field(min_length=1)
    """The values, at least one."""


Range = Annotated[FloatRange | IntRange | Choices, Field(discriminator="type")]


class SearchConfig(Section):
    """The search space, the sampler and the pruner."""

    sampler: Literal["tpe", "random", "gp", "qmc", "grid"] = "tpe"
    """tpe and gp learn from the history; qmc spreads points evenly (Sobol, scrambled); grid tries every
    combination of choices, integers and floats with a step, in a random order."""
    startup_trials: int = Field(default=10, ge=1)
    """Random trials before tpe and gp learn from the history."""
    pruner: Literal["none", "median", "hyperband", "patient", "threshold"] = "none"
    """median: prune what is worse than the median of earlier trials at the same epoch. hyperband: successive
    halving in brackets (Li et al., 2018). patient: prune after more than pruner_patience saved epochs without
    a better value. threshold: prune below pruner_threshold."""
    pruner_startup_trials: int = Field(default=5, ge=0)
    """Finished trials before the median pruner may prune one."""
    pruner_warmup_epochs: int = Field(default=1, ge=0)
    """Epochs at a trial's start in which median and threshold never prune; hyperband's least resource, at
    least 1."""
    pruner_reduction_factor: int = Field(default=3, ge=2)
    """hyperband: one of so many trials continues to the next rung."""
    pruner_patience: int = Field(default=2, ge=0)
    """patient: saved epochs without a better value that are tolerated."""
    pruner_threshold: float | None = None
    """threshold: the least value of study.metric; null: allowed only with other pruners."""
    space: dict[str, Range] = Field(default_factory=dict)
    """Range of each searched parameter by its dotted key: float or int (low, high, log, step) or categorical
    (choices); `when: {other.key: value}` for some trials only. A space of your own replaces this one
    whole."""
    baselines: tuple[dict[str, JsonValue], ...] = ()
    """Configurations (dotted key: value) to run first, instead of the one as written."""

    @model_validator(mode="after")
    def _threshold_given(self) -> SearchConfig:
        if self.pruner == "threshold" and self.pruner_threshold is None:
            raise ValueError("pruner=threshold needs pruner_threshold, the least value of study.metric")
        return self


def _check_range(low: float, high: float, log: bool, step: float | None) -> None:
    if low > high:
        raise ValueError(f"low {low} is above high {high}")
    if log and low <= 0:
        raise ValueError(f"log needs low above 0, got {low}")
    if log and step is not None:
        raise ValueError("log and step exclude each other")
