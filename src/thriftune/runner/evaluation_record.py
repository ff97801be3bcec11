"""The test figures, as evaluation.json has them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from thriftune.checkpoints.store import CheckpointStore
from thriftune.checkpoints.stored import StoredCheckpoint
from thriftune.config import Parameters
from thriftune.corpus.store import Corpus
from thriftune.corpus.types import SplitName
from thriftune.evaluation.bootstrap import intervals
from thriftune.evaluation.metrics import baselines, compute, flatten, warnings
from thriftune.evaluation.predict import predict
from thriftune.evaluation.predictions import Decisions, Predictions, decide
from thriftune.evaluation.record import EvaluatedCheckpoint, EvaluationNote, EvaluationRecord, Figures
from thriftune.evaluation.report import check_disjoint, prediction_lines, write_evaluation
from thriftune.runner.best_checkpoint import best_checkpoints, best_since, config_of
from thriftune.search.optuna_study import OptunaStudy
from thriftune.study.handle import StudyHandle
from thriftune.study.record import StudyRecord
from thriftune.training.inputs import build_agent, collator_for, encoder_for, rows_of, signature_of
from thriftune.training.interrupt import StopFlag
from thriftune.training.seeding import configure_determinism, resolve_device


def evaluate(
    parameters: Parameters,
    study: StudyHandle,
    optuna_study: OptunaStudy,
    store: CheckpointStore,
    corpus: Corpus,
    record: StudyRecord,
    before: EvaluationRecord | None,
    flag: StopFlag,
) -> EvaluationRecord:
    started = time.monotonic()
    configure_determinism(record.identity.threads, resolve_device(parameters.training.device))
    ties = best_checkpoints(parameters, study, optuna_study, store, corpus, flag)
    check_disjoint(_ids(corpus, "test"), _ids(corpus, "validation"))
    configs = [config_of(parameters, optuna_study, entry.manifest.trial) for entry in ties]
    results = [_predict(own, store, entry, corpus, flag) for own, entry in zip(configs, ties, strict=True)]
    predictions, decisions, thresholds = results[0]
    figures = [Figures.from_json(compute(found, decided)) for found, decided, _ in results]
    best = ties[0].manifest
    checkpoints = [
        EvaluatedCheckpoint(
            trial=entry.manifest.trial,
            epoch=entry.manifest.epoch,
            path=str(entry.path.relative_to(store.folder)),
            sha256=entry.manifest.sha256,
            kept=True,
            test_metrics=own,
        )
        for entry, own in zip(ties, figures, strict=True)
    ]
    checkpoints += _dropped_ties(optuna_study, ties)
    reason = None
    if before is not None:
        since = best_since(before, optuna_study) or "the study's best is the same as before"
        reason = f"evaluation.force=true; {since}"
    note = EvaluationNote(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        forced=before is not None,
        trial=best.trial,
        epoch=best.epoch,
        sha256=best.sha256,
        test_metrics=figures[0],
        reason=reason,
    )
    bootstrap = parameters.evaluation
    assert best.value is not None
    evaluation = EvaluationRecord(
        study_id=study.id,
        study_name=study.name,
        best_trial=best.trial,
        optimization_metric=parameters.study.metric,
        validation_score=best.value,
        test_metrics=figures[0],
        intervals=intervals(predictions, decisions, bootstrap.bootstrap_samples, bootstrap.seed),
        baselines=baselines(predictions),
        thresholds=thresholds,
        config=configs[0].model_dump(mode="json"),
        data=record.data,
        seeds=record.seeds,
        checkpoints=tuple(checkpoints),
        versions=record.versions,
        git_commit=record.git_commit,
        machine=record.machine,
        timings={"evaluation_seconds": round(time.monotonic() - started, 3)},
        evaluations=(*(before.evaluations if before else ()), note),
        warnings=tuple(warnings(predictions, decisions, flatten(figures[0].to_json()))),
    )
    write_evaluation(study.folder, evaluation, prediction_lines(predictions, decisions))
    return evaluation


def _dropped_ties(optuna_study: OptunaStudy, kept: list[StoredCheckpoint]) -> list[EvaluatedCheckpoint]:
    """Return the epochs whose value is exactly the best's, and whose checkpoint was deleted."""
    there = {entry.info.key for entry in kept}
    return [
        EvaluatedCheckpoint(trial=trial.number, epoch=epoch, path=None, sha256=None, kept=False)
        for trial in optuna_study.trials()
        for epoch, value in sorted(trial.intermediate_values.items())
        if value == kept[0].manifest.value and (trial.number, epoch) not in there
    ]


def _ids(corpus: Corpus, split: SplitName) -> list[str]:
    return [post.post_id for post in corpus.posts(split)]


def _predict(
    own: Parameters, store: CheckpointStore, entry: StoredCheckpoint, corpus: Corpus, flag: StopFlag
) -> tuple[Predictions, Decisions, dict[str, tuple[float, ...]]]:
    encoder = encoder_for(own, corpus)
    agent = build_agent(own, encoder, corpus.criteria)
    agent.load_trained(store.load_model(entry, signature_of(agent)))
    agent.to(resolve_device(own.training.device))
    predictions = predict(
        agent,
        rows_of(own, corpus, encoder, "test"),
        collator_for(own, corpus, encoder),
        own.evaluation.batch_size,
        flag.check,
    )
    criteria = agent.criteria_thresholds.cpu().numpy()
    evidence = agent.evidence_thresholds.cpu().numpy()
    thresholds = {"criteria": tuple(criteria.tolist()), "evidence": tuple(evidence.tolist())}
    return predictions, decide(predictions, criteria, evidence), thresholds
