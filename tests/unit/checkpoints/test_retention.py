"""The retention plan, searched by hypothesis."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thriftune.checkpoints.retention import CheckpointInfo, Plan, Pressure, RetentionPolicy, plan, ranked

pytestmark = pytest.mark.unit


@st.composite
def _held(draw: st.DrawFn) -> CheckpointInfo:
    resumable, model_bytes = draw(st.booleans()), draw(st.integers(1, 100))
    return CheckpointInfo(
        trial=draw(st.integers(0, 5)),
        epoch=draw(st.integers(1, 6)),
        value=draw(st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3]))),
        resumable=resumable,
        model_bytes=model_bytes,
        # A stripped checkpoint is its model.
        total_bytes=model_bytes + (draw(st.integers(1, 200)) if resumable else 0),
    )


held = _held()
histories = st.lists(held, max_size=14, unique_by=lambda item: item.key)
policies = st.builds(
    RetentionPolicy,
    keep_last=st.integers(1, 3),
    keep_best=st.integers(1, 3),
    keep_ties=st.integers(1, 3),
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[CheckpointInfo], RetentionPolicy, Pressure]:
    history = draw(histories)
    keys = [item.key for item in history if item.resumable]
    pressure = Pressure(
        running_trials=draw(st.frozensets(st.integers(0, 5), max_size=3)),
        resumed_from=frozenset(draw(st.lists(st.sampled_from(keys), max_size=2))) if keys else frozenset(),
        room_bytes=draw(st.one_of(st.none(), st.integers(0, 2000))),
        disk_low=draw(st.booleans()),
    )
    return history, draw(policies), pressure


def _protected(history: list[CheckpointInfo], pressure: Pressure) -> set[tuple[int, int]]:
    return {held.key for held in ranked(history)[:1]} | _newest(history, pressure)


def _newest(history: list[CheckpointInfo], pressure: Pressure) -> set[tuple[int, int]]:
    """The newest resume-capable one of each running trial."""
    own = [held.key for held in history if held.trial in pressure.running_trials and held.resumable]
    return {(trial, max(epoch for each, epoch in own if each == trial)) for trial, _ in own}


@given(situations())
def test_what_is_protected_is_never_deleted(
    case: tuple[list[CheckpointInfo], RetentionPolicy, Pressure],
) -> None:
    """The study's best and the newest to resume from survive any pressure; each is in one list."""
    history, policy, pressure = case
    made = plan(history, policy, pressure)
    assert not _protected(history, pressure) & made.delete.keys()
    lists = [set(made.keep), set(made.strip), set(made.delete)]
    assert sum(map(len, lists)) == len(set.union(*lists)) == len(history)
    assert _newest(history, pressure) <= made.keep.keys()


@given(situations())
def test_the_plan_does_not_depend_on_order_and_is_idempotent(
    case: tuple[list[CheckpointInfo], RetentionPolicy, Pressure],
) -> None:
    """Shuffled input gives the same plan; executed, there is nothing left to do."""
    history, policy, pressure = case
    made = plan(history, policy, pressure)
    assert made == plan(list(reversed(history)), policy, pressure) or _same(
        made, plan(list(reversed(history)), policy, pressure)
    )
    again = plan(_executed(history, made), policy, pressure)
    assert not again.delete
    assert not again.strip


@given(situations(), st.integers(0, 500))
def test_more_pressure_never_keeps_more(
    case: tuple[list[CheckpointInfo], RetentionPolicy, Pressure], less: int
) -> None:
    """With less room the plan holds no more bytes, and it fits wherever what is protected fits."""
    history, policy, pressure = case
    room = pressure.room_bytes if pressure.room_bytes is not None else 1000
    wide = Pressure(pressure.running_trials, pressure.resumed_from, room, pressure.disk_low)
    tight = Pressure(pressure.running_trials, pressure.resumed_from, max(0, room - less), pressure.disk_low)
    assert plan(history, policy, tight).bytes_after <= plan(history, policy, wide).bytes_after
    only = plan(history, policy, Pressure(pressure.running_trials, pressure.resumed_from, 0, True))
    assert plan(history, policy, wide).fits == (only.bytes_after <= room)


def _executed(history: list[CheckpointInfo], made: Plan) -> list[CheckpointInfo]:
    left = []
    for item in history:
        if item.key in made.keep:
            left.append(item)
        elif item.key in made.strip:
            left.append(
                CheckpointInfo(item.trial, item.epoch, item.value, False, item.model_bytes, item.model_bytes)
            )
    return left


def _same(one: Plan, other: Plan) -> bool:
    return (set(one.keep), set(one.strip), set(one.delete)) == (
        set(other.keep),
        set(other.strip),
        set(other.delete),
    )


def test_ties_rank_by_trial_then_epoch() -> None:
    """Exactly equal values: the earliest trial, then the earliest epoch, is the best."""
    tie = [CheckpointInfo(t, e, 0.5, False, 1, 1) for t, e in ((2, 1), (1, 3), (1, 2))]
    assert [item.key for item in ranked(tie)] == [(1, 2), (1, 3), (2, 1)]
    made = plan(tie, RetentionPolicy(keep_ties=2), Pressure())
    assert set(made.keep) == {(1, 2), (1, 3)}
    assert "best" in made.keep[1, 2]


def test_the_best_that_is_not_needed_to_resume_is_stripped() -> None:
    """An older best is reduced to its model; the newest stays whole."""
    history = [CheckpointInfo(0, 1, 0.9, True, 10, 30), CheckpointInfo(0, 2, 0.1, True, 10, 30)]
    made = plan(history, RetentionPolicy(), Pressure(frozenset({0})))
    assert set(made.strip) == {(0, 1)}
    assert set(made.keep) == {(0, 2)}
    assert made.bytes_after == 40


def test_the_origin_of_a_resume_stays_until_a_newer_is_committed() -> None:
    """What the process resumed from is whole even where its value is poor."""
    history = [CheckpointInfo(0, 1, 0.9, False, 10, 10), CheckpointInfo(0, 2, None, True, 10, 30)]
    made = plan(history, RetentionPolicy(), Pressure(resumed_from=frozenset({(0, 2)})))
    assert (0, 2) in made.keep
