"""What the terminal and the log say while a study runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from thriftune.observe.logs import log_place
from thriftune.observe.progress import eta_seconds
from thriftune.study.trials import TrialEnd
from thriftune.units import human_seconds

log = logging.getLogger(__name__)


@dataclass
class StudyProgress:
    """Progress of one study: trials, epochs, steps, ETA, bytes against the budget."""

    trials: int
    budget_bytes: int
    taken: list[float]
    """Seconds of each trial that is over, whichever process ran it."""
    best: float | None = None
    over_elsewhere: int = 0
    running_elsewhere: int = 0
    held_bytes: int = 0
    _live: Progress | None = field(default=None, init=False)
    _name: str = field(default="", init=False)
    _epochs: int = field(default=0, init=False)
    _left: str = field(init=False)
    _task: TaskID = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._task = self._estimate(), TaskID(0)
        console = Console(stderr=True)
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("step {task.completed}/{task.total}"),
                TextColumn("{task.fields[state]}"),
                console=console,
                transient=True,
                expand=True,
            )
            self._live.start()
            self._task = self._live.add_task("starting", total=1, state="")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def trial(self, number: int, epochs: int, start: str) -> None:
        """Log that a trial starts or resumes.

        Args:
            number: The trial's.
            epochs: Of the trial in all.
            start: Where it starts, and why there.
        """
        self._name = self._name_of(number)
        self._epochs = epochs
        log.info("%s: %s", self._name, start)

    def step(self, step: int, steps: int) -> None:
        """Show that an optimizer step was taken.

        Args:
            step: Steps of the trial so far.
            steps: Steps of the trial in all.
        """
        log_place(epoch=-(-step * self._epochs // steps), step=step)
        if self._live is not None:
            bytes_held = f"{self.held_bytes / 1e6:.0f}/{self.budget_bytes / 1e6:.0f} MB"
            state = f"{_best(self.best)}; {bytes_held}{self._left.replace('about ', '')}"
            self._live.update(self._task, description=self._name, completed=step, total=steps, state=state)

    def epoch(self, epoch: int, metric: str, value: float | None, held_bytes: int) -> None:
        """Log that an epoch was validated and saved.

        Args:
            epoch: The epoch.
            metric: Name of the metric that is maximised.
            value: Its value; None: undefined.
            held_bytes: Bytes that the study holds.
        """
        self.held_bytes = held_bytes
        log.info(
            "%s, epoch %d of %d: %s %s; %s",
            self._name,
            epoch,
            self._epochs,
            metric,
            _shown(value),
            self._held(),
        )

    def trial_done(
        self,
        number: int,
        end: TrialEnd,
        best: float | None,
        seconds: float,
        elsewhere: tuple[int, int] = (0, 0),
    ) -> None:
        """Log that a trial ended, be it before it could start.

        Args:
            number: The trial's.
            end: How it ended.
            best: The best value of the study so far; None: there is none.
            seconds: What the trial took.
            elsewhere: Of other workers: trials that ended and that this process did not see end; trials that
                run.
        """
        self.taken.append(seconds)
        self.over_elsewhere, self.running_elsewhere = elsewhere
        self.best, self._left = best, self._estimate()
        log.info("%s: %s with %s; %s", self._name_of(number), end.state, _shown(end.value), self._state())

    def _state(self) -> str:
        """Return the state of the study as a whole: best so far, bytes, time left."""
        return f"{_best(self.best)}; {self._held()}{self._left}"

    def _estimate(self) -> str:
        """Return the time left in words; called once a trial, since it reads all finished ones."""
        if not self.taken:
            return ""
        over = len(self.taken) + self.over_elsewhere
        # One that a kill kept from being reported counts twice: as on record, and as it ends here.
        if over >= self.trials:
            return ""
        left = eta_seconds(self.taken, self.trials - over) / (1 + self.running_elsewhere)
        return f"; about {human_seconds(left)} left"

    def _held(self) -> str:
        return f"{decimal(self.held_bytes)} of {decimal(self.budget_bytes)} held"

    def _name_of(self, number: int) -> str:
        return f"trial {number} ({number + 1} of {self.trials})"

    def close(self) -> None:
        """Give the terminal back; closing twice is fine."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def _best(value: float | None) -> str:
    return "no best yet" if value is None else f"best so far {value:.4f}"


def _shown(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
