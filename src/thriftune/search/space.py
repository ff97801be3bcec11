"""The search space: checked before the first trial, resolved to a configuration for each."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from thriftune.config import Choices, IntRange, Parameters, Range, known_keys, override, suggest
from thriftune.errors import ConfigError

SEARCHABLE = ("encoder", "model.", "training.")
FIXED = ("training.threads", "training.device")


def check_space(parameters: Parameters, given: Collection[str]) -> None:
    """ConfigError for a key that is unknown, may not be searched, or was given by --params too, and
    for a value that the schema refuses. given: dotted keys of --params."""
    for key, values in parameters.search.space.items():
        where = f"search.space.{key}"
        _check_key(key, where)
        if key in given:
            raise ConfigError(
                f"--params sets {key}, and the search space overrides it in every trial",
                where=where,
                remedy=f"leave {key} out of --params, or remove it from search.space.",
            )
        for value in _extremes(values):
            _check_value(parameters, {key: value}, where)
    for number, baseline in enumerate(parameters.search.baselines):
        for key in baseline:
            _check_key(key, f"search.baselines.{number}.{key}")
        _check_value(parameters, baseline, f"search.baselines.{number}")


def _check_key(key: str, where: str) -> None:
    keys = known_keys()
    is_section = any(other.startswith(f"{key}.") for other in keys)
    if key not in keys or is_section:
        reason = "is a section, not a value" if is_section else "is no configuration key"
        leaves = [k for k in keys if k.startswith(SEARCHABLE)]
        raise ConfigError(
            f"{key!r} {reason}{suggest(key, leaves)}",
            where=where,
            remedy="name a key of model or training, or encoder.",
        )
    if key in FIXED or not key.startswith(SEARCHABLE):
        raise ConfigError(
            f"{key!r} belongs to the study, not to a trial; it cannot be searched",
            where=where,
            remedy="set it outside the search space.",
        )


def _check_value(parameters: Parameters, values: Mapping[str, Any], where: str) -> None:
    try:
        override(parameters, values)
    except ConfigError as error:
        raise ConfigError(
            f"holds a value that the configuration refuses: {error.message}",
            where=where,
            remedy="narrow the range or the choices.",
        ) from error


def _extremes(values: Range) -> Iterator[Any]:
    if isinstance(values, Choices):
        yield from values.choices
    else:
        yield values.low
        yield values.high


def distributions(parameters: Parameters) -> dict[str, BaseDistribution]:
    """Optuna's distribution of every key, in the space's order."""
    return {key: _distribution(value) for key, value in parameters.search.space.items()}


def _distribution(values: Range) -> BaseDistribution:
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if isinstance(values, IntRange):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step)
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def as_written(parameters: Parameters) -> dict[str, Any]:
    """The configuration's own value of every key of the space."""
    dumped = parameters.model_dump()
    return {key: _value(dumped, key) for key in parameters.search.space}


def _value(dumped: Mapping[str, Any], key: str) -> Any:
    value: Any = dumped
    for part in key.split("."):
        value = value[part]
    return value
