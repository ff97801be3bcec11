"""The search space: checked before the first trial, and resolved to values for each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial
from pydantic import JsonValue

from thriftune.config import Choices, IntRange, Parameters, Range, known_keys, override, suggest
from thriftune.config.study import Scalar
from thriftune.errors import ConfigError
from thriftune.search.quiet import hide_progress_messages
from thriftune.search.trials import Values

SEARCHABLE = ("encoder", "model.", "training.")
FIXED = ("training.threads", "training.device")
SAMPLES = 64
"""Configurations that are drawn before a space is said to contradict itself."""
MOST_COMBINATIONS = 10_000
"""Of values that conditions name. A space with more is not searched for conditions that never hold."""

Condition = Scalar | tuple[Scalar, ...]
"""The value that a key must have, or several of which it must have one."""


def check_space(parameters: Parameters, given: Collection[str], *, searches: bool = True) -> None:
    """Raise unless every entry of the space, and every baseline, makes a configuration.

    Args:
        parameters: Those of the study.
        given: Dotted keys of --params.
        searches: Whether trials will be drawn from the space.

    Raises:
        ConfigError: A key is unknown, may not be searched, or was given by --params too; a value is refused
            by the schema; or the space cannot be searched: it is empty, its conditions form a circle or never
            hold, or no configuration drawn from it is valid.
    """
    space = parameters.search.space
    for key in space:
        where = f"search.space.{key}"
        _check_key(key, where)
        if key in given:
            raise ConfigError(
                f"--params sets {key}, and the search space overrides it in every trial",
                where=where,
                remedy=f"leave {key} out of --params, or remove it from search.space.",
            )
    for key, entry in space.items():
        for name, wanted in entry.when.items():
            _check_condition(parameters, f"search.space.{key}.when", name, wanted)
    for key, values in space.items():
        for value in _extremes(values):
            _check_offered(parameters, key, value)
    for number, baseline in enumerate(parameters.search.baselines):
        for key in baseline:
            _check_key(key, f"search.baselines.{number}.{key}")
        _check_value(parameters, baseline, f"search.baselines.{number}")
    for key in space.keys() - _reachable(parameters):
        raise ConfigError(
            "its conditions can never all hold",
            where=f"search.space.{key}.when",
            remedy="make them agree with each other, or remove the entry.",
        )
    if searches:
        _check_searchable(parameters)


def _check_condition(parameters: Parameters, where: str, name: str, wanted: Condition) -> None:
    keys = known_keys()
    if name not in keys or any(other.startswith(f"{name}.") for other in keys):
        raise ConfigError(
            f"{name!r} is not a configuration key{suggest(name, keys)}",
            where=where,
            remedy="name a key that has a value.",
        )
    written, entry = _value(parameters.model_dump(), name), parameters.search.space.get(name)
    for value in _alternatives(wanted):
        if value != written and (entry is None or not _offers(entry, value)):
            raise ConfigError(
                f"{name} is never {value!r}: it is {written!r}"
                + ("" if entry is None else ", or what its own entry offers"),
                where=where,
                remedy=f"name a value that {name} can have.",
            )


def _offers(entry: Range, value: JsonValue) -> bool:
    if isinstance(entry, Choices):
        return value in entry.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return bool(entry.low <= value <= entry.high)


def _reachable(parameters: Parameters) -> set[str]:
    """Return the keys that are active in some configuration.

    Every combination is tried of the values that conditions name, and one other value of each key.
    """
    space, dumped = ordered(parameters.search.space), parameters.model_dump()
    named: dict[str, list[Scalar]] = {}
    for _, entry in space:
        for name, wanted in entry.when.items():
            named.setdefault(name, []).extend(_alternatives(wanted))
    options = {key: _options(entry, named[key]) for key, entry in space if key in named}
    if math.prod(len(values) for values in options.values()) > MOST_COMBINATIONS:
        return {key for key, _ in space}  # too many to try
    found: set[str] = set()
    for combination in itertools.product(*options.values()):
        values, chosen = dict(zip(options, combination, strict=True)), dict[str, JsonValue]()
        for key, entry in space:
            if _is_active(entry, dumped, chosen):
                found.add(key)
                if key in values:
                    chosen[key] = values[key]
    return found


def _options(entry: Range, named: list[Scalar]) -> list[Scalar]:
    """Return the values of the entry that conditions name, and one that none names, where there is one."""
    if isinstance(entry, Choices):
        offered: tuple[Scalar, ...] = entry.choices
    else:
        offered = (entry.low, entry.high, (entry.low + entry.high) / 2)
    other = [value for value in offered if value not in named][:1]
    return [value for value in dict.fromkeys(named) if _offers(entry, value)] + other


def _check_searchable(parameters: Parameters) -> None:
    space, trials = parameters.search.space, parameters.study.trials
    fixed = max(1, len(parameters.search.baselines))
    if not space and trials > fixed:
        raise ConfigError(
            f"the search space is empty: {trials - fixed} of {trials} trials would repeat the same training",
            where="search.space",
            remedy="add keys to it, set study.trials=1, or run --pipelines train.",
        )
    refused = None
    for number in range(SAMPLES if space else 0):
        try:
            override(parameters, _drawn(parameters, number))
            return
        except ConfigError as error:
            refused = error
    if refused is not None:
        raise ConfigError(
            f"contradicts itself: none of {SAMPLES} configurations drawn from it is valid; the last one: "
            f"{refused.message}",
            where="search.space",
            remedy="narrow the ranges that exclude each other, or make one depend on the other with `when`.",
        ) from refused


def _check_key(key: str, where: str) -> None:
    keys = known_keys()
    is_section = any(other.startswith(f"{key}.") for other in keys)
    if key not in keys or is_section:
        reason = "is a section, not a value" if is_section else "is not a configuration key"
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


def _check_offered(parameters: Parameters, key: str, value: Scalar) -> None:
    """Raise where a value of an entry makes no configuration.

    It is tried with the rest as written, where the entry's conditions hold, and with what is drawn from the
    space for the other keys.
    """
    entry = parameters.search.space[key]
    conditions = {name: _alternatives(wanted)[0] for name, wanted in entry.when.items()}
    drawn = (_drawn(parameters, number) for number in range(SAMPLES))
    others: Iterator[Values] = itertools.chain(
        [{}, conditions], (values for values in drawn if key in values)
    )
    if not any(_is_valid(parameters, {**dict[str, JsonValue](values), key: value}) for values in others):
        _check_value(parameters, {key: value}, f"search.space.{key}")


def _drawn(parameters: Parameters, number: int) -> dict[str, JsonValue]:
    with hide_progress_messages():
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    return sample(study.ask(), parameters.search.space, parameters.model_dump())


def _is_valid(parameters: Parameters, values: Values) -> bool:
    try:
        override(parameters, values)
    except ConfigError:
        return False
    return True


def _check_value(parameters: Parameters, values: Values, where: str) -> None:
    try:
        override(parameters, values)
    except ConfigError as error:
        raise ConfigError(
            f"has a value that the configuration refuses: {error.message}",
            where=where,
            remedy="narrow the range or the choices.",
        ) from error


def _extremes(values: Range) -> Iterator[Scalar]:
    if isinstance(values, Choices):
        yield from values.choices
    else:
        yield values.low
        yield values.high


def distributions(space: Mapping[str, Range]) -> dict[str, BaseDistribution]:
    """Return Optuna's distribution of every key, in the space's order.

    Args:
        space: Entries by dotted key.
    """
    return {key: _distribution(value) for key, value in space.items()}


def _distribution(values: Range) -> BaseDistribution:
    if isinstance(values, Choices):
        return CategoricalDistribution(values.choices)
    if isinstance(values, IntRange):
        return IntDistribution(values.low, values.high, log=values.log, step=values.step)
    return FloatDistribution(values.low, values.high, log=values.log, step=values.step)


def as_written(
    space: Mapping[str, Range], configured: Values, baseline: Values | None = None
) -> dict[str, JsonValue]:
    """Return the configured value of every key of the space that is active.

    Args:
        space: Entries by dotted key.
        configured: The configuration, nested.
        baseline: Values by dotted key that replace configured ones; all of them are returned too.
    """
    given = dict(baseline or {})
    values = {
        key: given[key] if key in given else _value(configured, key)
        for key, entry in ordered(space)
        if key in given or _is_active(entry, configured, given)
    }
    return {**values, **given}


def sample(trial: Trial, space: Mapping[str, Range], configured: Values) -> dict[str, JsonValue]:
    """Ask a trial for a value of every key that is active, in the order of conditions.

    Args:
        trial: Optuna's, running.
        space: Entries by dotted key.
        configured: The configuration, nested: conditions on keys that are not drawn are looked up in it.

    Returns:
        The values by dotted key.
    """
    drawn: dict[str, JsonValue] = {}
    for key, entry in ordered(space):
        if _is_active(entry, configured, drawn):
            drawn[key] = _suggested(trial, key, entry)
    return drawn


def _suggested(trial: Trial, key: str, entry: Range) -> Scalar:
    if isinstance(entry, Choices):
        return trial.suggest_categorical(key, entry.choices)
    if isinstance(entry, IntRange):
        return trial.suggest_int(key, entry.low, entry.high, step=entry.step, log=entry.log)
    return trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log)


def ordered(space: Mapping[str, Range]) -> list[tuple[str, Range]]:
    """Return the entries in an order in which each follows those that its conditions name.

    Args:
        space: Entries by dotted key; where conditions allow it, their order is kept.

    Raises:
        ConfigError: Conditions form a circle.
    """
    graph = {key: [name for name in entry.when if name in space] for key, entry in space.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ConfigError(
            f"conditions form a circle: {' -> '.join(error.args[1])}",
            where="search.space",
            remedy="remove one of these `when`.",
        ) from error
    # As written where that is possible: what trial n proposes depends on the order.
    levels: dict[str, int] = {}
    for key in order:
        levels[key] = max((levels[name] + 1 for name in graph[key]), default=0)
    return sorted(space.items(), key=lambda item: levels[item[0]])


def _is_active(entry: Range, dumped: Values, chosen: Values) -> bool:
    """Return whether every condition holds in the configuration with the chosen values."""
    return all(
        (chosen[key] if key in chosen else _value(dumped, key)) in _alternatives(wanted)
        for key, wanted in entry.when.items()
    )


def _alternatives(wanted: Condition) -> tuple[Scalar, ...]:
    return wanted if isinstance(wanted, tuple) else (wanted,)


def _value(configured: Values, key: str) -> JsonValue:
    """Return the value of a dotted key; None where the configuration has none."""
    value: JsonValue = dict(configured)
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value
