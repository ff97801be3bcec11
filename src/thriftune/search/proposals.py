"""Proposal n: a function of the search section, the study's seed and the history, and of nothing else.

The whole configuration of a trial is sampled beside the database, on the history in memory, by a sampler that
is seeded from (study seed, trial number).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState
from pydantic import JsonValue

from thriftune.config import SearchConfig
from thriftune.search.quiet import hide_progress_messages
from thriftune.search.samplers import sampler_for
from thriftune.search.space import as_written, distributions, sample
from thriftune.search.trials import ATTEMPT, OVERRIDES, Values


def propose(
    search: SearchConfig,
    seed: int,
    history: Sequence[FrozenTrial],
    *,
    configured: Values | None = None,
    pruner: BasePruner | None = None,
    study_name: str = "study",
) -> FrozenTrial:
    """Return the next trial: the same for the same arguments, in any process.

    Args:
        search: The space, the sampler and the baselines.
        seed: The study's.
        history: All trials before this one, in order of their numbers; the proposal has the next number.
        configured: The configuration that the trial changes, nested; conditions of the space are looked up in
            it, and trial 0 takes its values. None: there is none, and trial 0 is sampled too.
        pruner: The study's. Samplers learn from Hyperband's brackets. None: nothing is pruned.
        study_name: Hyperband draws a trial's bracket from it.

    Returns:
        A running trial with values (`params`) for every active key, that is not stored yet.
    """
    number = len(history)
    space = distributions(search.space)
    values = preset_values(search, configured, number)
    system_attrs: dict[str, JsonValue] = {}
    if values is None:
        with hide_progress_messages():
            # The name and the pruner too: what a sampler makes of them is Optuna's choice.
            scratch = optuna.create_study(
                storage=_SharedHistory(),
                study_name=study_name,
                direction="maximize",
                sampler=sampler_for(search, seed, number),
                pruner=pruner or optuna.pruners.NopPruner(),
            )
            scratch.add_trials(history)
            asked = scratch.ask()
            values = params = sample(asked, search.space, configured or {})
            system_attrs = scratch.get_trials(deepcopy=False)[-1].system_attrs
    else:
        params = values_inside(space, values)
    return optuna.trial.create_trial(
        state=TrialState.RUNNING,
        params=params,
        distributions={key: space[key] for key in params},
        user_attrs={OVERRIDES: json.dumps(values), ATTEMPT: 1},
        system_attrs=system_attrs,
    )


def complete(trial: FrozenTrial, value: float) -> FrozenTrial:
    """Return a proposed trial as complete, for the history of the next proposal.

    Args:
        trial: What `propose` returned; it is not changed.
        value: What is maximised.
    """
    ended = copy.copy(trial)
    ended.state, ended.value, ended.datetime_complete = TrialState.COMPLETE, value, trial.datetime_start
    return ended


def preset_values(
    search: SearchConfig, configured: Values | None, number: int
) -> dict[str, JsonValue] | None:
    """Return the values of a trial that is not sampled: a baseline, or trial 0 as configured.

    Args:
        search: The space and the baselines.
        configured: The configuration that the trial changes, nested; None: there is none.
        number: The trial's.

    Returns:
        Values by dotted key; None where the trial is sampled.
    """
    baseline = search.baselines[number] if number < len(search.baselines) else None
    if configured is None:
        return baseline if baseline is not None or search.space else {}
    if baseline is not None or number == 0 or not search.space:
        return as_written(search.space, configured, baseline)
    return None


def values_inside(space: Mapping[str, BaseDistribution], values: Values) -> dict[str, JsonValue]:
    """Return the values that the sampler can learn from: those inside the space.

    Args:
        space: Optuna's distribution of each key.
        values: Values by dotted key; a baseline's may lie outside the space.
    """
    return {
        key: values[key]
        for key, distribution in space.items()
        if key in values and _contains(distribution, values[key])
    }


def _contains(distribution: BaseDistribution, value: JsonValue) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


class _SharedHistory(optuna.storages.InMemoryStorage):
    """Takes finished trials as they are, without a copy; for one study.

    Optuna's own makes a deep copy of each, which for a thousand trials takes several times as long as
    sampling; nobody changes them here. It writes three private attributes: a test compares what is
    proposed with what Optuna's own storage leads to.
    """

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        if template_trial is None:
            return super().create_new_trial(study_id)
        trial, held = copy.copy(template_trial), self._studies[study_id].trials
        trial.number = trial._trial_id = self._max_trial_id = len(held)
        self._trial_id_to_study_id_and_number[trial.number] = (study_id, trial.number)
        held.append(trial)
        return trial.number
