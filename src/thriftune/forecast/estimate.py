"""What the configured study will hold, write and save, before it starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thriftune import files
from thriftune.checkpoints.budget import worker_bytes
from thriftune.config import Parameters
from thriftune.corpus.ingestion import ingested
from thriftune.corpus.store import CorpusStore
from thriftune.databases.location import MLFLOW_DATABASE, OPTUNA_DATABASE
from thriftune.errors import DataError
from thriftune.forecast.corpus_size import CorpusSize, assumed_size
from thriftune.forecast.evaluation_size import evaluation_bytes, token_bytes
from thriftune.forecast.model_size import assumed_model_bytes, model_bytes
from thriftune.forecast.simulation import Workload, forecast
from thriftune.forecast.trial_size import trial_bytes
from thriftune.study.storage import retention_policy
from thriftune.tracking.footprint import (
    EMPTY_MLFLOW_BYTES,
    EMPTY_OPTUNA_BYTES,
    MLFLOW_LOG_BYTES,
    OPTUNA_LOG_BYTES,
)
from thriftune.training.optimisation import optimizer_slots

log = logging.getLogger(__name__)

FACTS_BYTES, STATE_BYTES = 12_000, 20_000
"""Manifest and header of a checkpoint; generators, counters and the optimizer's header beside them."""


@dataclass(frozen=True)
class ForecastInputs:
    """What the forecast takes from the model, the corpus and the disk."""

    model_bytes: int
    """Weights of one checkpoint."""
    criteria: Sequence[str]
    train_posts: int
    fixed_bytes: int
    """What counts against the budget beside trials: corpora, tokens, databases without this study's rows."""


@dataclass(frozen=True)
class StudyForecast:
    """What a configured study will hold and write; in bytes unless the name says otherwise."""

    model_bytes: int
    """Weights of one checkpoint."""
    trials: int
    budget_bytes: int
    least_budget_bytes: int
    """A smaller budget is refused before the first step; with the share that is kept in reserve."""
    most_bytes: int
    written_bytes: int
    keep_all_bytes: int
    fits: bool
    most_at_trial: int
    """The trial in which the most is held; counts from 0."""
    most_at_epoch: int
    fixed_bytes: int
    bytes_per_trial: int
    """What each trial adds beside checkpoints."""
    further_worker_bytes: int
    """What the budget needs for each further worker."""


def forecast_inputs(settings: Parameters, size: CorpusSize, model_bytes: int) -> ForecastInputs:
    """Return what the forecast takes from a corpus and from what is on the disk already.

    Args:
        settings: The study's parameters.
        size: The corpus, ingested or assumed.
        model_bytes: Weights of one checkpoint.
    """
    tracking = settings.tracking.folder
    tokens = files.directory_bytes(settings.corpus.cache_folder)
    tables = files.directory_bytes(settings.corpus.folder)
    databases = _database(tracking / OPTUNA_DATABASE, EMPTY_OPTUNA_BYTES) + OPTUNA_LOG_BYTES
    if settings.tracking.mlflow_uri is None:
        databases += _database(tracking / MLFLOW_DATABASE, EMPTY_MLFLOW_BYTES) + MLFLOW_LOG_BYTES
    read = size.split_bytes["train"] + size.split_bytes["validation"]
    if size.assumed:
        tables += sum(size.split_bytes.values())
    tokens = max(tokens, token_bytes(settings, read))
    fixed_bytes = tables + tokens + databases + evaluation_bytes(size, settings)
    return ForecastInputs(model_bytes, size.criteria, size.posts["train"], fixed_bytes)


def _database(path: Path, empty_bytes: int) -> int:
    size = path.stat().st_size if path.exists() else 0
    return max(size, empty_bytes)


def configured_inputs(settings: Parameters, weights: int | None = None) -> ForecastInputs:
    """Return what the forecast takes from the configured model and corpus.

    Where that corpus was not ingested yet, the one that was last is taken; where there is none, one of an
    assumed size. The log says so in both cases.

    Args:
        settings: The study's parameters.
        weights: Bytes of the model's weights; None: those of the configured encoder and agents.
    """
    store = CorpusStore(settings.corpus.folder)
    try:
        corpus = ingested(settings.corpus, store)
        if corpus is None:
            corpus = store.current()
            if settings.corpus.source != "hub":  # which is not asked whether it is the same
                log.warning(
                    "the configured corpus has not been ingested yet; this forecast uses the last one, %s",
                    corpus.fingerprint[:12],
                )
        size = CorpusSize.from_corpus(corpus)
    except DataError:
        corpus, size = None, assumed_size(settings.corpus)
        log.warning(
            "no corpus has been ingested yet; assumed %s. After `kedro run --pipelines ingest` it is exact",
            size.assumed,
        )
    if weights is None:
        weights = model_bytes(settings, corpus) if corpus else assumed_model_bytes(settings, size.criteria)
    return forecast_inputs(settings, size, weights)


def study_workload(settings: Parameters, inputs: ForecastInputs) -> Workload:
    """Return the configured study as the simulation takes it.

    Args:
        settings: The study's parameters.
        inputs: Its model, corpus and disk.
    """
    weights = inputs.model_bytes
    return Workload(
        trials=settings.study.trials,
        saves_per_trial=settings.training.epochs // settings.storage.min_interval_epochs,
        model_bytes=weights + FACTS_BYTES,
        resumable_bytes=(1 + optimizer_slots(settings)) * weights + FACTS_BYTES + STATE_BYTES,
        other_bytes=inputs.fixed_bytes,
        other_bytes_per_trial=trial_bytes(settings, inputs.criteria, inputs.train_posts),
    )


def forecast_study(settings: Parameters, inputs: ForecastInputs) -> StudyForecast:
    """Return what the configured study will hold and write.

    Args:
        settings: The study's parameters.
        inputs: Its model, corpus and disk.
    """
    storage, work = settings.storage, study_workload(settings, inputs)
    found = forecast(work, retention_policy(storage), storage.max_total_size)
    trial, save = found.most_at
    return StudyForecast(
        model_bytes=inputs.model_bytes,
        trials=work.trials,
        budget_bytes=storage.max_total_size,
        least_budget_bytes=found.least_budget_bytes,
        most_bytes=found.most_bytes,
        written_bytes=found.written_bytes,
        keep_all_bytes=found.keep_all_bytes,
        fits=found.fits,
        most_at_trial=trial,
        most_at_epoch=(save + 1) * storage.min_interval_epochs,
        fixed_bytes=work.other_bytes,
        bytes_per_trial=work.other_bytes_per_trial,
        further_worker_bytes=worker_bytes(work.resumable_bytes),
    )
