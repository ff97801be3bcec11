"""Whole histories of a study, searched by hypothesis: the plan is carried out after every save."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from thriftune.checkpoints.retention import CheckpointInfo, Key, Plan, Pressure, RetentionPolicy, plan, ranked

MODEL_BYTES, WHOLE_BYTES = 10, 30
VALUES = st.one_of(st.none(), st.sampled_from([0.1, 0.2, 0.3]))


class History(RuleBasedStateMachine):
    """Trials of several workers that save, end, are killed and resume, while the room changes."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[CheckpointInfo] = []
        self.saved: dict[Key, CheckpointInfo] = {}
        self.running: dict[int, int] = {0: 0}
        """The last epoch of each running trial."""
        self.resumed: set[Key] = set()
        self.trials = 1

    @initialize(last=st.integers(1, 3), best=st.integers(1, 3), most=st.integers(1, 3))
    def choose(self, last: int, best: int, most: int) -> None:
        self.policy = RetentionPolicy(last, best, most)

    @rule(data=st.data(), value=VALUES, low=st.booleans())
    @precondition(lambda self: self.running)
    def save(self, data: st.DataObject, value: float | None, low: bool) -> None:
        """Commit one more epoch, then apply the plan."""
        trial = data.draw(st.sampled_from(sorted(self.running)))
        self.running[trial] += 1
        made = CheckpointInfo(trial, self.running[trial], value, True, MODEL_BYTES, WHOLE_BYTES)
        self.held.append(made)
        self.saved[made.key] = made
        self.carry_out(self.pressure(disk_low=low))
        assert made.key in {item.key for item in self.held if item.resumable}

    @rule(room=st.integers(0, 200))
    def make_room(self, room: int) -> None:
        """Before a save: what is left fits where a plan exists, and is protected where none does."""
        done = self.carry_out(self.pressure(room_bytes=room))
        least = plan(self.held, self.policy, self.pressure(room_bytes=0))
        assert done.fits == (done.bytes_after <= room)
        if not done.fits:
            assert done.bytes_after == least.bytes_after

    @rule(data=st.data())
    @precondition(lambda self: any(self.running.values()))
    def end(self, data: st.DataObject) -> None:
        """Only what the study keeps stays of it: no optimizer state but that of the other workers."""
        trial = data.draw(st.sampled_from(sorted(t for t, epoch in self.running.items() if epoch)))
        del self.running[trial]
        self.resumed = {key for key in self.resumed if key[0] != trial}
        self.carry_out(self.pressure())
        assert {item.trial for item in self.held if item.resumable} <= self.running.keys()
        assert (
            len({item.trial for item in self.held} - self.running.keys())
            <= self.policy.keep_best + self.policy.keep_ties
        )

    @rule()
    @precondition(lambda self: len(self.running) < 3)
    def begin(self) -> None:
        """One more worker, or the same with its next trial."""
        self.running[self.trials] = 0
        self.trials += 1

    @rule(data=st.data())
    @precondition(lambda self: any(self.running.values()))
    def resume(self, data: st.DataObject) -> None:
        """Killed and started again from the newest resume-capable one, which is the last that was saved."""
        trial = data.draw(st.sampled_from(sorted(t for t, epoch in self.running.items() if epoch)))
        able = [item for item in self.held if item.trial == trial and item.resumable]
        newest = max(able, key=lambda item: item.epoch)
        assert newest.epoch == self.running[trial]
        self.resumed.add(newest.key)

    @invariant()
    def the_best_is_held(self) -> None:
        """Of all that were ever saved, the first of the highest value."""
        best = ranked(self.saved.values())[:1]
        assert ranked(self.held)[:1] == [] if not best else ranked(self.held)[0].key == best[0].key

    @invariant()
    def the_newest_can_be_resumed_from(self) -> None:
        able = {item.key for item in self.held if item.resumable}
        assert {(trial, epoch) for trial, epoch in self.running.items() if epoch} <= able

    def pressure(self, room_bytes: int | None = None, *, disk_low: bool = False) -> Pressure:
        return Pressure(frozenset(self.running), frozenset(self.resumed), room_bytes, disk_low)

    def carry_out(self, pressure: Pressure) -> Plan:
        done = plan(self.held, self.policy, pressure)
        assert plan(self.held, self.policy, pressure) == done, "same input, same plan"
        tighter = replace(pressure, room_bytes=max(0, done.bytes_after - 1))
        assert set(plan(self.held, self.policy, tighter).delete) >= set(done.delete), "monotone in pressure"
        assert {*done.keep, *done.strip, *done.delete} == {item.key for item in self.held}
        self.held = [
            replace(item, resumable=False, total_bytes=MODEL_BYTES) if item.key in done.strip else item
            for item in self.held
            if item.key not in done.delete
        ]
        assert sum(item.total_bytes for item in self.held) == done.bytes_after
        again = plan(self.held, self.policy, pressure)
        assert not again.strip, "idempotent"
        assert not again.delete, "idempotent"
        return done


@pytest.mark.unit
@pytest.mark.no_cover
class TestHistory(History.TestCase):  # type: ignore[name-defined, misc]
    """As many histories as the profile has examples."""

    settings = settings(stateful_step_count=30)


@pytest.mark.unit
@pytest.mark.no_cover
@pytest.mark.slow
class TestManyHistories(History.TestCase):  # type: ignore[name-defined, misc]
    """At least 10,000."""

    settings = settings(max_examples=10_000, stateful_step_count=30)
