"""What to keep: a pure function of checkpoints, policy and pressure.

No file system, no clock, no torch. A policy is the union of small named rules; each marks what it
wants kept, whole (to resume from) or as the model alone. What no rule marks is deleted. A further rule
is one more function in RULES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields

from thriftune.config import StorageConfig

Key = tuple[int, int]
"""(trial, epoch)"""

PROTECTED, OF_STUDY, OF_RUNNING = 3, 2, 1
"""Steps of pressure: first what the running trial would like to keep, then the trials' bests and
the co-best of the study, never the study's best and what training goes on from."""


@dataclass(frozen=True)
class Held:
    """One committed checkpoint, as retention sees it."""

    trial: int
    epoch: int
    value: float | None
    resumable: bool
    model_bytes: int
    total_bytes: int

    @property
    def key(self) -> Key:
        return (self.trial, self.epoch)


@dataclass(frozen=True)
class Policy:
    """Which checkpoints a study wants (see StorageConfig)."""

    keep_last_n: int = 1
    keep_best_k: int = 1
    keep_best_k_max: int = 2

    @classmethod
    def of(cls, storage: StorageConfig) -> Policy:
        """A study's, from its parameters of the same names."""
        return cls(**{own.name: getattr(storage, own.name) for own in fields(cls)})


@dataclass(frozen=True)
class Pressure:
    """What weighs on the decision at this moment."""

    running_trials: frozenset[int] = frozenset()
    """One a worker."""
    resumed_from: frozenset[Key] = frozenset()
    """Each protected until a newer checkpoint of its trial is committed."""
    room_bytes: int | None = None
    """Bytes that checkpoints may hold after the plan; None: no limit."""
    disk_low: bool = False
    """Free disk is under the watermark: only what is protected is kept."""


@dataclass(frozen=True)
class Marked:
    """A rule's wish for one checkpoint."""

    key: Key
    whole: bool
    """True: with optimizer and state; False: the model is enough."""
    yields: int
    """The step of pressure at which the wish is given up, PROTECTED: never."""
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be done, each with its reason; every checkpoint stands in exactly one."""

    keep: dict[Key, str]
    strip: dict[Key, str]
    delete: dict[Key, str]
    bytes_after: int
    fits: bool
    """False where what is protected does not fit into the room."""


Rule = Callable[[Sequence[Held], Policy, Pressure], Iterable[Marked]]


def ranked(checkpoints: Iterable[Held]) -> list[Held]:
    """Those with a value, best first; exact ties by trial, then epoch, the earliest first."""
    valued = [held for held in checkpoints if held.value is not None]
    return sorted(valued, key=lambda held: (-(held.value or 0.0), held.trial, held.epoch))


def newest_of_running(checkpoints: Sequence[Held], policy: Policy, pressure: Pressure) -> Iterable[Marked]:
    """The newest n resume-capable ones of each running trial; the very newest is protected."""
    for trial in sorted(pressure.running_trials):
        whole = [held for held in checkpoints if held.trial == trial and held.resumable]
        whole.sort(key=lambda held: held.epoch, reverse=True)
        for place, held in enumerate(whole[: policy.keep_last_n]):
            yields = OF_RUNNING if place else PROTECTED
            yield Marked(held.key, True, yields, f"newest {place + 1} of the running trial")


def resumed_from(checkpoints: Sequence[Held], policy: Policy, pressure: Pressure) -> Iterable[Marked]:
    """What a running trial went on from, until a newer one of it is committed."""
    for origin in sorted(pressure.resumed_from):
        newer = any(held.trial == origin[0] and held.epoch > origin[1] for held in checkpoints)
        if not newer and any(held.key == origin for held in checkpoints):
            yield Marked(origin, True, PROTECTED, "the running trial went on from it")


def best_of_study(checkpoints: Sequence[Held], policy: Policy, pressure: Pressure) -> Iterable[Marked]:
    """The study's best, protected, and the best of each of the k best trials."""
    best_by_trial: dict[int, Held] = {}
    for held in ranked(checkpoints):
        best_by_trial.setdefault(held.trial, held)
    for place, held in enumerate(list(best_by_trial.values())[: policy.keep_best_k]):
        reason = "the study's best" if place == 0 else f"best of the study's trial {place + 1}"
        yield Marked(held.key, False, OF_STUDY if place else PROTECTED, reason)


def best_of_running(checkpoints: Sequence[Held], policy: Policy, pressure: Pressure) -> Iterable[Marked]:
    """The k best epochs of each running trial."""
    for trial in sorted(pressure.running_trials):
        own = [held for held in checkpoints if held.trial == trial]
        for place, held in enumerate(ranked(own)[: policy.keep_best_k]):
            yield Marked(held.key, False, OF_RUNNING, f"best epoch {place + 1} of the running trial")


def co_best(checkpoints: Sequence[Held], policy: Policy, pressure: Pressure) -> Iterable[Marked]:
    """Exact ties of the study's best, of any trial, up to keep_best_k_max with the best itself."""
    order = ranked(checkpoints)
    ties = [held for held in order if held.value == order[0].value] if order else []
    for place, held in enumerate(ties[1 : policy.keep_best_k_max]):
        yield Marked(held.key, False, OF_STUDY, f"co-best {place + 1}: an exact tie of the best")


RULES: tuple[Rule, ...] = (newest_of_running, resumed_from, best_of_study, co_best, best_of_running)
"""Of the wishes that yield at one step, the last marked goes first."""


def plan(
    checkpoints: Sequence[Held], policy: Policy, pressure: Pressure, rules: Sequence[Rule] = RULES
) -> Plan:
    """Decide what is kept whole, kept as the model alone, and deleted.

    What is protected is never deleted, whatever the pressure; `fits` says whether that is enough.
    """
    by_key = {held.key: held for held in checkpoints}
    wishes = [mark for rule in rules for mark in rule(checkpoints, policy, pressure)]
    if pressure.disk_low:
        wishes = [mark for mark in wishes if mark.yields == PROTECTED]
    granted = _granted(wishes, by_key, pressure.room_bytes)
    total = sum(_bytes(by_key[key], marks) for key, marks in granted.items())
    whole = {key: any(mark.whole for mark in marks) for key, marks in granted.items()}
    reasons = {key: "; ".join(mark.reason for mark in marks) for key, marks in granted.items()}
    keep = {key: why for key, why in reasons.items() if whole[key] or not by_key[key].resumable}
    return Plan(
        keep=keep,
        strip={key: why for key, why in reasons.items() if key not in keep},
        delete={key: "no rule keeps it" for key in by_key if key not in granted},
        bytes_after=total,
        fits=pressure.room_bytes is None or total <= pressure.room_bytes,
    )


def _granted(wishes: Sequence[Marked], by_key: dict[Key, Held], room: int | None) -> dict[Key, list[Marked]]:
    """The wishes that stand, by checkpoint: one after the other is given up until the rest fits."""
    granted: dict[Key, list[Marked]] = {}
    for mark in wishes:
        granted.setdefault(mark.key, []).append(mark)
    total = sum(_bytes(by_key[key], marks) for key, marks in granted.items())
    dearest_last = sorted(enumerate(wishes), key=lambda item: (item[1].yields, -item[0]))
    for _, mark in dearest_last:
        if room is None or total <= room or mark.yields == PROTECTED:
            break
        held, marks = by_key[mark.key], granted[mark.key]
        total -= _bytes(held, marks)
        marks.remove(mark)
        if marks:
            total += _bytes(held, marks)
        else:
            del granted[mark.key]
    return granted


def _bytes(held: Held, marks: Sequence[Marked]) -> int:
    return held.total_bytes if any(mark.whole for mark in marks) else held.model_bytes
