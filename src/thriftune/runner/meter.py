"""What a trial takes of the machine, measured while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from thriftune.checkpoints.store import CheckpointStore
from thriftune.observe.stopwatch import Stopwatch
from thriftune.tracking.journal import Journal
from thriftune.tracking.keys import EPOCH_SECONDS, HELD, MEMORY, OPEN_FILES, OWN, THREADS, TOTAL


class Meter:
    """Measures the trials of one process.

    From one trial's end to the next nothing is left out: a trial's own seconds include the sampling of its
    configuration, and the end of the trial before it.
    """

    def __init__(self, store: CheckpointStore, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self.training = Stopwatch(clock)
        """Runs while a trial gets model and data, trains, validates, and waits for bytes to be written."""
        self._store, self._process = store, psutil.Process()
        self._earlier_seconds = 0.0
        self._note()

    def resume(self, journal: Journal, epoch: int) -> None:
        """Add what a trial took in other processes, which measured it.

        Args:
            journal: The trial's journal.
            epoch: The epoch that it resumes after; 0: it starts.
        """
        done = [step for step in journal.steps(EPOCH_SECONDS) if step <= epoch]
        self._earlier_seconds = sum(journal.value(EPOCH_SECONDS, step) or 0.0 for step in done)

    def trial_over(self, journal: Journal, number: int) -> float:
        """Write the trial's figures to its journal.

        What saves did beside writing bytes is the framework's own, also where training continued meanwhile.

        Args:
            journal: The trial's journal.
            number: The trial's.

        Returns:
            The trial's seconds.
        """
        elapsed = self._clock() - self._noted_at
        upkeep = self._store.upkeep_seconds - self._upkeep
        process = self._process
        with process.oneshot():
            figures = {
                OWN: elapsed - (self.training.seconds - self._training) + upkeep,
                TOTAL: elapsed + self._earlier_seconds,
                MEMORY: float(process.memory_info().rss),
                HELD: float(self._store.held_bytes()),
                OPEN_FILES: float(process.num_fds()),
                THREADS: float(process.num_threads()),
            }
        journal.log(figures, number)
        self._earlier_seconds = 0.0
        self._note()
        return figures[TOTAL]

    def _note(self) -> None:
        self._noted_at = self._clock()
        self._training, self._upkeep = self.training.seconds, self._store.upkeep_seconds
