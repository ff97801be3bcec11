"""A proposal depends on the search section, the seed and the history, and on nothing else."""

from __future__ import annotations

import copy
import json

import pytest
from optuna.trial import FrozenTrial

from thriftune.config import Choices, FloatRange, SearchConfig
from thriftune.search import complete, propose

pytestmark = pytest.mark.unit
SPACE = {
    "rate": FloatRange(type="float", low=1e-5, high=1e-1, log=True),
    "kind": Choices(type="categorical", choices=("a", "b")),
    "gamma": FloatRange(type="float", low=0, high=1, when={"kind": "b"}),
}


def run(search: SearchConfig, seed: int, trials: int) -> list[FrozenTrial]:
    """A search of a function, without a study or a database."""
    history: list[FrozenTrial] = []
    for _ in range(trials):
        trial = propose(search, seed, history)
        history.append(complete(trial, value=-abs(trial.params["rate"] - 0.01)))
    return history


def test_the_same_history_gives_the_same_proposal() -> None:
    """Keys of any name, one with a condition; the history stays as it was."""
    search = SearchConfig(space=SPACE, startup_trials=4)
    history = run(search, seed=7, trials=12)
    assert [trial.params for trial in run(search, seed=7, trials=12)] == [trial.params for trial in history]
    assert [trial.params for trial in run(search, seed=8, trials=12)] != [trial.params for trial in history]
    before = copy.deepcopy(history)
    assert propose(search, 7, history[:5]).params == history[5].params
    assert history == before
    for trial in history:
        assert json.loads(trial.user_attrs["overrides"]) == trial.params
        assert ("gamma" in trial.params) == (trial.params["kind"] == "b")


def test_baselines_come_before_what_is_sampled() -> None:
    """A value outside the space is set, though the sampler does not learn from it."""
    search = SearchConfig(space=SPACE, baselines=({"rate": 0.5, "kind": "a"},))
    first = propose(search, 7, [])
    assert json.loads(first.user_attrs["overrides"]) == {"rate": 0.5, "kind": "a"}
    assert first.params == {"kind": "a"}
    assert propose(search, 7, [complete(first, 0.1)]).params["rate"] < 0.5
