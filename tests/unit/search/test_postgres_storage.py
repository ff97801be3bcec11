"""The storage that repeats its calls has Optuna's methods, private ones included."""

from __future__ import annotations

import inspect

import pytest
from optuna.storages import RDBStorage

from thriftune.search.postgres_storage import _RetryingStorage

pytestmark = pytest.mark.unit
METHODS = [name for name, value in vars(_RetryingStorage).items() if inspect.isfunction(value)]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "__init__"])
def test_a_repeated_call_is_one_that_optuna_makes(name: str) -> None:
    """A release that renames a method, or changes its arguments, is noticed here and not in an outage."""
    ours, theirs = (inspect.signature(getattr(each, name)) for each in (_RetryingStorage, RDBStorage))
    assert list(ours.parameters) == list(theirs.parameters)
    defaults = [[value.default for value in each.parameters.values()] for each in (ours, theirs)]
    assert defaults[0] == defaults[1]


def test_the_adding_of_a_trial_is_not_repeated() -> None:
    """Sent twice, it would add two."""
    assert "create_new_trial" not in METHODS
