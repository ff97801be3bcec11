"""What all trials of one process share."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from thriftune.observe.stopwatch import Stopwatch

if TYPE_CHECKING:
    import torch

    from thriftune.checkpoints.store import CheckpointStore
    from thriftune.corpus.store import Corpus
    from thriftune.training.inputs import TrainingInputs


def _do_nothing(step: int, steps: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class TrialContext:
    """What all trials of one process share."""

    study_id: str
    study_name: str
    corpus: Corpus
    store: CheckpointStore
    device: torch.device
    inputs: TrainingInputs
    check_signals: Callable[[], None]
    """Raises where a signal asked for the end."""
    check_owned: Callable[[], None]
    """Raises where another process has the trial by now."""
    on_step: Callable[[int, int], None] = _do_nothing
    """Called after each optimizer step with (steps taken, steps in all)."""
    clock: Callable[[], float] = time.monotonic
    """Seconds, without those in which the process was stopped."""
    stopwatch: Stopwatch = field(default_factory=Stopwatch)
    """Runs while a trial gets its model and data, trains, validates, and waits for bytes to be written."""
