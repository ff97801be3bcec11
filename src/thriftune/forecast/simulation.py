"""What a study will hold, write and save over keeping all, before it starts.

The same pure plan that the store executes is run over a simulated study, with values that fall from epoch
to epoch: then the newest, the trial's best and the study's best are three different checkpoints, which is the
most that can be held at once but for exact ties (dropped first when room is short).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thriftune.checkpoints import disk, retention
from thriftune.checkpoints.retention import Held, Policy, Pressure


@dataclass(frozen=True)
class Workload:
    """What is to be simulated; bytes of one checkpoint as the model alone and with its optimizer."""

    trials: int
    saves_per_trial: int
    model_bytes: int
    resumable_bytes: int
    other_bytes: int = 0
    """What counts against the budget beside trials: corpora, tokens, databases."""
    other_bytes_per_trial: int = 0
    """Journal, configuration, report, and the trial's share of the databases."""

    def beside(self, trials: float) -> int:
        """Bytes of all but checkpoints once so many trials are over."""
        return self.other_bytes + round(self.other_bytes_per_trial * trials)


@dataclass(frozen=True)
class Forecast:
    """Bytes; see `storage forecast`."""

    least_budget_bytes: int
    """A smaller budget is refused before the first step."""
    most_bytes: int
    most_at: tuple[int, int]
    """(trial, save within it) at which the most is held; both count from 0."""
    written_bytes: int
    """Checkpoint bytes written in all."""
    keep_all_bytes: int
    """What keeping every checkpoint whole would take."""
    fits: bool
    """Whether the budget holds what is protected at every save."""


def forecast(work: Workload, policy: Policy, budget_bytes: int) -> Forecast:
    """Simulate the study under a budget (O(trials x saves); 1,000 trials take well under a second)."""
    held: list[Held] = []
    most, most_at, fits = 0, (0, 0), True
    usable = budget_bytes - disk.reserve_bytes(budget_bytes)
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
            held.append(Held(trial, save, value, True, work.model_bytes, work.resumable_bytes))
            held = _executed(held, retention.plan(held, policy, running))
        held = _executed(held, retention.plan(held, policy, Pressure()))
    saves = work.trials * work.saves_per_trial
    return Forecast(
        least_budget_bytes=disk.with_reserve(
            disk.least_budget_bytes(work.model_bytes, work.resumable_bytes) + work.beside(work.trials)
        ),
        most_bytes=most,
        most_at=most_at,
        written_bytes=saves * work.resumable_bytes,
        keep_all_bytes=saves * work.resumable_bytes + work.beside(work.trials),
        fits=fits and most <= usable,
    )


def _bytes(held: list[Held]) -> int:
    return sum(item.total_bytes for item in held)


def _executed(held: list[Held], plan: retention.Plan) -> list[Held]:
    """What is left once a plan is carried out."""
    return [
        replace(item, resumable=False, total_bytes=item.model_bytes) if item.key in plan.strip else item
        for item in held
        if item.key not in plan.delete
    ]
