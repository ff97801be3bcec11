"""What to keep: a pure function of checkpoints, policy and pressure.

No file system, no clock, no torch. A policy is the union of small named rules; each says what it
wants kept, whole (to resume from) or as the model alone. What no rule names is deleted. A rule of your own is
one more function: `RetentionPolicy(rules=[*DEFAULT_RULES, my_rule])`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from thriftune.errors import ConfigError

Key = tuple[int, int]
"""(trial, epoch)"""


class Tier(IntEnum):
    """How long a wish holds under pressure: the lowest tier is given up first."""

    OF_RUNNING = 1
    """What a running trial would like to keep."""
    OF_STUDY = 2
    """The best trials, and the ties of the study's best."""
    PROTECTED = 3
    """Never given up: the study's best, and what a running trial resumes from."""


@dataclass(frozen=True)
class CheckpointInfo:
    """One committed checkpoint, as retention sees it."""

    trial: int
    epoch: int
    value: float | None
    resumable: bool
    model_bytes: int
    total_bytes: int

    @property
    def key(self) -> Key:
        """Return trial and epoch."""
        return (self.trial, self.epoch)


@dataclass(frozen=True)
class RetentionPolicy:
    """Which checkpoints are wanted.

    Raises:
        ConfigError: A number is under 1.
    """

    keep_last: int = 1
    """Newest checkpoints of each running trial that are kept resume-capable."""
    keep_best: int = 1
    """Best epochs a running trial keeps, and best trials the store keeps."""
    keep_ties: int = 2
    """Most checkpoints of exactly the best value that are kept, the best included."""
    rules: Sequence[Rule] = field(default_factory=lambda: DEFAULT_RULES)
    """DEFAULT_RULES and your own; a list without the defaults protects only what it names.

    Of the wishes of one tier, the last rule's are given up first."""

    def __post_init__(self) -> None:
        for name in ("keep_last", "keep_best", "keep_ties"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} must be 1 or more, got {getattr(self, name)}", where="RetentionPolicy"
                )


@dataclass(frozen=True)
class Pressure:
    """What weighs on the decision at this moment."""

    running_trials: frozenset[int] = frozenset()
    """Those under way, here or in another process, or interrupted."""
    resumed_from: frozenset[Key] = frozenset()
    """Each protected until a newer checkpoint of its trial is committed."""
    room_bytes: int | None = None
    """Bytes that checkpoints may hold after the plan; None: no limit."""
    disk_low: bool = False
    """Free disk is under the watermark: only what is protected is kept."""


@dataclass(frozen=True)
class Wish:
    """A rule's wish for one checkpoint."""

    key: Key
    whole: bool
    """True: with optimizer and state; False: the model is enough."""
    tier: Tier
    reason: str


@dataclass(frozen=True)
class Plan:
    """What is to be done, each with its reason; every checkpoint is in exactly one."""

    keep: dict[Key, str]
    strip: dict[Key, str]
    delete: dict[Key, str]
    bytes_after: int
    fits: bool
    """False where what is protected does not fit into the room."""


Rule = Callable[[Sequence[CheckpointInfo], RetentionPolicy, Pressure], Iterable[Wish]]
"""Returns a wish for each checkpoint that it wants kept, whatever the order of the checkpoints."""


def ranked(checkpoints: Iterable[CheckpointInfo]) -> list[CheckpointInfo]:
    """Return those with a value, best first; exact ties by trial, then epoch, the earliest first.

    Args:
        checkpoints: In any order; those without a value are left out.
    """
    valued = [held for held in checkpoints if held.value is not None]
    return sorted(valued, key=lambda held: (-(held.value or 0.0), held.trial, held.epoch))


def newest_of_running(
    checkpoints: Sequence[CheckpointInfo], policy: RetentionPolicy, pressure: Pressure
) -> Iterable[Wish]:
    """Yield wishes for the newest resumable ones of each running trial; the very newest is protected.

    Args:
        checkpoints: All that are committed.
        policy: What is wanted.
        pressure: What is running, and how much room there is.
    """
    for trial in sorted(pressure.running_trials):
        whole = [held for held in checkpoints if held.trial == trial and held.resumable]
        whole.sort(key=lambda held: held.epoch, reverse=True)
        for place, held in enumerate(whole[: policy.keep_last]):
            tier = Tier.OF_RUNNING if place else Tier.PROTECTED
            yield Wish(held.key, True, tier, f"newest {place + 1} of the running trial")


def resumed_from(
    checkpoints: Sequence[CheckpointInfo], policy: RetentionPolicy, pressure: Pressure
) -> Iterable[Wish]:
    """Yield wishes for what a running trial resumed from, until a newer one of it is committed.

    Args:
        checkpoints: All that are committed.
        policy: What is wanted.
        pressure: What is running, and how much room there is.
    """
    for origin in sorted(pressure.resumed_from):
        newer = any(held.trial == origin[0] and held.epoch > origin[1] for held in checkpoints)
        if not newer and any(held.key == origin for held in checkpoints):
            yield Wish(origin, True, Tier.PROTECTED, "the running trial resumed from it")


def best_of_study(
    checkpoints: Sequence[CheckpointInfo], policy: RetentionPolicy, pressure: Pressure
) -> Iterable[Wish]:
    """Yield wishes for the study's best, protected, and the best of each of the next best trials.

    Args:
        checkpoints: All that are committed.
        policy: What is wanted.
        pressure: What is running, and how much room there is.
    """
    best_by_trial: dict[int, CheckpointInfo] = {}
    for held in ranked(checkpoints):
        best_by_trial.setdefault(held.trial, held)
    for place, held in enumerate(list(best_by_trial.values())[: policy.keep_best]):
        reason = "the study's best" if place == 0 else f"best of the study's trial {place + 1}"
        yield Wish(held.key, False, Tier.OF_STUDY if place else Tier.PROTECTED, reason)


def best_of_running(
    checkpoints: Sequence[CheckpointInfo], policy: RetentionPolicy, pressure: Pressure
) -> Iterable[Wish]:
    """Yield wishes for the best epochs of each running trial.

    Args:
        checkpoints: All that are committed.
        policy: What is wanted.
        pressure: What is running, and how much room there is.
    """
    for trial in sorted(pressure.running_trials):
        own = [held for held in checkpoints if held.trial == trial]
        for place, held in enumerate(ranked(own)[: policy.keep_best]):
            yield Wish(held.key, False, Tier.OF_RUNNING, f"best epoch {place + 1} of the running trial")


def co_best(
    checkpoints: Sequence[CheckpointInfo], policy: RetentionPolicy, pressure: Pressure
) -> Iterable[Wish]:
    """Yield wishes for exact ties of the study's best, of any trial, up to keep_ties with the best itself.

    Args:
        checkpoints: All that are committed.
        policy: What is wanted.
        pressure: What is running, and how much room there is.
    """
    order = ranked(checkpoints)
    ties = [held for held in order if held.value == order[0].value] if order else []
    for place, held in enumerate(ties[1 : policy.keep_ties]):
        yield Wish(held.key, False, Tier.OF_STUDY, f"co-best {place + 1}: an exact tie of the best")


DEFAULT_RULES: tuple[Rule, ...] = (newest_of_running, resumed_from, best_of_study, co_best, best_of_running)
"""The rules of a policy that names none."""


def plan(checkpoints: Sequence[CheckpointInfo], policy: RetentionPolicy, pressure: Pressure) -> Plan:
    """Return what is kept whole, kept as the model alone, and deleted.

    What is protected is never deleted, whatever the pressure; `fits` says whether that is enough.

    Args:
        checkpoints: All that are committed, in any order.
        policy: What is wanted.
        pressure: What is running, and how much room there is.
    """
    by_key = {held.key: held for held in checkpoints}
    wishes = [wish for rule in policy.rules for wish in rule(checkpoints, policy, pressure)]
    if pressure.disk_low:
        wishes = [wish for wish in wishes if wish.tier == Tier.PROTECTED]
    granted = _granted(wishes, by_key, pressure.room_bytes)
    total = sum(_bytes(by_key[key], own) for key, own in granted.items())
    whole = {key: any(wish.whole for wish in own) for key, own in granted.items()}
    reasons = {key: "; ".join(wish.reason for wish in own) for key, own in granted.items()}
    keep = {key: why for key, why in reasons.items() if whole[key] or not by_key[key].resumable}
    return Plan(
        keep=keep,
        strip={key: why for key, why in reasons.items() if key not in keep},
        delete={key: "no rule keeps it" for key in by_key if key not in granted},
        bytes_after=total,
        fits=pressure.room_bytes is None or total <= pressure.room_bytes,
    )


def _granted(
    wishes: Sequence[Wish], by_key: dict[Key, CheckpointInfo], room: int | None
) -> dict[Key, list[Wish]]:
    """Give up one wish after the other until the rest fits; the wishes that are left, by checkpoint."""
    granted: dict[Key, list[Wish]] = {}
    for wish in wishes:
        granted.setdefault(wish.key, []).append(wish)
    total = sum(_bytes(by_key[key], own) for key, own in granted.items())
    dearest_last = sorted(enumerate(wishes), key=lambda item: (item[1].tier, -item[0]))
    for _, wish in dearest_last:
        if room is None or total <= room or wish.tier == Tier.PROTECTED:
            break
        held, own = by_key[wish.key], granted[wish.key]
        total -= _bytes(held, own)
        own.remove(wish)
        if own:
            total += _bytes(held, own)
        else:
            del granted[wish.key]
    return granted


def _bytes(held: CheckpointInfo, own: Sequence[Wish]) -> int:
    return held.total_bytes if any(wish.whole for wish in own) else held.model_bytes
