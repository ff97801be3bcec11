"""What a run says of its progress: a plain line an epoch, and a live line where there is a terminal."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

log = logging.getLogger(__name__)


@dataclass
class StudyProgress:
    """Progress of one study: trials, epochs, steps, ETA, bytes against the budget."""

    trials: int
    budget_bytes: int
    done: int = 0
    _started: float = field(default_factory=time.monotonic)
    _finished_here: int = 0
    _live: Progress | None = None

    def __post_init__(self) -> None:
        console = Console(stderr=True)
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("step {task.completed}/{task.total}"),
                TimeRemainingColumn(),
                console=console,
                transient=True,
            )
            self._live.start()
            self._task = self._live.add_task("starting", total=1)

    def trial(self, number: int, epochs: int, start: str) -> None:
        """A trial starts or goes on; start: where, and why there."""
        self._name = self._name_of(number)
        self._epochs = epochs
        log.info("%s: %s", self._name, start)

    def step(self, step: int, steps: int) -> None:
        """An optimizer step was taken."""
        if self._live is not None:
            self._live.update(self._task, description=self._name, completed=step, total=steps)

    def epoch(self, epoch: int, metric: str, value: float | None, held_bytes: int) -> None:
        """An epoch was validated and saved."""
        shown = "undefined" if value is None else f"{value:.4f}"
        log.info(
            "%s, epoch %d of %d: %s %s; %.1f of %.1f MB held",
            self._name,
            epoch,
            self._epochs,
            metric,
            shown,
            held_bytes / 1e6,
            self.budget_bytes / 1e6,
        )

    def trial_done(self, number: int, state: str, value: float | None, best: float | None) -> None:
        """A trial ended, be it before it could start."""
        self.done += 1
        self._finished_here += 1
        left = self.trials - self.done
        seconds = (time.monotonic() - self._started) / self._finished_here * left
        shown = ["undefined" if item is None else f"{item:.4f}" for item in (value, best)]
        log.info(
            "%s: %s with %s; best so far %s; about %.0f s left",
            self._name_of(number),
            state,
            *shown,
            seconds,
        )

    def _name_of(self, number: int) -> str:
        return f"trial {number} ({number + 1} of {self.trials})"

    def close(self) -> None:
        """Give the terminal back; closing twice is fine."""
        if self._live is not None:
            self._live.stop()
            self._live = None
