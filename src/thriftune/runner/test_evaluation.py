"""The one test evaluation of a study (SPEC 10.1). The only caller of the test split."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from thriftune import files
from thriftune.checkpoints.entries import Entry
from thriftune.checkpoints.recovery import quarantine
from thriftune.checkpoints.store import CheckpointStore
from thriftune.config import Parameters, override, parse_parameters
from thriftune.corpus.store import Corpus, CorpusStore
from thriftune.databases.health import trouble
from thriftune.databases.location import mlflow_uri
from thriftune.errors import DamageError, RefusedError, StudyError
from thriftune.evaluation.bootstrap import intervals
from thriftune.evaluation.metrics import baselines, compute, flatten, warnings
from thriftune.evaluation.predict import predict
from thriftune.evaluation.predictions import Decisions, Predictions, decide
from thriftune.evaluation.report import (
    EVALUATION,
    PAGE,
    SCHEMA_VERSION,
    check_disjoint,
    prediction_lines,
    read_evaluation,
    write_evaluation,
)
from thriftune.forecast.corpus_size import CorpusSize
from thriftune.forecast.estimate import evaluation_bytes
from thriftune.reports.content import write_page
from thriftune.reports.page import headline
from thriftune.runner.preflight import require_mounted
from thriftune.runner.run import is_over
from thriftune.runner.trial import Finished, Setting, retrain
from thriftune.search.optuna_study import OptunaStudy, trial_row
from thriftune.search.restore import restore_missing
from thriftune.study.file_locks import TRIALS, guard_of, running_elsewhere
from thriftune.study.handle import StudyHandle
from thriftune.study.identity import trial_id
from thriftune.study.layout import JOURNAL, trial_folder
from thriftune.study.record import require_record
from thriftune.tracking.delivery import deliver_evaluation, has_evaluation
from thriftune.tracking.journal import Journal
from thriftune.tracking.parent import connect
from thriftune.training.inputs import Prepared, build_agent, collator_for, encoder_for, rows_of, signature_of
from thriftune.training.interrupt import StopFlag, stop_on_signal
from thriftune.training.seeding import configure_determinism, resolve_device

log = logging.getLogger(__name__)

EVALUATING = "evaluation"
"""What one worker does; those that come later find it done."""


def evaluate_study(
    settings: Parameters,
    study: StudyHandle,
    store: CheckpointStore,
    corpora: CorpusStore,
    *,
    express: bool,
) -> dict[str, Any]:
    """Evaluate the study's best on test, once, and write evaluation.json and report.html.

    An evaluated study is reported as it stands; where that was asked for expressly it is a StudyError
    unless evaluation.force is set. So is a study that is not there or not over; `hpo` (not express)
    then only says so.
    """
    require_mounted(study)
    if study.record() is None:
        raise StudyError(
            f"there is no study {study.name!r}",
            where=str(study.folder),
            remedy="run `kedro run --pipelines hpo` first, or give study.name.",
        )
    with (
        stop_on_signal() as flag,
        study.ownership(waiting=flag.check) as ownership,
        ownership.alone(EVALUATING),
        store.owned(ownership.check, guard_of(ownership)),
    ):
        record = require_record(study.folder)
        parameters = parse_parameters(record["config"])
        optuna_study = OptunaStudy.of(study, parameters, flag.check)
        with ownership.alone(TRIALS):
            restore_missing(study, optuna_study, parameters)
        before = read_evaluation(study.folder)
        force = settings.evaluation.force
        if before is not None and not force:
            if express:
                raise _refusal(study, before, optuna_study)
            _say_evaluated(study, record, before, optuna_study)
            if not (study.folder / PAGE).exists():
                write_page(study, store, optuna_study, record, corpora, before, settings.evaluation.examples)
            _deliver(settings, study)
            return before
        if not is_over(record, optuna_study):
            return _unfinished(study, record, optuna_study, express)
        if not parameters.storage.checkpointing and store.best() is None:
            return _without_checkpoints(study, express)
        files.remove_file(study.folder / PAGE)  # a page never tells of an older evaluation
        store.start(running_elsewhere(store, ownership))
        corpus = corpora.open(record["data"]["fingerprint"])
        corpus.check("test", "validation")
        store.require_room(evaluation_bytes(CorpusSize.of(corpus), parameters))
        evaluation = _evaluate(parameters, study, optuna_study, store, corpus, record, before, flag)
        write_page(study, store, optuna_study, record, corpora, evaluation, settings.evaluation.examples)
        _deliver(settings, study)
    _say_answer(study, evaluation)
    return evaluation


def _say_answer(study: StudyHandle, evaluation: Mapping[str, Any]) -> None:
    """The run's last lines: the figures, and what to open."""
    figures = []
    for item in headline(evaluation):
        ends = item["interval"]
        told = "" if ends is None else f" ({ends[0]:.3f} to {ends[1]:.3f})"
        figures.append(f"{item['name']} {item['value']:.3f}{told}")
    log.info("test, %d posts: %s", evaluation["data"]["counts"]["test"], "; ".join(figures))
    log.info("evaluation: %s", study.folder / PAGE)
    log.info("every run with its curves: make mlflow; every trial: thriftune study show %s", study.name)


def _deliver(settings: Parameters, study: StudyHandle) -> None:
    """Copy the evaluation to MLflow; where that fails, the next run or `tracking flush` does it."""
    root = Path.cwd()
    uri = mlflow_uri(settings.tracking, root)
    found = trouble(uri)
    try:
        if found is None:
            deliver_evaluation(study, connect(settings, root), uri)
    except Exception as error:
        # Whatever MLflow does wrong, the study's own records are complete.
        found = str(error).partition("\n")[0]
    if found is not None and not has_evaluation(study, uri):
        log.warning("MLflow has not got the test evaluation (%s); `thriftune tracking flush` sends it", found)


def _say_evaluated(
    study: StudyHandle, record: dict[str, Any], before: Mapping[str, Any], optuna_study: OptunaStudy
) -> None:
    at, place = before["evaluations"][-1]["at"], study.folder / EVALUATION
    if changed := _best_since(before, optuna_study):
        log.warning(
            "%s (%s). Test is not read again by itself: %s. "
            '`kedro run --pipelines evaluate --params "study.name=%s,evaluation.force=true"` evaluates the '
            "new best; both are on record then",
            changed,
            at,
            place,
            study.name,
        )
        return
    state = "nothing to do: the study is over and evaluated"
    if not is_over(record, optuna_study):  # study.timeout ended the run, not the extended search
        state = (
            f"{len(optuna_study.finished())} of {record['trials']} trials are done; the study was evaluated"
        )
    log.info(
        "%s (%s; trial %d is still its best), test is not read again: %s",
        state,
        at,
        before["best_trial"],
        place,
    )


def _best_since(before: Mapping[str, Any], optuna_study: OptunaStudy) -> str:
    """In which way the study's best is another one than was evaluated; empty where it is the same."""
    best = optuna_study.best()
    if best is None or best.number == before["best_trial"]:
        return ""
    return (
        f"the study's best has changed since it was evaluated: trial {best.number} with {best.value:.4f}, "
        f"where trial {before['best_trial']} with {before['validation_score']:.4f} was"
    )


def _refusal(study: StudyHandle, before: Mapping[str, Any], optuna_study: OptunaStudy) -> RefusedError:
    since = _best_since(before, optuna_study) or "its best is still the one that was evaluated"
    return RefusedError(
        f"the study {study.name!r} was evaluated on test at {before['evaluations'][-1]['at']}; {since}; "
        "a second look at the test split makes its figures worth less",
        where=str(study.folder / "evaluation.json"),
        remedy='to do it all the same: --params "evaluation.force=true"; both will be on record.',
    )


def _unfinished(
    study: StudyHandle, record: Mapping[str, Any], optuna_study: OptunaStudy, express: bool
) -> dict[str, Any]:
    done = len(optuna_study.finished())
    message = f"the study {study.name!r} is not over: {done} of {record['trials']} trials are done"
    if express:
        raise RefusedError(message, remedy="run `kedro run --pipelines hpo` to its end first.")
    log.info("evaluation: %s; test is not read", message)
    return {"study_id": study.id, "state": "unfinished", "trials_done": done}


def _without_checkpoints(study: StudyHandle, express: bool) -> dict[str, Any]:
    message = f"the study {study.name!r} ran with storage.checkpointing=false: no model for test"
    if express:
        raise RefusedError(message, remedy="run a study with checkpoints under another study.name.")
    log.info("evaluation: %s", message)
    return {"study_id": study.id, "state": "no checkpoints"}


def _best_checkpoints(
    parameters: Parameters,
    study: StudyHandle,
    optuna_study: OptunaStudy,
    store: CheckpointStore,
    corpus: Corpus,
    flag: StopFlag,
) -> list[Entry]:
    """The study's best and its exact ties, each verified. A damaged one is set aside; where no valid copy of
    the best is left, its trial is trained again; a tie never takes its place."""
    best = optuna_study.best()
    if best is None:
        raise StudyError(
            f"no trial of the study {study.name!r} has ended with a value",
            where=str(study.folder),
            remedy="look at `thriftune study show` for why they failed.",
        )
    epoch = _best_epoch(best)
    for again in (False, True):
        ties = [entry for entry in store.co_best() if _is_sound(store, entry)]
        if any(e.held.key == (best.number, epoch) and e.held.value == best.value for e in ties):
            return ties
        if not again:
            own = _config_of(parameters, optuna_study, best.number)
            _make_again(own, study, store, corpus, flag, best, epoch)
    raise DamageError(
        f"trial {best.number}, trained again, did not come to its value of {best.value} again",
        where=str(study.folder),
        remedy="were torch, the number of threads or the machine changed? Evaluate where the study was run.",
    )


def _best_epoch(best: FrozenTrial) -> int | None:
    """Return the epoch whose checkpoint is the best: the earliest of equals, as retention ranks them."""
    values = best.intermediate_values
    return min((epoch for epoch, value in values.items() if value == best.value), default=None)


def _is_sound(store: CheckpointStore, entry: Entry) -> bool:
    try:
        store.verify(entry)
    except DamageError as error:
        quarantine(entry.path, error)
        return False
    return True


def _make_again(
    own: Parameters,
    study: StudyHandle,
    store: CheckpointStore,
    corpus: Corpus,
    flag: StopFlag,
    best: FrozenTrial,
    epoch: int | None,
) -> None:
    folder = trial_folder(study.folder, best.number, trial_id(own))
    journal = Journal(folder / JOURNAL)
    if epoch is None or (epoch, best.value) not in journal.rows(f"validation/{own.study.metric}"):
        journal.close()
        raise StudyError(
            f"no valid copy of the study's best (trial {best.number}) is left, and its journal does not say "
            "at which epoch it was made",
            where=str(folder / JOURNAL),
            remedy=f"put the journal or the checkpoint back, or `thriftune study delete {study.name}` and "
            "search again.",
        )
    log.warning(
        "no valid copy of the study's best (trial %d, epoch %d) is left: the trial is trained again",
        best.number,
        epoch,
    )
    device = resolve_device(own.training.device)
    setting = Setting(
        study.id,
        study.name,
        corpus,
        store,
        device,
        check_signals=flag.check,
        check_owned=store.check_attempt,
        on_step=lambda step, steps: None,
        prepared=Prepared(corpus),
    )
    try:
        retrain(Finished(best.number, own), setting, journal, folder, epoch)
    finally:
        store.drain()
        journal.close()


def _evaluate(
    parameters: Parameters,
    study: StudyHandle,
    optuna_study: OptunaStudy,
    store: CheckpointStore,
    corpus: Corpus,
    record: Mapping[str, Any],
    before: Mapping[str, Any] | None,
    flag: StopFlag,
) -> dict[str, Any]:
    started = time.monotonic()
    configure_determinism(int(record["identity"]["threads"]), resolve_device(parameters.training.device))
    ties = _best_checkpoints(parameters, study, optuna_study, store, corpus, flag)
    check_disjoint(_ids(corpus, "test"), _ids(corpus, "validation"))
    configs = [_config_of(parameters, optuna_study, entry.manifest.trial) for entry in ties]
    results = [_predict(own, store, entry, corpus, flag) for own, entry in zip(configs, ties, strict=True)]
    predictions, decisions, thresholds = results[0]
    figures = [compute(found, decided) for found, decided, _ in results]
    best = ties[0].manifest
    checkpoints = [
        {
            "trial": entry.manifest.trial,
            "epoch": entry.manifest.epoch,
            "path": str(entry.path.relative_to(store.folder)),
            "sha256": entry.manifest.sha256,
            "kept": True,
            "test_metrics": own,
        }
        for entry, own in zip(ties, figures, strict=True)
    ]
    checkpoints += _dropped_ties(optuna_study, ties)
    forced = before is not None
    note: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "forced": forced,
        "trial": best.trial,
        "epoch": best.epoch,
        "sha256": best.sha256,
        "test_metrics": figures[0],
    }
    if before is not None:
        since = _best_since(before, optuna_study) or "the study's best is the same as before"
        note["reason"] = f"evaluation.force=true; {since}"
    bootstrap = parameters.evaluation
    evaluation = {
        "schema_version": SCHEMA_VERSION,
        "study_id": study.id,
        "study_name": study.name,
        "best_trial": best.trial,
        "optimization_metric": parameters.study.metric,
        "validation_score": best.value,
        "test_metrics": figures[0],
        "intervals": {
            name: list(ends)
            for name, ends in intervals(
                predictions, decisions, bootstrap.bootstrap_samples, bootstrap.seed
            ).items()
        },
        "baselines": baselines(predictions),
        "thresholds": thresholds,
        "config": configs[0].model_dump(mode="json"),
        "data": record["data"],
        "seeds": record["seeds"],
        "checkpoints": checkpoints,
        "versions": record["versions"],
        "git_commit": record["git_commit"],
        "machine": record["machine"],
        "timings": {"evaluation_seconds": round(time.monotonic() - started, 3)},
        "evaluations": [*(before["evaluations"] if before else []), note],
        "warnings": warnings(predictions, decisions, flatten(figures[0])),
    }
    write_evaluation(study.folder, evaluation, prediction_lines(predictions, decisions))
    return evaluation


def _dropped_ties(optuna_study: OptunaStudy, kept: list[Entry]) -> list[dict[str, Any]]:
    """Epochs whose value is exactly the best's, and whose checkpoint went (SPEC 6.4.1)."""
    there = {entry.held.key for entry in kept}
    return [
        {"trial": trial.number, "epoch": epoch, "path": None, "sha256": None, "kept": False}
        for trial in optuna_study.trials()
        for epoch, value in sorted(trial.intermediate_values.items())
        if value == kept[0].manifest.value and (trial.number, epoch) not in there
    ]


def _ids(corpus: Corpus, split: Any) -> list[str]:
    return [post.post_id for post in corpus.posts(split)]


def _config_of(parameters: Parameters, optuna_study: OptunaStudy, trial: int) -> Parameters:
    overrides = trial_row(optuna_study.trials()[trial])["overrides"]
    return override(parameters, overrides)


def _predict(
    own: Parameters, store: CheckpointStore, entry: Entry, corpus: Corpus, flag: StopFlag
) -> tuple[Predictions, Decisions, dict[str, list[float]]]:
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
    thresholds = {"criteria": criteria.tolist(), "evidence": evidence.tolist()}
    return predictions, decide(predictions, criteria, evidence), thresholds
