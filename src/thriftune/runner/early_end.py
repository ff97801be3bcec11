"""Whether a trial ends before its last epoch: the pruner's decisions, and the trial's time limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from thriftune.runner.limits import out_of_time
from thriftune.study.identity import save_interval
from thriftune.study.trials import TrialEnd

if TYPE_CHECKING:
    from thriftune.checkpoints.checkpoint import Checkpoint
    from thriftune.checkpoints.manifest import Manifest
    from thriftune.search.trials import RunningTrial
    from thriftune.tracking.journal import Journal


class EarlyEnd:
    """Decides after each saved epoch whether the trial ends with it."""

    def __init__(self, trial: RunningTrial, journal: Journal) -> None:
        """Begin with no decision.

        Args:
            trial: The trial; intermediate values are reported to it.
            journal: The trial's journal, which has the values of earlier attempts.
        """
        self._trial, self._journal = trial, journal
        self._interval = save_interval(trial.parameters)
        self._metric = f"validation/{trial.parameters.study.metric}"
        self._pruned: str | None = None
        self._timed_out: str | None = None

    @property
    def is_due(self) -> bool:
        """Whether the trial ends with the epoch that was looked at last."""
        return self._pruned is not None or self._timed_out is not None

    def catch_up(self, manifest: Manifest) -> None:
        """Report to the pruner what a kill may have kept from it, and decide what was due then.

        Args:
            manifest: That of the checkpoint that the trial resumes from.
        """
        for epoch in range(self._interval, manifest.epoch + 1, self._interval):
            self._pruned = self._prune(epoch, self._journal.value(self._metric, epoch))
        self._timed_out = self._time_out(manifest)

    def look_at(self, checkpoint: Checkpoint) -> None:
        """Decide after an epoch that was saved.

        Args:
            checkpoint: The epoch's.
        """
        self._pruned = self._prune(checkpoint.epoch, checkpoint.value)
        self._timed_out = self._time_out(checkpoint)

    def trial_end(self) -> TrialEnd:
        """Return how the trial ended, of which no epoch is left: with the value of its best saved epoch."""
        steps = [step for step in self._journal.steps(self._metric) if step % self._interval == 0]
        known = (self._journal.value(self._metric, step) for step in steps)
        value = max((value for value in known if value is not None), default=None)
        if value is None:
            metric = self._trial.parameters.study.metric
            return TrialEnd("failed", reason=f"{metric} was undefined at every epoch")
        if self._pruned is not None:
            return TrialEnd("pruned", value, self._pruned)
        return TrialEnd("complete", value, self._timed_out)

    def _prune(self, epoch: int, value: float | None) -> str | None:
        if value is None:
            return None
        self._trial.report(epoch, value)
        return f"pruned after epoch {epoch}" if self._trial.should_prune() else None

    def _time_out(self, saved: Checkpoint | Manifest) -> str | None:
        parameters = self._trial.parameters
        if saved.epoch >= parameters.training.epochs:
            return None
        return out_of_time(self._journal, parameters.study.trial_timeout, saved.epoch, saved.step)
