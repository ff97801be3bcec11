"""The search space is checked before the first trial."""

from __future__ import annotations

from typing import Any

import optuna
import pytest

from thriftune.config import Parameters, parse_parameters
from thriftune.errors import ConfigError
from thriftune.search.space import as_written, check_space, distributions, ordered, sample

pytestmark = pytest.mark.unit


def with_space(baselines: tuple[dict[str, Any], ...] = (), **entries: Any) -> Parameters:
    """Parameters with a space, written with double underscores for dots."""
    named = {key.replace("__", "."): value for key, value in entries.items()}
    return parse_parameters({"search": {"space": named, "baselines": list(baselines)}})


def space(given: tuple[str, ...] = (), baselines: tuple[dict[str, Any], ...] = (), **entries: Any) -> None:
    """Check a space."""
    check_space(with_space(baselines, **entries), given)


def choices(*values: Any, when: dict[str, Any] | None = None) -> dict[str, Any]:
    """A categorical entry."""
    return {"type": "categorical", "choices": list(values), "when": when or {}}


def number(
    low: float, high: float, kind: str = "float", when: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A numeric entry."""
    return {"type": kind, "low": low, "high": high, "when": when or {}}


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
    found = distributions(parameters.search.space)
    assert {key: type(value).__name__ for key, value in found.items()} == {
        "training.learning_rate": "FloatDistribution",
        "training.batch_size": "IntDistribution",
        "model.criteria_agent.loss": "CategoricalDistribution",
    }
    assert (
        as_written(parameters.search.space, parameters.model_dump())["training.batch_size"]
        == parameters.training.batch_size
    )


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


NESTED = {
    "model__criteria_agent__focal_gamma": number(1.0, 3.0, when={"model.criteria_agent.loss": "focal"}),
    "model__criteria_agent__loss": choices("bce", "focal", when={"model.criteria_agent.head": ["mlp"]}),
    "model__criteria_agent__head": choices("linear", "mlp"),
}
"""Two conditions deep, the deepest entry first."""


def test_conditions_decide_what_is_drawn() -> None:
    """An entry is searched where its conditions hold in the trial's configuration, and only there."""
    parameters = with_space(**NESTED)
    check_space(parameters, ())
    assert [key.rpartition(".")[2] for key, _ in ordered(parameters.search.space)] == [
        "head",
        "loss",
        "focal_gamma",
    ]
    seen = set()
    for seed in range(60):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        drawn = sample(study.ask(), parameters.search.space, parameters.model_dump())
        short = {key.rpartition(".")[2]: value for key, value in drawn.items()}
        assert ("loss" in short) == (short["head"] == "mlp")
        assert ("focal_gamma" in short) == (short.get("loss") == "focal")
        assert study.trials[0].params == drawn
        seen.add(tuple(sorted(short)))
    assert seen == {("head",), ("head", "loss"), ("focal_gamma", "head", "loss")}


def nested(baseline: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a baseline sets in the nested space."""
    parameters = with_space(**NESTED)
    return as_written(parameters.search.space, parameters.model_dump(), baseline)


def test_the_configuration_as_written_has_no_inactive_key() -> None:
    """Nor has a baseline, but what it names itself."""
    assert nested() == {"model.criteria_agent.head": "linear"}
    baseline = {"model.criteria_agent.head": "mlp", "model.criteria_agent.loss": "focal"}
    assert nested(baseline) == {**baseline, "model.criteria_agent.focal_gamma": 2.0}
    odd = {"model.criteria_agent.focal_gamma": 9.0}
    assert nested(odd) == {"model.criteria_agent.head": "linear", **odd}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"encoder": choices("tiny", when={"model.criteria_agent.los": "bce"})}, "did you mean"),
        ({"encoder": choices("tiny", when={"model.criteria_agent": "bce"})}, "is not a configuration key"),
        ({"encoder": choices("tiny", when={"model.criteria_agent.loss": "focal"})}, "is never 'focal'"),
        (
            {
                "encoder": choices("tiny", when={"model.criteria_agent.loss": "hinge"}),
                "model__criteria_agent__loss": choices("bce", "focal"),
            },
            "is never 'hinge'",
        ),
        (
            {
                "model__head_dropout": number(0.0, 0.3, when={"training.batch_size": 64}),
                "training__batch_size": number(4, 32, kind="int"),
            },
            "is never 64",
        ),
        (
            {
                "model__criteria_agent__head": choices("mlp", when={"model.criteria_agent.loss": "focal"}),
                "model__criteria_agent__loss": choices("focal", when={"model.criteria_agent.head": "mlp"}),
            },
            "circle",
        ),
        (
            {
                "model__criteria_agent__head": choices("linear", "mlp"),
                "model__criteria_agent__loss": choices(
                    "bce", "focal", when={"model.criteria_agent.head": "mlp"}
                ),
                "model__head_dropout": number(
                    0, 0.3, when={"model.criteria_agent.loss": "focal", "model.criteria_agent.head": "linear"}
                ),
            },
            "can never all hold",
        ),
        (
            {
                "training__overlap": number(100, 120, kind="int"),
                "training__max_length": number(40, 80, kind="int"),
            },
            "refuses",
        ),
        ({}, "is empty"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused(entries: dict[str, Any], message: str) -> None:
    """Unknown, impossible, circular or contradictory conditions; refused values; nothing to search."""
    with pytest.raises(ConfigError) as caught:
        space(**entries)
    assert message in str(caught.value)


@pytest.mark.parametrize("when", [{"training.max_length": 256}, None])
def test_a_value_that_only_other_values_allow_is_offered(when: dict[str, Any] | None) -> None:
    """An overlap of 100 needs a max_length of 200: as its condition says, or as some of what is drawn has it.
    One that no max_length of the space allows is refused."""
    lengths, written = choices(128, 256), {"window": 512}
    entries = {"training__max_length": lengths, "training__overlap": number(0, 100, "int", when)}
    given = with_space(**entries)
    tiny = {"kind": "config", "hidden_size": 16, "layers": 1, "attention_heads": 2, "intermediate_size": 32}
    raw = given.model_dump(mode="json")
    raw["encoders"]["own"], raw["encoder"] = {**tiny, "vocabulary_size": 500, **written}, "own"
    raw["training"].update(max_length=128, overlap=8)
    check_space(parse_parameters(raw), ())
    raw["search"]["space"]["training.overlap"]["high"] = 200
    with pytest.raises(ConfigError, match="overlap"):
        check_space(parse_parameters(raw), ())


def test_a_space_without_a_valid_configuration_is_refused() -> None:
    """Each end alone would do beside the configuration as written; together they never do."""
    raw = {
        "training": {"max_length": 200, "overlap": 8},
        "search": {
            "space": {
                "training.overlap": number(60, 100, kind="int"),
                "training.max_length": number(40, 90, kind="int"),
            }
        },
    }
    with pytest.raises(ConfigError, match="contradicts itself"):
        check_space(parse_parameters(raw), ())
