"""The search space: checked before the first trial, resolved to a configuration for each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

from thriftune.config import Choices, IntRange, Parameters, Range, known_keys, override, suggest
from thriftune.errors import ConfigError

optuna.logging.set_verbosity(optuna.logging.WARNING)

SEARCHABLE = ("encoder", "model.", "training.")
FIXED = ("training.threads", "training.device")
SAMPLES = 64
"""Configurations that are drawn before one calls a space contradictory."""
MOST_COMBINATIONS = 10_000


def check_space(parameters: Parameters, given: Collection[str], *, searches: bool = True) -> None:
    """ConfigError for a key that is unknown, may not be searched, or was given by --params too, for a value
    that the schema refuses, and for a space that cannot be searched: empty, with conditions that go round in
    a circle or never hold, or without a single valid configuration.

    given: dotted keys of --params. searches: whether trials will be drawn from it.
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
            remedy="let them agree with each other, or remove the entry.",
        )
    if searches:
        _check_searchable(parameters)


def _check_condition(parameters: Parameters, where: str, name: str, wanted: Any) -> None:
    keys = known_keys()
    if name not in keys or any(other.startswith(f"{name}.") for other in keys):
        raise ConfigError(
            f"{name!r} is no configuration key{suggest(name, keys)}",
            where=where,
            remedy="name a key that has a value.",
        )
    written, entry = _value(parameters.model_dump(), name), parameters.search.space.get(name)
    for value in _alternatives(wanted):
        if value != written and (entry is None or not _offers(entry, value)):
            raise ConfigError(
                f"{name} never is {value!r}: it is {written!r}"
                + ("" if entry is None else ", or what its own entry offers"),
                where=where,
                remedy=f"name a value that {name} can have.",
            )


def _offers(entry: Range, value: Any) -> bool:
    if isinstance(entry, Choices):
        return value in entry.choices
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return bool(entry.low <= value <= entry.high)


def _reachable(parameters: Parameters) -> set[str]:
    """The keys that are active in some configuration: every combination is tried of the values that
    conditions name, and one other of each key."""
    space, dumped = ordered(parameters.search.space), parameters.model_dump()
    named: dict[str, list[Any]] = {}
    for _, entry in space:
        for name, wanted in entry.when.items():
            named.setdefault(name, []).extend(_alternatives(wanted))
    options = {key: _options(entry, named[key]) for key, entry in space if key in named}
    if math.prod(len(values) for values in options.values()) > MOST_COMBINATIONS:
        return {key for key, _ in space}  # too many to tell: the trials will
    found: set[str] = set()
    for combination in itertools.product(*options.values()):
        values, chosen = dict(zip(options, combination, strict=True)), dict[str, Any]()
        for key, entry in space:
            if _is_active(entry, dumped, chosen):
                found.add(key)
                if key in values:
                    chosen[key] = values[key]
    return found


def _options(entry: Range, named: list[Any]) -> list[Any]:
    """The values of the entry that conditions name, and one that none names, where there is one."""
    if isinstance(entry, Choices):
        offered: tuple[Any, ...] = entry.choices
    else:
        offered = (entry.low, entry.high, (entry.low + entry.high) / 2)
    other = [value for value in offered if value not in named][:1]
    return [value for value in dict.fromkeys(named) if _offers(entry, value)] + other


def _check_searchable(parameters: Parameters) -> None:
    space, trials = parameters.search.space, parameters.study.trials
    fixed = max(1, len(parameters.search.baselines))
    if not space and trials > fixed:
        raise ConfigError(
            f"the search space is empty: {trials - fixed} of {trials} trials would train the same again",
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
            f"contradicts itself: of {SAMPLES} configurations drawn from it none is valid; the last one: "
            f"{refused.message}",
            where="search.space",
            remedy="narrow the ranges that exclude each other, or tie them by `when`.",
        ) from refused


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


def _check_offered(parameters: Parameters, key: str, value: Any) -> None:
    """ConfigError where a value of an entry makes no configuration: neither with the rest as written, nor
    where the entry's conditions hold, nor with any of what is drawn from the space for the other keys."""
    entry = parameters.search.space[key]
    conditions = {name: _alternatives(wanted)[0] for name, wanted in entry.when.items()}
    drawn = (_drawn(parameters, number) for number in range(SAMPLES))
    others = itertools.chain([{}, conditions], (values for values in drawn if key in values))
    if not any(_is_valid(parameters, {**values, key: value}) for values in others):
        _check_value(parameters, {key: value}, f"search.space.{key}")


def _drawn(parameters: Parameters, number: int) -> dict[str, Any]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=number))
    return sample(study.ask(), parameters)


def _is_valid(parameters: Parameters, values: Mapping[str, Any]) -> bool:
    try:
        override(parameters, values)
    except ConfigError:
        return False
    return True


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


def as_written(parameters: Parameters, baseline: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The configuration's own value of every key of the space that is active in it; with a baseline, in the
    configuration that it makes, its own values among them."""
    given = dict(baseline or {})
    dumped = parameters.model_dump()
    values = {
        key: given[key] if key in given else _value(dumped, key)
        for key, entry in ordered(parameters.search.space)
        if key in given or _is_active(entry, dumped, given)
    }
    return {**values, **given}


def sample(trial: Trial, parameters: Parameters) -> dict[str, Any]:
    """Ask for a value of every key that is active under what was drawn before; in the order of conditions."""
    dumped = parameters.model_dump()
    drawn: dict[str, Any] = {}
    for key, entry in ordered(parameters.search.space):
        if _is_active(entry, dumped, drawn):
            drawn[key] = _suggested(trial, key, entry)
    return drawn


def _suggested(trial: Trial, key: str, entry: Range) -> Any:
    if isinstance(entry, Choices):
        return trial.suggest_categorical(key, entry.choices)
    if isinstance(entry, IntRange):
        return trial.suggest_int(key, entry.low, entry.high, step=entry.step, log=entry.log)
    return trial.suggest_float(key, entry.low, entry.high, step=entry.step, log=entry.log)


def ordered(space: Mapping[str, Range]) -> list[tuple[str, Range]]:
    """Entries after those that their conditions name, else as written. ConfigError where conditions go round
    in a circle."""
    graph = {key: [name for name in entry.when if name in space] for key, entry in space.items()}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ConfigError(
            f"conditions go round in a circle: {' -> '.join(error.args[1])}",
            where="search.space",
            remedy="remove one of these `when`.",
        ) from error
    # As written where that is possible: what trial n proposes depends on the order.
    levels: dict[str, int] = {}
    for key in order:
        levels[key] = max((levels[name] + 1 for name in graph[key]), default=0)
    return sorted(space.items(), key=lambda item: levels[item[0]])


def _is_active(entry: Range, dumped: Mapping[str, Any], chosen: Mapping[str, Any]) -> bool:
    """Whether every condition holds in the configuration with the chosen values."""
    return all(
        (chosen[key] if key in chosen else _value(dumped, key)) in _alternatives(wanted)
        for key, wanted in entry.when.items()
    )


def _alternatives(wanted: Any) -> tuple[Any, ...]:
    return wanted if isinstance(wanted, tuple) else (wanted,)


def _value(dumped: Mapping[str, Any], key: str) -> Any:
    value: Any = dumped
    for part in key.split("."):
        value = value[part]
    return value
