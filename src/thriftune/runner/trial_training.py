"""The training of one trial: what the loop is given, and the report of the best epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from thriftune.corpus.reference import reference_to
from thriftune.evaluation.metrics import curves
from thriftune.evaluation.record import Figures, TrialReport
from thriftune.evaluation.report import write_trial_report
from thriftune.study.identity import save_interval
from thriftune.study.layout import REPORT
from thriftune.training.inputs import class_weights, collator_for
from thriftune.training.loop import Identity, Trainer, train
from thriftune.training.validation import Validation, validate

if TYPE_CHECKING:
    from thriftune.checkpoints.checkpoint import Checkpoint
    from thriftune.model.encoder import Encoder
    from thriftune.model.trainable import DualAgent
    from thriftune.runner.context import TrialContext
    from thriftune.study.trials import TrialRef
    from thriftune.tracking.journal import Journal
    from thriftune.training.state import Resume


class TrialTraining:
    """The training of one trial."""

    def __init__(
        self,
        trial: TrialRef,
        context: TrialContext,
        journal: Journal,
        model: tuple[Encoder, DualAgent],
        attempt: int,
    ) -> None:
        """Read the tokenised posts.

        Args:
            trial: The trial.
            context: What it shares with others.
            journal: Gets its metrics; its folder gets the report.
            model: The encoder, and the agent that is trained, on its device.
            attempt: How often the trial was begun, this time included.
        """
        encoder, agent = model
        parameters, corpus = trial.parameters, context.corpus
        self._trial, self._context = trial, context
        self._report_path = journal.path.with_name(REPORT)
        self._last: Validation | None = None
        with context.stopwatch:
            rows = context.inputs.rows(parameters, encoder, "train")
            self._validation_rows = context.inputs.rows(parameters, encoder, "validation")
            self._collator = collator_for(parameters, corpus, encoder)
        self._trainer = Trainer(
            agent=agent,
            rows=rows,
            collator=self._collator,
            positive_weights=class_weights(parameters, rows, context.device),
            training=parameters.training,
            metric=parameters.study.metric,
            seed=parameters.study.seed,
            save_every_epochs=save_interval(parameters),
            identity=Identity(context.study_id, trial.number, trial.trial_id, corpus.fingerprint, attempt),
            validate=self._validate,
            log=journal,
            on_step=self._on_step,
            log_every_steps=parameters.tracking.log_every_steps,
            overlap=parameters.storage.overlap and parameters.storage.checkpointing,
            clock=context.clock,
        )

    def checkpoints(self, resume: Resume | None = None) -> Iterator[Checkpoint]:
        """Train the trial.

        Args:
            resume: Where to continue; None: from the beginning.

        Returns:
            A checkpoint for each saved epoch, made when it is asked for.
        """
        return train(self._trainer, resume)

    def write_report_if_best(self, checkpoint: Checkpoint) -> None:
        """Write the validation report of the trial's best saved epoch, unless an earlier one was as good.

        It is written before the checkpoint commits, so that a committed best always has one.

        Args:
            checkpoint: That of the epoch that was validated last.
        """
        if self._last is None or (self._report_path.exists() and not checkpoint.is_best):
            return
        parameters = self._trial.parameters
        write_trial_report(
            self._report_path,
            TrialReport(
                study_id=self._context.study_id,
                study_name=self._context.study_name,
                trial=self._trial.number,
                trial_id=self._trial.trial_id,
                epoch=checkpoint.epoch,
                optimization_metric=parameters.study.metric,
                validation_score=checkpoint.value,
                validation_metrics=Figures.from_json(self._last.figures),
                thresholds={name: tuple(values) for name, values in self._last.thresholds.items()},
                config=parameters.model_dump(mode="json"),
                data=reference_to(self._context.corpus),
                seeds={"study": parameters.study.seed},
                warnings=tuple(self._last.warnings),
            ),
        )

    def _validate(self, agent: DualAgent) -> Mapping[str, float | None]:
        parameters = self._trial.parameters
        self._last = validate(
            agent,
            self._validation_rows,
            self._collator,
            parameters.evaluation.batch_size,
            self._context.check_signals,
        )
        if parameters.tracking.figures == "all":
            return self._last.flat
        return curves(self._last.flat, parameters.study.metric)

    def _on_step(self, step: int, steps: int) -> None:
        self._context.on_step(step, steps)
        self._context.check_signals()
