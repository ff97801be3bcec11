"""The study and its search: how many trials, which metric, which space, which sampler."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from thriftune.config.base import Section, Text

MAX_NAME_LENGTH = 100
"""Characters of a study's name."""


class StudyConfig(Section):
    """Identity and size of one study."""

    name: Text = Field(default="sample", min_length=1, max_length=MAX_NAME_LENGTH)
    trials: int = Field(default=6, ge=1, le=100_000)
    """Trials of the study, pruned and failed ones included."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Of what the sampler proposes, and of each trial's weights, dropout and order of posts."""
    metric: Text = "joint.f1_micro"
    """Dotted name of a validation metric; always maximised."""
    extend: bool = False
    """Allow more trials than the study was started with."""
    parallel: bool | None = None
    """Several processes may work on the study, each on trials of its own; null: where Optuna's storage is a
    PostgreSQL (tracking.optuna_url)."""
    max_failed_trials: int = Field(default=3, ge=1)
    """Failed trials in a row after which the study stops."""
    timeout: float | None = Field(default=None, gt=0)
    """Seconds of training, of all trials and runs of the study together, after which no further trial is
    started; null: no limit."""
    trial_timeout: float | None = Field(default=None, gt=0)
    """Seconds of training after which a trial ends with its next saved epoch, its best so far its value;
    null: no limit."""
    stop_after_no_gain: int | None = Field(default=None, ge=1)
    """Trials in a row, failed and pruned ones included, without a strictly better value after which the
    search ends; null: never."""

    @field_validator("name")
    @classmethod
    def _one_parameter(cls, name: str) -> str:
        """Of `--params "study.name=mine study.trials=3"` all would be the name."""
        if re.search(r"\s\S+=", name):
            raise ValueError("these look like several parameters; commas separate them")
        return name


Scalar = str | bool | int | float | None


class Searched(Section):
    """What every entry of the search space has."""

    when: dict[str, Scalar | tuple[Scalar, ...]] = Field(default_factory=dict)
    """Searched only where every key has the value, or one of the values; elsewhere it is as configured."""


class FloatRange(Searched):
    """A float parameter, both ends included."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False
    step: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _check_range(self.low, self.high, self.log, self.step)
        return self


class IntRange(Searched):
    """An integer parameter, both ends included."""

    type: Literal["int"]
    low: int
    high: int
    log: bool = False
    step: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _check_range(self.low, self.high, self.log, None if self.step == 1 else self.step)
        return self


class Choices(Searched):
    """A categorical parameter."""

    type: Literal["categorical"]
    choices: tuple[Scalar, ...] = Field(min_length=1)


Range = Annotated[FloatRange | IntRange | Choices, Field(discriminator="type")]


class SearchConfig(Section):
    """The search space and how it is walked. Keys of `space` are dotted configuration keys."""

    sampler: Literal["tpe", "random", "gp", "qmc", "grid"] = "tpe"
    """tpe and gp learn from the history; qmc spreads points evenly (Sobol, scrambled); grid takes every cell
    of choices, integers and floats with a step, in a random order."""
    startup_trials: int = Field(default=10, ge=1)
    """Random trials before tpe and gp model the history."""
    pruner: Literal["none", "median", "hyperband", "patient", "threshold"] = "none"
    """median: worse than the median of the trials before at the same epoch. hyperband: successive halving in
    brackets. patient: no gain for pruner_patience saved epochs. threshold: below pruner_threshold."""
    pruner_startup_trials: int = Field(default=5, ge=0)
    """Finished trials before the median pruner may stop one."""
    pruner_warmup_epochs: int = Field(default=1, ge=0)
    """Epochs of a trial that median and threshold never prune; hyperband's least resource, where above 0."""
    pruner_reduction_factor: int = Field(default=3, ge=2)
    """hyperband: one of so many trials goes on to the next rung."""
    pruner_patience: int = Field(default=2, ge=0)
    """patient: saved epochs without a gain that are borne."""
    pruner_threshold: float | None = None
    """threshold: the least value of study.metric; it has no default."""
    space: dict[str, Range] = Field(default_factory=dict)
    """Dotted key: float or int (low, high, log, step) or categorical (choices); `when: {other.key: value}`
    for some trials only. One of your own takes this one's place as a whole."""
    baselines: tuple[dict[str, Any], ...] = ()
    """Configurations (dotted key: value) run first, in place of the one as written."""

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
