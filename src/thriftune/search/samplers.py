"""Optuna's samplers and pruners as configured, each a function of the study's seed and history alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler

from thriftune.config import Choices, FloatRange, IntRange, Parameters
from thriftune.errors import ConfigError
from thriftune.search.space import distributions


def sampler_for(parameters: Parameters, number: int) -> BaseSampler:
    """The sampler of trial `number`, which has seen nothing yet: what it proposes depends on that number, the
    study's seed, and the history that it is shown."""
    search = parameters.search
    seed = _seed(parameters.study.seed, number)
    match search.sampler:
        case "random":
            return RandomSampler(seed=seed)
        case "gp":
            return GPSampler(seed=seed, n_startup_trials=search.startup_trials, deterministic_objective=True)
        case "qmc":
            return _NumberedQMC(parameters, number)
        case "grid":
            # Its seed orders the cells, which must be one order for all trials.
            return GridSampler(grid_of(parameters), seed=parameters.study.seed)
    return TPESampler(seed=seed, n_startup_trials=search.startup_trials)


def pruner_for(parameters: Parameters) -> optuna.pruners.BasePruner:
    """The pruner; it decides from stored values only."""
    search, epochs = parameters.search, parameters.training.epochs
    protected = (
        search.pruner_warmup_epochs + 1
    )  # Optuna prunes from this step on, and the first epoch is step 1
    match search.pruner:
        case "median":
            return optuna.pruners.MedianPruner(search.pruner_startup_trials, protected)
        case "hyperband":
            return optuna.pruners.HyperbandPruner(
                max(1, search.pruner_warmup_epochs), epochs, search.pruner_reduction_factor
            )
        case "patient":
            return optuna.pruners.PatientPruner(None, search.pruner_patience)
        case "threshold":
            return optuna.pruners.ThresholdPruner(lower=search.pruner_threshold, n_warmup_steps=protected)
    return optuna.pruners.NopPruner()


def grid_of(parameters: Parameters) -> dict[str, list[Any]]:
    """Every value of every key. ConfigError for a float without a step, and for a condition."""
    grid: dict[str, list[Any]] = {}
    for key, entry in parameters.search.space.items():
        if entry.when:
            raise ConfigError(
                "a grid has no conditions: every cell sets every key",
                where=f"search.space.{key}.when",
                remedy="remove `when`, or choose another search.sampler.",
            )
        grid[key] = _cells(key, entry)
    return grid


def check_grid(parameters: Parameters) -> None:
    """ConfigError where a grid is asked for, and the space is none or has too few cells for the trials."""
    if parameters.search.sampler != "grid":
        return
    cells = math.prod(len(values) for values in grid_of(parameters).values())
    fixed = max(1, len(parameters.search.baselines))
    if parameters.study.trials > cells + fixed:
        raise ConfigError(
            f"the grid has {cells} cells, and {fixed} of the trials are given; study.trials asks for "
            f"{parameters.study.trials}",
            where="study.trials",
            remedy=f"set it to {cells + fixed} at most, or refine the grid.",
        )


def _cells(key: str, entry: FloatRange | IntRange | Choices) -> list[Any]:
    if isinstance(entry, Choices):
        return list(entry.choices)
    if entry.log or entry.step is None:
        raise ConfigError(
            "a grid needs a step (and no log) for every number",
            where=f"search.space.{key}",
            remedy="give it a step, make it categorical with the values to try, or choose another sampler.",
        )
    count = math.floor((entry.high - entry.low) / entry.step + 1e-9) + 1
    return [entry.low + number * entry.step for number in range(count)]


def _seed(study_seed: int, number: int) -> int:
    material = f"{study_seed}:{number}".encode()
    return int.from_bytes(hashlib.sha256(material).digest()[:4], "big")


class _NumberedQMC(QMCSampler):
    """Point n of the sequence for trial n.

    Optuna counts the points in attributes of the study, one write apart from the trial: a kill between the
    two would skip one. Keys with a condition are no dimension of the sequence; they are drawn at random.
    """

    def __init__(self, parameters: Parameters, number: int) -> None:
        super().__init__(
            seed=parameters.study.seed,
            scramble=True,
            independent_sampler=RandomSampler(seed=_seed(parameters.study.seed, number)),
            warn_independent_sampling=False,
        )
        self._number = number
        self._dimensions = {
            key: found
            for key, found in distributions(parameters).items()
            if not parameters.search.space[key].when and not found.single()
        }

    def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, BaseDistribution]:
        """Every key that is always searched, whatever the trials before had."""
        return dict(self._dimensions)

    def _find_sample_id(self, study: Any, search_space: Mapping[str, BaseDistribution]) -> int:
        return self._number
