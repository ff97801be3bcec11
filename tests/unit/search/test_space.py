"""The search space is checked before the first trial."""

from __future__ import annotations

from typing import Any

import pytest

from thriftune.config import parse_parameters
from thriftune.errors import ConfigError
from thriftune.search.space import as_written, check_space, distributions

pytestmark = pytest.mark.unit


def space(given: tuple[str, ...] = (), baselines: tuple[dict[str, Any], ...] = (), **entries: Any) -> None:
    """Check a space, written with double underscores for dots."""
    named = {key.replace("__", "."): value for key, value in entries.items()}
    check_space(parse_parameters({"search": {"space": named, "baselines": list(baselines)}}), given)


def test_every_kind_is_offered_as_optuna_s() -> None:
    """float, int and categorical, logarithmic and by steps."""
    parameters = parse_parameters(
        {
            "search": {
                "space": {
                    "training.learning_rate": {"type": "float", "low": 1e-5, "high": 1e-3, "log": True},
                    "training.batch_size": {"type": "int", "low": 4, "high": 16, "step": 4},
                    "model.criteria_agent.loss": {"type": "categorical", "choices": ["bce", "focal"]},
                }
            }
        }
    )
    check_space(parameters, ())
    found = distributions(parameters)
    assert {key: type(value).__name__ for key, value in found.items()} == {
        "training.learning_rate": "FloatDistribution",
        "training.batch_size": "IntDistribution",
        "model.criteria_agent.loss": "CategoricalDistribution",
    }
    assert as_written(parameters)["training.batch_size"] == parameters.training.batch_size


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            {"training__learning_rat": {"type": "float", "low": 0.1, "high": 0.2}},
            "'training.learning_rate'",
        ),
        ({"training": {"type": "int", "low": 1, "high": 2}}, "is a section"),
        ({"training__threads": {"type": "int", "low": 1, "high": 2}}, "belongs to the study"),
        ({"study__seed": {"type": "int", "low": 1, "high": 2}}, "belongs to the study"),
        ({"model__criteria_agent__loss": {"type": "categorical", "choices": ["bce", "hinge"]}}, "refuses"),
        ({"training__batch_size": {"type": "int", "low": 0, "high": 8}}, "refuses"),
    ],
)
def test_what_cannot_be_searched_is_refused(entry: dict[str, Any], message: str) -> None:
    """With the key, the nearest one, or the value."""
    with pytest.raises(ConfigError) as caught:
        space(**entry)
    assert message in str(caught.value)
    assert "search.space." in str(caught.value)


def test_a_key_that_is_given_too_and_a_wrong_baseline() -> None:
    """--params and the space cannot both set a key; baselines are configurations too."""
    with pytest.raises(ConfigError, match="--params sets training"):
        space(
            ("training.learning_rate",), training__learning_rate={"type": "float", "low": 1e-5, "high": 1e-3}
        )
    with pytest.raises(ConfigError, match=r"search\.baselines\.0"):
        space(baselines=({"training.batch_size": 0},))
    with pytest.raises(ConfigError, match=r"search\.baselines\.0"):
        space(baselines=({"training.batch_sze": 2},))
