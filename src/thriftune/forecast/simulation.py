"""Simulates a study's checkpoints with the retention plan that the store executes.

Values fall from epoch to epoch, so that the newest checkpoint, the trial's best and the study's best are
three different ones: the most that can be held at once, except for exact ties, which are dropped first when
room is short.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thriftune.checkpoints import budget, retention
from thriftune.checkpoints.retention import CheckpointInfo, Pressure, RetentionPolicy


@dataclass(frozen=True)
class Workload:
    """A study to simulate."""

    trials: int
    saves_per_trial: int
    model_bytes: int
    """A checkpoint with the weights alone."""
    resumable_bytes: int
    """A checkpoint to resume from: weights, optimizer and state. With AdamW three times the weights."""
    other_bytes: int = 0
    """What counts against the budget beside trials: corpora, tokens, databases."""
    other_bytes_per_trial: int = 0
    """Journal, configuration, report, and the trial's share of the databases."""
    seconds_per_save: float = 0.0
    """Training and validation from one save to the next; 0: only writing counts."""
    written_bytes_per_second: float = 1e9
    """Speed of the disk, hashing included; `make bench` measures it (save_throughput)."""

    def beside(self, trials: float) -> int:
        """Return the bytes of all but checkpoints once some trials have ended.

        Args:
            trials: Number of trials; a fraction for a trial under way.
        """
        return self.other_bytes + round(self.other_bytes_per_trial * trials)


@dataclass(frozen=True)
class Forecast:
    """What the simulated study holds, writes and takes."""

    least_budget_bytes: int
    """A smaller budget is refused before the first step."""
    most_bytes: int
    most_at: tuple[int, int]
    """Trial, and save within it, at which the most is held; both count from 0."""
    written_bytes: int
    """Checkpoint bytes written in all."""
    keep_all_bytes: int
    """What keeping every checkpoint whole would take."""
    fits: bool
    """Whether the budget holds what is protected at every save."""
    training_seconds: float
    """Training and validation of all trials, one after the other."""
    writing_seconds: float
    """Writing all checkpoints; while a save overlaps with training it takes no time of its own."""

    @property
    def hours(self) -> float:
        """Hours in one process at most: as if no save overlapped with training."""
        return (self.training_seconds + self.writing_seconds) / 3600


def forecast(work: Workload, policy: RetentionPolicy, budget_bytes: int) -> Forecast:
    """Return what a study holds and writes under a byte budget, simulated.

    Time and memory are O(trials x saves); 1,000 trials of ten saves take half a second.

    Args:
        work: The study.
        policy: What it keeps.
        budget_bytes: Bytes for everything that the study holds.
    """
    held: list[CheckpointInfo] = []
    most, most_at, fits = 0, (0, 0), True
    usable = budget_bytes - budget.reserve_bytes(budget_bytes)
    for trial in range(work.trials):
        for save in range(work.saves_per_trial):
            other = work.beside(trial + (save + 1) / work.saves_per_trial)
            running = Pressure(frozenset({trial}))
            if other + _bytes(held) + work.resumable_bytes > usable:
                room = max(0, usable - other - work.resumable_bytes)
                plan = retention.plan(held, policy, replace(running, room_bytes=room))
                held, fits = _executed(held, plan), fits and plan.fits
            at_once = other + _bytes(held) + work.resumable_bytes
            if at_once > most:
                most, most_at = at_once, (trial, save)
            value = -float(trial * work.saves_per_trial + save)
            held.append(CheckpointInfo(trial, save, value, True, work.model_bytes, work.resumable_bytes))
            held = _executed(held, retention.plan(held, policy, running))
        held = _executed(held, retention.plan(held, policy, Pressure()))
    saves = work.trials * work.saves_per_trial
    return Forecast(
        least_budget_bytes=budget.with_reserve(
            budget.least_budget_bytes(work.model_bytes, work.resumable_bytes) + work.beside(work.trials)
        ),
        most_bytes=most,
        most_at=most_at,
        written_bytes=saves * work.resumable_bytes,
        keep_all_bytes=saves * work.resumable_bytes + work.beside(work.trials),
        fits=fits and most <= usable,
        training_seconds=saves * work.seconds_per_save,
        writing_seconds=saves * work.resumable_bytes / work.written_bytes_per_second,
    )


def _bytes(held: list[CheckpointInfo]) -> int:
    return sum(item.total_bytes for item in held)


def _executed(held: list[CheckpointInfo], plan: retention.Plan) -> list[CheckpointInfo]:
    """Return what is left after a plan."""
    return [
        replace(item, resumable=False, total_bytes=item.model_bytes) if item.key in plan.strip else item
        for item in held
        if item.key not in plan.delete
    ]
