"""Optuna's samplers and pruners as configured, each a function of the study's seed and history alone."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler, GridSampler, QMCSampler, RandomSampler, TPESampler

from thriftune.config import Choices, Parameters, Range, SearchConfig
from thriftune.config.study import Scalar
from thriftune.errors import ConfigError
from thriftune.search.space import distributions

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


def sampler_for(search: SearchConfig, seed: int, number: int) -> BaseSampler:
    """Return a new sampler for one trial.

    What it proposes depends on these arguments and on the history that it is shown.

    Args:
        search: The sampler's name, its settings and the space.
        seed: The study's.
        number: The trial's.
    """
    own_seed = _seed(seed, number)
    match search.sampler:
        case "random":
            return RandomSampler(seed=own_seed)
        case "gp":
            return GPSampler(
                seed=own_seed, n_startup_trials=search.startup_trials, deterministic_objective=True
            )
        case "qmc":
            return _NumberedQMC(search.space, seed, number)
        case "grid":
            # Its seed orders the cells, which must be one order for all trials.
            return GridSampler(_grid_of(search.space), seed=seed)
    return TPESampler(seed=own_seed, n_startup_trials=search.startup_trials)


def pruner_for(search: SearchConfig, epochs: int) -> optuna.pruners.BasePruner:
    """Return the pruner, which decides from stored values only.

    Args:
        search: The pruner's name and its settings.
        epochs: Most epochs of a trial.
    """
    # Optuna prunes from this step on, and the first epoch is step 1.
    protected = search.pruner_warmup_epochs + 1
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


def _grid_of(space: Mapping[str, Range]) -> dict[str, list[Scalar]]:
    """Return every value of every key; a number without a step and a condition are ConfigErrors."""
    grid: dict[str, list[Scalar]] = {}
    for key, entry in space.items():
        if entry.when:
            raise ConfigError(
                "a grid cannot have conditions: every cell sets every key",
                where=f"search.space.{key}.when",
                remedy="remove `when`, or choose another search.sampler.",
            )
        grid[key] = _cells(key, entry)
    return grid


def check_grid(parameters: Parameters) -> None:
    """Raise unless the space has a cell of the grid for every trial; other samplers need no grid.

    Args:
        parameters: Those of the study.

    Raises:
        ConfigError: The space is not a grid, or has too few cells.
    """
    if parameters.search.sampler != "grid":
        return
    cells = math.prod(len(values) for values in _grid_of(parameters.search.space).values())
    fixed = max(1, len(parameters.search.baselines))
    if parameters.study.trials > cells + fixed:
        raise ConfigError(
            f"the grid has {cells} cells, and {fixed} of the trials do not use one, but study.trials is "
            f"{parameters.study.trials}",
            where="study.trials",
            remedy=f"set it to at most {cells + fixed}, or refine the grid.",
        )


def _cells(key: str, entry: Range) -> list[Scalar]:
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
    """Samplers that give point n of the sequence to trial n.

    Optuna counts the points in attributes of the study, one write apart from the trial: a kill between the
    two would skip one. Keys with a condition are not dimensions of the sequence; they are drawn at random.
    """

    def __init__(self, space: Mapping[str, Range], seed: int, number: int) -> None:
        super().__init__(
            seed=seed,
            scramble=True,
            independent_sampler=RandomSampler(seed=_seed(seed, number)),
            warn_independent_sampling=False,
        )
        self._number = number
        self._dimensions = {
            key: found
            for key, found in distributions(space).items()
            if not space[key].when and not found.single()
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Return every key that is always searched, whatever the trials before had."""
        return dict(self._dimensions)

    def _find_sample_id(self, study: Study, search_space: Mapping[str, BaseDistribution]) -> int:
        return self._number
