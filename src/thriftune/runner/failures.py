"""A trial's own failures: which errors they are, in what words, and what failed trials have in common.

Memory that ran out, a loss that is no longer finite, and a configuration that cannot work (an encoder that
cannot be loaded among them) are a trial's; every other error is the user's, the machine's or ours.
"""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING

import torch

from thriftune.errors import ConfigError, StudyError
from thriftune.model.out_of_memory import is_out_of_memory
from thriftune.observe.sanitiser import Sanitiser
from thriftune.training.loop import DivergedError

if TYPE_CHECKING:
    from pydantic import JsonValue

    from thriftune.config import StudyConfig
    from thriftune.search.trials import FrozenTrial, Values

OUT_OF_MEMORY, DIVERGED = "out of memory", "diverged"
LONGEST_REASON = 500
"""Characters of a reason: it goes into MLflow's tags."""


def failure_reason(error: Exception, redact: Sequence[str]) -> str | None:
    """Return `cause: message` for an error that is the trial's own failure, None for any other.

    The cause ends at the first `: `, so that reasons can be counted.

    Args:
        error: What ended the trial.
        redact: The user's own patterns of secrets.

    Returns:
        One line without secrets.
    """
    if isinstance(error, DivergedError):
        cause, said = DIVERGED, error.message
    elif isinstance(error, ConfigError):
        cause, said = error.where or "configuration", " ".join(error.message.split())
    elif is_out_of_memory(error):
        cause, said = OUT_OF_MEMORY, str(error) or type(error).__name__
    else:
        return None
    return Sanitiser(redact).clean(f"{cause}: {said.partition(chr(10))[0]}")[:LONGEST_REASON]


def release_memory() -> None:
    """Free what a failed trial left, once its error is gone, whose traceback holds the model.

    An architecture may tie its modules in reference cycles, and CUDA's cache keeps what was freed.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def check_failures(over: Sequence[FrozenTrial], trials: int, study: StudyConfig, configured: Values) -> None:
    """Raise where too many trials in a row have failed, and more are to come, or none has succeeded.

    It depends on the history alone: the same command ends the same until study.max_failed_trials is raised.

    Args:
        over: The trials that have ended, in order.
        trials: How many there will be.
        study: The limit, and the study's name.
        configured: Every parameter of the run by dotted key: the value in a trial that does not set it.

    Raises:
        StudyError: With what the failed trials have in common.
    """
    good = [trial for trial in over if trial.state.name != "FAIL"]
    row = [*takewhile(lambda trial: trial.state.name == "FAIL", reversed(over))][::-1]
    if len(row) < study.max_failed_trials or (good and len(over) >= trials):
        return
    raise StudyError(
        f"{len(row)} trials in a row have failed: {_counted(row)}{_in_common(row, good, configured)}",
        where=f"study {study.name!r}",
        remedy="to remove what fails from the search space, choose another study.name; with "
        "study.max_failed_trials raised, the same command continues. `thriftune study show "
        f"{study.name}` has every reason.",
    )


def _counted(row: Sequence[FrozenTrial]) -> str:
    """Return the causes, the most frequent first, each with the first reason that was given."""
    reasons = [str(trial.user_attrs.get("reason", "no reason on record")) for trial in row]
    causes = [reason.partition(": ")[0] for reason in reasons]
    counted = []
    for cause, count in Counter(causes).most_common():
        at = causes.index(cause)
        detail = reasons[at].partition(": ")[2]
        example = f"; trial {row[at].number}: {detail}" if detail else ""
        counted.append(f"{cause} ({count} of {len(row)}{example})")
    return "; ".join(counted)


def _in_common(row: Sequence[FrozenTrial], good: Sequence[FrozenTrial], configured: Values) -> str:
    failed, well = ([json.loads(trial.user_attrs["overrides"]) for trial in part] for part in (row, good))
    shared = list(_shared(failed, well, configured))
    if not shared:
        return ""
    others = (
        "no successful trial had any of these" if good else "there is no successful trial to compare with"
    )
    return f"\n  all had {', '.join(shared)}; {others}"


def _shared(failed: Sequence[Values], good: Sequence[Values], written: Values) -> Iterable[str]:
    """Yield what tells the failed trials from the good ones.

    `key = value` where all that failed had the value and none of the good ones, and `key >= value`, or <=,
    where a number tells them apart; of the keys that some trial set, in others as written.
    """
    for key in sorted({key for overrides in (*failed, *good) for key in overrides}):
        bad, well = ([each.get(key, written.get(key)) for each in part] for part in (failed, good))
        if all(value == bad[0] for value in bad):
            if bad[0] not in well:
                yield f"{key} = {bad[0]!r}"
        elif (
            well and len(numbers := _numbers(bad)) == len(bad) and len(others := _numbers(well)) == len(well)
        ):
            if min(numbers) > max(others):
                yield f"{key} >= {min(numbers):g} (the others at most {max(others):g})"
            elif max(numbers) < min(others):
                yield f"{key} <= {max(numbers):g} (the others at least {min(others):g})"


def _numbers(values: Iterable[JsonValue]) -> list[float]:
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
