"""Reads the test split: predictions of the study's best, their figures, and the record of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from thriftune.evaluation.bootstrap import intervals
from thriftune.evaluation.metrics import baselines, compute, flatten, warnings
from thriftune.evaluation.predict import predict
from thriftune.evaluation.predictions import Decisions, Predictions, decide
from thriftune.evaluation.record import EvaluatedCheckpoint, EvaluationNote, EvaluationRecord, Figures
from thriftune.evaluation.report import check_disjoint, prediction_lines, write_evaluation
from thriftune.forecast.corpus_size import CorpusSize
from thriftune.forecast.evaluation_size import evaluation_bytes
from thriftune.runner.best_checkpoint import best_checkpoints, best_since
from thriftune.training.inputs import build_agent, collator_for, encoder_for, rows_of, signature_of
from thriftune.training.seeding import configure_determinism, resolve_device

if TYPE_CHECKING:
    from thriftune.checkpoints.stored import StoredCheckpoint
    from thriftune.config import Parameters
    from thriftune.corpus.store import Corpus
    from thriftune.corpus.types import SplitName
    from thriftune.runner.evaluation_context import EvaluationContext


class _Tested(NamedTuple):
    """A checkpoint's predictions of the test split."""

    entry: StoredCheckpoint
    parameters: Parameters
    predictions: Predictions
    decisions: Decisions
    thresholds: dict[str, tuple[float, ...]]
    figures: Figures


def evaluate(context: EvaluationContext, before: EvaluationRecord | None) -> EvaluationRecord:
    """Evaluate the study's best and its exact ties on the test split, and write evaluation.json.

    Args:
        context: The study.
        before: The evaluation on record, to which this one is added; None: there is none.

    Returns:
        The record; its figures are those of the best.
    """
    context.corpus.check("test", "validation")
    context.store.require_room(evaluation_bytes(CorpusSize.from_corpus(context.corpus), context.parameters))
    started = time.monotonic()
    device = resolve_device(context.parameters.training.device)
    configure_determinism(context.record.identity.threads, device)
    ties = best_checkpoints(context)
    check_disjoint(_ids(context.corpus, "test"), _ids(context.corpus, "validation"))
    tested = [_test(context, entry) for entry in ties]
    best = tested[0]
    evaluation = _record(context, tested, before, started)
    write_evaluation(context.study.folder, evaluation, prediction_lines(best.predictions, best.decisions))
    return evaluation


def _ids(corpus: Corpus, split: SplitName) -> list[str]:
    return [post.post_id for post in corpus.posts(split)]


def _test(context: EvaluationContext, entry: StoredCheckpoint) -> _Tested:
    own, corpus = context.trial(entry.manifest.trial).parameters, context.corpus
    encoder = encoder_for(own, corpus)
    agent = build_agent(own, encoder, corpus.criteria)
    agent.load_trained(context.store.load_model(entry, signature_of(agent)))
    agent.to(resolve_device(own.training.device))
    predictions = predict(
        agent,
        rows_of(own, corpus, encoder, "test"),
        collator_for(own, corpus, encoder),
        own.evaluation.batch_size,
        context.flag.check,
    )
    criteria = agent.criteria_thresholds.cpu().numpy()
    evidence = agent.evidence_thresholds.cpu().numpy()
    thresholds = {"criteria": tuple(criteria.tolist()), "evidence": tuple(evidence.tolist())}
    decisions = decide(predictions, criteria, evidence)
    figures = Figures.from_json(compute(predictions, decisions))
    return _Tested(entry, own, predictions, decisions, thresholds, figures)


def _record(
    context: EvaluationContext, tested: list[_Tested], before: EvaluationRecord | None, started: float
) -> EvaluationRecord:
    best, record, bootstrap = tested[0], context.record, context.parameters.evaluation
    manifest = best.entry.manifest
    assert manifest.value is not None
    kept = [_kept(each, context) for each in tested]
    return EvaluationRecord(
        study_id=context.study.id,
        study_name=context.study.name,
        best_trial=manifest.trial,
        optimization_metric=context.parameters.study.metric,
        validation_score=manifest.value,
        test_metrics=best.figures,
        intervals=intervals(best.predictions, best.decisions, bootstrap.bootstrap_samples, bootstrap.seed),
        baselines=baselines(best.predictions),
        thresholds=best.thresholds,
        config=best.parameters.model_dump(mode="json"),
        data=record.data,
        seeds=record.seeds,
        checkpoints=(*kept, *_deleted_ties(context, [each.entry for each in tested])),
        versions=record.versions,
        git_commit=record.git_commit,
        machine=record.machine,
        timings={"evaluation_seconds": round(time.monotonic() - started, 3)},
        evaluations=(*(before.evaluations if before else ()), _note(context, best, before)),
        warnings=tuple(warnings(best.predictions, best.decisions, flatten(best.figures.to_json()))),
    )


def _note(context: EvaluationContext, best: _Tested, before: EvaluationRecord | None) -> EvaluationNote:
    reason, manifest = None, best.entry.manifest
    if before is not None:
        since = best_since(before, context.optuna) or "the study's best is the same as before"
        reason = f"evaluation.force=true; {since}"
    return EvaluationNote(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        forced=before is not None,
        trial=manifest.trial,
        epoch=manifest.epoch,
        sha256=manifest.sha256,
        test_metrics=best.figures,
        reason=reason,
    )


def _kept(tested: _Tested, context: EvaluationContext) -> EvaluatedCheckpoint:
    manifest = tested.entry.manifest
    return EvaluatedCheckpoint(
        trial=manifest.trial,
        epoch=manifest.epoch,
        path=str(tested.entry.path.relative_to(context.store.folder)),
        sha256=manifest.sha256,
        kept=True,
        test_metrics=tested.figures,
    )


def _deleted_ties(context: EvaluationContext, kept: list[StoredCheckpoint]) -> list[EvaluatedCheckpoint]:
    """Return the epochs whose value is exactly the best's, and whose checkpoint was deleted."""
    there = {entry.info.key for entry in kept}
    return [
        EvaluatedCheckpoint(trial=trial.number, epoch=epoch, path=None, sha256=None, kept=False)
        for trial in context.optuna.trials()
        for epoch, value in sorted(trial.intermediate_values.items())
        if value == kept[0].manifest.value and (trial.number, epoch) not in there
    ]
